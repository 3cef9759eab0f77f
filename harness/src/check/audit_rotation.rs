//! `audit.rotation-recorded`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread, Trace};
use crate::candidate::PROBED_NAME;
use crate::candidate::{Action, AuditEntry, Capability};
use crate::cell::DeliveryId;
use crate::verdict::Judgement;
use crate::way::{HELLO, HOME, Way, probed};

/// The log shows who rotated what.
pub(super) struct RotationRecorded;

const ABOUT: About = About {
    id: "audit.rotation-recorded",
    sentence: "The audit log shows the rotation: by the rotator, with the version that it made or the value's fingerprint",
    answers: &[Question::Audit],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::AuditWrites],
};

#[async_trait(?Send)]
impl Check for RotationRecorded {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        way.provision(&probed(HELLO.into())).await?;
        let rotated = way.fresh_values()?;
        let written = way.write(HOME, &rotated).await?;
        let trace = way.trace(&written, &rotated[PROBED_NAME]).await?;
        let rotator = way.rotator();
        let entries = way.audit_until(|entries| judge(&trace, rotator, entries).is_ok()).await?;
        Ok(match judge(&trace, rotator, &entries) {
            Ok(id) => Judgement::pass(format!("entry {id} shows {trace} by {rotator}")),
            Err(reason) => Judgement::fail(reason),
        })
    }
}

fn judge(trace: &Trace, rotator: &str, entries: &[AuditEntry]) -> Result<String, String> {
    let updates: Vec<_> = entries.iter().filter(|entry| entry.action == Action::Update && entry.allowed).collect();
    let Some(entry) = updates.iter().find(|entry| trace.is_named_by(entry)) else {
        return Err(format!("none of {} updates in the log shows {trace}", updates.len()));
    };
    if entry.identity != rotator {
        return Err(format!("the log says that {} rotated, but it was {rotator}", entry.identity));
    }
    if entry.environment != HOME {
        return Err(format!("the log says that {} was rotated, but it was {HOME}", entry.environment));
    }
    if !trace.is_left_by(entry) {
        return Err("the fingerprint in the log is not that of the rotated value".to_owned());
    }
    Ok(entry.id.clone())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::{entry, trace, without_fingerprint, without_version};

    #[rstest]
    #[case::there(&[entry(Action::Create, 1, "rotator", "f1"), entry(Action::Update, 2, "rotator", "f2")], true)]
    #[case::missing(&[entry(Action::Create, 1, "rotator", "f1")], false)]
    #[case::another_version(&[entry(Action::Update, 3, "rotator", "f2")], false)]
    #[case::another_identity(&[entry(Action::Update, 2, "app", "f2")], false)]
    #[case::another_value(&[entry(Action::Update, 2, "rotator", "f1")], false)]
    #[case::a_read(&[entry(Action::Read, 2, "rotator", "f2")], false)]
    #[case::denied(&[AuditEntry { allowed: false, ..entry(Action::Update, 2, "rotator", "f2") }], false)]
    #[case::empty(&[], false)]
    fn the_entry_must_match_in_full(#[case] entries: &[AuditEntry], #[case] holds: bool) {
        assert_eq!(judge(&trace("2", "f2"), "rotator", entries).is_ok(), holds);
    }

    #[rstest]
    #[case::version_alone(&Trace { fingerprint: None, ..trace("2", "") }, without_fingerprint, true)]
    #[case::another_version(&Trace { fingerprint: None, ..trace("3", "") }, without_fingerprint, false)]
    #[case::fingerprint_alone(&Trace { version: None, ..trace("", "f2") }, without_version, true)]
    #[case::another_fingerprint(&Trace { version: None, ..trace("", "f3") }, without_version, false)]
    #[case::fingerprint_gone(&trace("2", "f2"), without_fingerprint, false)]
    fn a_log_proves_by_what_it_has(
        #[case] trace: &Trace,
        #[case] strip: fn(AuditEntry) -> AuditEntry,
        #[case] holds: bool,
    ) {
        let entry = strip(entry(Action::Update, 2, "rotator", "f2"));
        assert_eq!(judge(trace, "rotator", &[entry]).is_ok(), holds);
    }
}
