//! `scope.isolated`.

use std::collections::BTreeMap;

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread, unlogged};
use crate::candidate::{Access, Action, AuditEntry, Capability};
use crate::cell::{DeliveryId, Environment};
use crate::verdict::Judgement;
use crate::way::Way;

/// No environment sees another.
pub(super) struct Isolated;

const ABOUT: About = About {
    id: "scope.isolated",
    sentence: "The reader of each environment reads its own and nothing of the other two, and each denial is audited",
    answers: &[Question::Isolation],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::ScopedReaders],
};

/// One reader's try at one environment.
#[derive(Clone, Debug)]
struct Try {
    home: Environment,
    reader: String,
    target: Environment,
    access: Access,
}

#[async_trait(?Send)]
impl Check for Isolated {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let mut each = BTreeMap::new();
        for environment in Environment::ALL {
            each.insert(environment, way.fresh_values()?);
        }
        way.provision_each(&each).await?;
        let mut tries = Vec::new();
        for home in Environment::ALL {
            let container = format!("app-{home}");
            let reader = way.reader(home, &container).await?;
            for target in Environment::ALL {
                let (access, _) = way.try_read(&reader, target).await?;
                tries.push(Try { home, reader: container.clone(), target, access });
            }
        }
        if let Some(judgement) = unlogged(way, &access_faults(&tries), "each reader had its own environment alone") {
            return Ok(judgement);
        }
        let entries = way.audit_until(|entries| judge(&tries, entries).is_empty()).await?;
        Ok(Judgement::from_faults(&judge(&tries, &entries), || {
            format!("{} reads: each reader had its own environment alone, every denial is in the log", tries.len())
        }))
    }
}

/// What is wrong with who could read what.
fn access_faults(tries: &[Try]) -> Vec<String> {
    let mut faults = Vec::new();
    for Try { home, target, access, .. } in tries {
        let expected = if home == target { Access::Allowed } else { Access::Denied };
        if *access != expected {
            faults.push(format!("the reader of {home} was {access:?} to read {target}"));
        }
    }
    if tries.len() < Environment::ALL.len() * Environment::ALL.len() {
        faults.push(format!("only {} reads were tried", tries.len()));
    }
    faults
}

fn judge(tries: &[Try], entries: &[AuditEntry]) -> Vec<String> {
    let mut faults = access_faults(tries);
    for Try { home, reader, target, .. } in tries {
        let expected = if home == target { Access::Allowed } else { Access::Denied };
        let recorded = entries.iter().any(|entry| {
            entry.action == Action::Read
                && entry.identity == *reader
                && entry.environment == *target
                && entry.allowed == (expected == Access::Allowed)
        });
        if !recorded {
            faults.push(format!("the log does not show that the reader of {home} was {expected:?} {target}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::entry;

    fn all() -> (Vec<Try>, Vec<AuditEntry>) {
        let mut tries = Vec::new();
        let mut entries = Vec::new();
        for home in Environment::ALL {
            for target in Environment::ALL {
                let access = if home == target { Access::Allowed } else { Access::Denied };
                let reader = format!("app-{home}");
                let allowed = access == Access::Allowed;
                entries.push(AuditEntry { environment: target, allowed, ..entry(Action::Read, 1, &reader, "f") });
                tries.push(Try { home, reader, target, access });
            }
        }
        (tries, entries)
    }

    #[test]
    fn full_isolation_holds() {
        let (tries, entries) = all();
        assert!(judge(&tries, &entries).is_empty());
    }

    #[rstest]
    fn any_single_fault_is_found(#[values(0, 1, 2, 3, 4, 5, 6, 7, 8)] at: usize) {
        let (tries, entries) = all();
        let mut other = tries.clone();
        other[at].access = if other[at].access == Access::Allowed { Access::Denied } else { Access::Allowed };
        assert!(!judge(&other, &entries).is_empty(), "access {at} is turned round");
        let mut silent = entries.clone();
        silent.remove(at);
        assert!(!judge(&tries, &silent).is_empty(), "entry {at} is missing");
        let mut fewer = tries;
        fewer.remove(at);
        assert!(!judge(&fewer, &entries).is_empty(), "try {at} is left out");
    }
}
