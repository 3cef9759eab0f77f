//! `audit.denial-recorded`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::candidate::{Access, Action, AuditEntry, Capability};
use crate::cell::{DeliveryId, Environment};
use crate::verdict::Judgement;
use crate::way::{CONTAINER, HELLO, HOME, Way, probed};

/// The log shows who tried what they may not.
pub(super) struct DenialRecorded;

const ABOUT: About = About {
    id: "audit.denial-recorded",
    sentence: "The audit log shows a read that was denied, with the identity that tried it",
    answers: &[Question::Audit],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::AuditDenials, Capability::ScopedReaders],
};

/// What the reader of the home environment must not read.
const FORBIDDEN: Environment = Environment::Prod;

#[async_trait(?Send)]
impl Check for DenialRecorded {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        way.provision(&probed(HELLO.into())).await?;
        way.write(FORBIDDEN, &way.fresh_values()?).await?;
        let reader = way.reader(HOME, CONTAINER).await?;
        let (access, _) = way.try_read(&reader, FORBIDDEN).await?;
        let entries = way.audit_until(|entries| judge(access, entries).is_ok()).await?;
        Ok(match judge(access, &entries) {
            Ok(id) => Judgement::pass(format!("entry {id} shows that {CONTAINER} was denied {FORBIDDEN}")),
            Err(reason) => Judgement::fail(reason),
        })
    }
}

fn judge(access: Access, entries: &[AuditEntry]) -> Result<String, String> {
    if access == Access::Allowed {
        return Err(format!("the read of {FORBIDDEN} was not denied"));
    }
    let tried = entries.iter().filter(|e| e.action == Action::Read && e.environment == FORBIDDEN && !e.allowed);
    let (own, others): (Vec<_>, Vec<_>) = tried.partition(|entry| entry.identity == CONTAINER);
    match own.first() {
        Some(entry) => Ok(entry.id.clone()),
        None => Err(format!("the denial is not in the log ({} denials of others are)", others.len())),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::entry;

    fn denied(identity: &str, environment: Environment) -> AuditEntry {
        AuditEntry { allowed: false, environment, ..entry(Action::Read, 1, identity, "f1") }
    }

    #[rstest]
    #[case::there(Access::Denied, &[denied(CONTAINER, FORBIDDEN)], true)]
    #[case::not_denied(Access::Allowed, &[denied(CONTAINER, FORBIDDEN)], false)]
    #[case::another_identity(Access::Denied, &[denied("other", FORBIDDEN)], false)]
    #[case::another_environment(Access::Denied, &[denied(CONTAINER, Environment::Staging)], false)]
    #[case::logged_as_allowed(Access::Denied, &[AuditEntry { allowed: true, ..denied(CONTAINER, FORBIDDEN) }], false)]
    #[case::empty(Access::Denied, &[], false)]
    fn the_denial_must_match_in_full(#[case] access: Access, #[case] entries: &[AuditEntry], #[case] holds: bool) {
        assert_eq!(judge(access, entries).is_ok(), holds);
    }
}
