//! Observations for the tables of the judgements' tests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use probe::observation::{Event, Observation, Seen, Source};

use crate::candidate::PROBED_NAME;
use crate::candidate::{Action, AuditEntry};
use crate::check::Trace;
use crate::way::HOME;

/// An observation of `POC_TEST_VALUE` with this digest, or without a value.
pub(crate) fn observation(event: Event, instance: &str, digest: Option<&str>) -> Observation {
    let seen = digest.map(|digest| Seen { digest: digest.into(), length: 5, source: Source::Env });
    Observation {
        event,
        instance: instance.into(),
        pid: 1,
        sequence: 1,
        address: None,
        values: BTreeMap::from([(PROBED_NAME.to_owned(), seen)]),
        monotonic_ns: 0,
        wall_ns: 0,
    }
}

/// An allowed audit entry of the home environment at the beginning of time.
pub(crate) fn entry(action: Action, version: u64, identity: &str, fingerprint: &str) -> AuditEntry {
    AuditEntry {
        id: "r".into(),
        at: Timestamp::UNIX_EPOCH,
        action,
        environment: HOME,
        allowed: true,
        identity: identity.into(),
        version: Some(version.to_string()),
        fingerprint: Some(fingerprint.into()),
    }
}

/// The entry in a log that names no versions.
pub(crate) fn without_version(entry: AuditEntry) -> AuditEntry {
    AuditEntry { version: None, ..entry }
}

/// The entry in a log that has no fingerprints.
pub(crate) fn without_fingerprint(entry: AuditEntry) -> AuditEntry {
    AuditEntry { fingerprint: None, ..entry }
}

/// What a write leaves in a log that has both.
pub(crate) fn trace(version: &str, fingerprint: &str) -> Trace {
    Trace { version: Some(version.into()), fingerprint: Some(fingerprint.into()) }
}

/// The entry, logged this many milliseconds later.
pub(crate) fn later(entry: AuditEntry, milliseconds: i64) -> AuditEntry {
    let at = Timestamp::from_millisecond(milliseconds).unwrap();
    AuditEntry { at, ..entry }
}
