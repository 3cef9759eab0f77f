//! `cluster.least-privilege`.

use std::collections::BTreeSet;

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::{DeliveryId, PlatformId};
use crate::verdict::Judgement;
use crate::way::{Rights, Way};

/// Whoever breaks into the app, or into what delivers to it, finds nothing else to do in the cluster.
pub(super) struct LeastPrivilege;

const ABOUT: About = About {
    id: "cluster.least-privilege",
    sentence: "What the service accounts of app and delivery may do is what is declared, and no more",
    answers: &[Question::Isolation],
    spread: Spread::On(
        PlatformId::Kubernetes,
        &[DeliveryId::Reload, DeliveryId::ReloadServiceAccount, DeliveryId::Restart],
    ),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for LeastPrivilege {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        way.hello().await?;
        Ok(judge(&way.rights().await?))
    }
}

fn judge(rights: &[Rights]) -> Judgement {
    let mut faults = Vec::new();
    if rights.is_empty() {
        faults.push("there is no service account, so nothing was looked at".to_owned());
    }
    let words = |rights: BTreeSet<&String>| rights.into_iter().cloned().collect::<Vec<_>>().join(", ");
    for Rights { account, declared, found } in rights {
        let more: BTreeSet<_> = found.difference(declared).collect();
        if !more.is_empty() {
            faults.push(format!("{account} may do what is not declared: {}", words(more)));
        }
        // A review that does not show what is granted would show no more than that either.
        let hidden: BTreeSet<_> = declared.difference(found).collect();
        if !hidden.is_empty() {
            faults.push(format!("the review of {account} does not show what is declared: {}", words(hidden)));
        }
    }
    Judgement::from_faults(&faults, || {
        let each = rights.iter().map(|rights| format!("{} {}", rights.account, rights.found.len()));
        format!("rights, all of them declared: {}", each.collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::as_declared(&["patch secrets/app-env"], &["patch secrets/app-env"], Verdict::Pass)]
    #[case::nothing(&[], &[], Verdict::Pass)]
    #[case::more(&["patch secrets/app-env"], &["patch secrets/app-env", "get secrets"], Verdict::Fail)]
    #[case::anything(&[], &["* *"], Verdict::Fail)]
    #[case::blind(&["patch secrets/app-env"], &[], Verdict::Fail)]
    fn rights_are_compared(#[case] declared: &[&str], #[case] found: &[&str], #[case] verdict: Verdict) {
        let set = |rights: &[&str]| rights.iter().map(ToString::to_string).collect();
        let rights = Rights { account: "app".into(), declared: set(declared), found: set(found) };
        assert_eq!(judge(&[rights]).verdict, verdict);
    }

    #[test]
    fn nobody_is_no_evidence() {
        assert_eq!(judge(&[]).verdict, Verdict::Fail);
    }
}
