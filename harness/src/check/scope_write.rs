//! `scope.reader-cannot-write`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread, unlogged};
use crate::candidate::{Access, Action, AuditEntry, Capability};
use crate::cell::{DeliveryId, Environment};
use crate::verdict::{Judgement, Verdict};
use crate::way::{CONTAINER, HELLO, HOME, Way, probed};

/// Whoever takes over a container cannot rotate.
pub(super) struct ReaderCannotWrite;

const ABOUT: About = About {
    id: "scope.reader-cannot-write",
    sentence: "A container's identity reads its own environment and writes in none, as answer and log agree",
    answers: &[Question::Isolation],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::ScopedReaders],
};

#[async_trait(?Send)]
impl Check for ReaderCannotWrite {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let each = Environment::ALL.map(|environment| (environment, probed(HELLO.into())));
        way.provision_each(&each.into()).await?;
        let reader = way.reader(HOME, CONTAINER).await?;
        let (own, _) = way.try_read(&reader, HOME).await?;
        let mut writes = Vec::new();
        for environment in Environment::ALL {
            writes.push((environment, way.try_write(&reader, environment).await?));
        }
        if let Some(judgement) = unlogged(way, &access_faults(own, &writes), "no write by the reader was accepted") {
            return Ok(judgement);
        }
        let entries = way.audit_until(|entries| judge(own, &writes, entries).verdict == Verdict::Pass).await?;
        Ok(judge(own, &writes, &entries))
    }
}

/// What is wrong with what the reader could do.
fn access_faults(own: Access, writes: &[(Environment, Access)]) -> Vec<String> {
    let mut faults = Vec::new();
    if own == Access::Denied {
        faults.push(format!("the reader may not even read {HOME}"));
    }
    let wrote = writes.iter().filter(|(_, access)| *access == Access::Allowed);
    faults.extend(wrote.map(|(environment, _)| format!("the reader may write in {environment}")));
    if writes.len() < Environment::ALL.len() {
        faults.push(format!("writing was tried in {} environments only", writes.len()));
    }
    faults
}

fn judge(own: Access, writes: &[(Environment, Access)], entries: &[AuditEntry]) -> Judgement {
    let mut faults = access_faults(own, writes);
    let own: Vec<_> = entries.iter().filter(|e| e.identity == CONTAINER && e.action != Action::Read).collect();
    if own.iter().any(|entry| entry.allowed) {
        faults.push("the log shows a write by the reader".to_owned());
    }
    for (environment, _) in writes {
        if !own.iter().any(|entry| entry.environment == *environment && !entry.allowed) {
            faults.push(format!("the log does not show that a write in {environment} was denied"));
        }
    }
    Judgement::from_faults(&faults, || format!("{} writes by the reader were denied", writes.len()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::entry;

    const DENIED: [(Environment, Access); 3] = [
        (Environment::Dev, Access::Denied),
        (Environment::Staging, Access::Denied),
        (Environment::Prod, Access::Denied),
    ];
    const IN_PROD: [(Environment, Access); 3] = [
        (Environment::Dev, Access::Denied),
        (Environment::Staging, Access::Denied),
        (Environment::Prod, Access::Allowed),
    ];

    fn denied(environment: Environment) -> AuditEntry {
        AuditEntry { allowed: false, environment, ..entry(Action::Update, 2, CONTAINER, "f") }
    }

    fn all_denied() -> Vec<AuditEntry> {
        Environment::ALL.map(denied).to_vec()
    }

    #[rstest]
    #[case::reads_only(Access::Allowed, &DENIED, all_denied(), Verdict::Pass)]
    #[case::writes_in_prod(Access::Allowed, &IN_PROD, all_denied(), Verdict::Fail)]
    #[case::cannot_read(Access::Denied, &DENIED, all_denied(), Verdict::Fail)]
    #[case::not_tried(Access::Allowed, &DENIED[..2], all_denied(), Verdict::Fail)]
    #[case::log_disagrees(Access::Allowed, &DENIED, [all_denied(), vec![entry(Action::Update, 2, CONTAINER, "f")]].concat(), Verdict::Fail)]
    #[case::log_is_silent(Access::Allowed, &DENIED, all_denied()[1..].to_vec(), Verdict::Fail)]
    fn reading_is_all_it_may_do(
        #[case] own: Access,
        #[case] writes: &[(Environment, Access)],
        #[case] logged: Vec<AuditEntry>,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(own, writes, &logged).verdict, verdict);
    }
}
