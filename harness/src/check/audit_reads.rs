//! `audit.reads-recorded`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread, Trace};
use crate::candidate::PROBED_NAME;
use crate::candidate::{Action, AuditEntry, Capability};
use crate::verdict::Judgement;
use crate::way::{CONTAINER, HOME, Way};

/// The log shows that this container read the rotated value.
pub(super) struct ReadsRecorded;

const ABOUT: About = About {
    id: "audit.reads-recorded",
    sentence: "The audit log shows a read by this container's identity, after the rotation, of the rotated version",
    answers: &[Question::Audit],
    spread: Spread::Rotating,
    needs: &[Capability::AuditReads],
};

#[async_trait(?Send)]
impl Check for ReadsRecorded {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, _) = way.hello().await?;
        let rotated = way.fresh_values()?;
        let rotation = way.rotate(app, &rotated).await?;
        if rotation.seen.is_none() {
            return Ok(Judgement::fail("the rotated value never arrived, so nobody can have read it"));
        }
        let trace = way.trace(&rotation.written, &rotated[PROBED_NAME]).await?;
        let entries = way.audit_until(|entries| judge(&trace, entries).is_ok()).await?;
        Ok(match judge(&trace, &entries) {
            Ok(id) => Judgement::pass(format!("entry {id} shows that {CONTAINER} read {trace}")),
            Err(reason) => Judgement::fail(reason),
        })
    }
}

/// Never a count: pollers are logged often, caches not at all.
fn judge(trace: &Trace, entries: &[AuditEntry]) -> Result<String, String> {
    if !entries.iter().any(|e| e.action == Action::Update && trace.is_named_by(e)) {
        return Err(format!("the log does not show the rotation to {trace}"));
    }
    let reads = entries.iter().filter(|e| e.action == Action::Read && e.allowed && e.environment == HOME);
    let (own, others): (Vec<_>, Vec<_>) = reads.partition(|entry| entry.identity == CONTAINER);
    if own.is_empty() {
        return Err(format!("none of {} reads in the log is by {CONTAINER}", others.len()));
    }
    // The version tells before from after, which the times do not: each audit device stamps its own.
    let after: Vec<_> = own.iter().filter(|entry| trace.is_named_by(entry)).collect();
    if after.is_empty() {
        return Err(format!("none of {} reads by {CONTAINER} is of {trace}", own.len()));
    }
    let proven = after.iter().find(|entry| trace.is_left_by(entry));
    proven.map(|entry| entry.id.clone()).ok_or_else(|| "the fingerprint of what was read is another value's".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::{entry, later, trace, without_fingerprint};

    fn rotation() -> AuditEntry {
        later(entry(Action::Update, 2, "rotator", "f2"), 10)
    }

    #[rstest]
    #[case::there(&[rotation(), later(entry(Action::Read, 2, CONTAINER, "f2"), 11)], true)]
    #[case::among_polls(&[entry(Action::Read, 1, CONTAINER, "f1"), rotation(), later(entry(Action::Read, 2, CONTAINER, "f2"), 11)], true)]
    #[case::only_before(&[later(entry(Action::Read, 1, CONTAINER, "f1"), 9), rotation()], false)]
    #[case::old_version(&[rotation(), later(entry(Action::Read, 1, CONTAINER, "f1"), 11)], false)]
    #[case::another_container(&[rotation(), later(entry(Action::Read, 2, "other", "f2"), 11)], false)]
    #[case::another_value(&[rotation(), later(entry(Action::Read, 2, CONTAINER, "f1"), 11)], false)]
    #[case::denied(&[rotation(), AuditEntry { allowed: false, ..later(entry(Action::Read, 2, CONTAINER, "f2"), 11) }], false)]
    #[case::no_rotation(&[later(entry(Action::Read, 2, CONTAINER, "f2"), 11)], false)]
    #[case::empty(&[], false)]
    fn the_read_must_match_in_full(#[case] entries: &[AuditEntry], #[case] holds: bool) {
        assert_eq!(judge(&trace("2", "f2"), entries).is_ok(), holds);
    }

    #[rstest]
    #[case::of_the_version(2, true)]
    #[case::of_the_version_before(1, false)]
    fn a_log_without_fingerprints_proves_by_the_version(#[case] version: u64, #[case] holds: bool) {
        let entries = [rotation(), later(entry(Action::Read, version, CONTAINER, ""), 11)].map(without_fingerprint);
        assert_eq!(judge(&Trace { fingerprint: None, ..trace("2", "") }, &entries).is_ok(), holds);
    }
}
