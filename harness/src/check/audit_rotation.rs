//! `audit.rotation-recorded`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::candidate::PROBED_NAME;
use crate::candidate::{Action, AuditEntry, Capability};
use crate::cell::DeliveryId;
use crate::verdict::Judgement;
use crate::way::{HELLO, HOME, Way, probed};

/// The log shows who rotated what.
pub(super) struct RotationRecorded;

const ABOUT: About = About {
    id: "audit.rotation-recorded",
    sentence: "The audit log shows the rotation: by the rotator, with the version that it made and the value's fingerprint",
    answers: &[Question::Audit],
    spread: Spread::Only(DeliveryId::ReloadPoll),
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
        let version = way.write(HOME, &rotated).await?.version;
        let fingerprint = way.fingerprint(&rotated[PROBED_NAME]).await?;
        let rotator = way.rotator();
        let entries = way.audit_until(|entries| judge(version, &fingerprint, rotator, entries).is_ok()).await?;
        Ok(match judge(version, &fingerprint, rotator, &entries) {
            Ok(id) => Judgement::pass(format!("entry {id} shows version {version} by {rotator}")),
            Err(reason) => Judgement::fail(reason),
        })
    }
}

fn judge(version: u64, fingerprint: &str, rotator: &str, entries: &[AuditEntry]) -> Result<String, String> {
    let updates: Vec<_> = entries.iter().filter(|entry| entry.action == Action::Update && entry.allowed).collect();
    let Some(entry) = updates.iter().find(|entry| entry.version == Some(version)) else {
        return Err(format!("none of {} updates in the log made version {version}", updates.len()));
    };
    if entry.identity != rotator {
        return Err(format!("the log says that {} rotated, but it was {rotator}", entry.identity));
    }
    if entry.environment != HOME {
        return Err(format!("the log says that {} was rotated, but it was {HOME}", entry.environment));
    }
    if entry.fingerprint.as_deref() != Some(fingerprint) {
        return Err("the fingerprint in the log is not that of the rotated value".to_owned());
    }
    Ok(entry.id.clone())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::entry;

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
        assert_eq!(judge(2, "f2", "rotator", entries).is_ok(), holds);
    }
}
