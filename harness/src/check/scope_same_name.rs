//! `scope.same-name`.

use std::collections::BTreeMap;

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::candidate::Capability;
use crate::candidate::PROBED_NAME;
use crate::cell::{DeliveryId, Environment};
use crate::verdict::Judgement;
use crate::way::{Way, probed_names};

/// One name, three values.
pub(super) struct SameName;

const ABOUT: About = About {
    id: "scope.same-name",
    sentence: "One name has three values: each environment's container shows its own, and only ever its own",
    answers: &[Question::Isolation],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::ScopedReaders],
};

#[async_trait(?Send)]
impl Check for SameName {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let mut each = BTreeMap::new();
        for environment in Environment::ALL {
            each.insert(environment, way.fresh_values()?);
        }
        way.provision_each(&each).await?;
        let mut shown = BTreeMap::new();
        for (environment, values) in &each {
            let app = way.deploy_to(*environment, &format!("app-{environment}"), &probed_names()).await?;
            way.observe(app, values).await?;
            let seen = way.deployment(app).observations.drain();
            let digests = seen.iter().filter_map(|recorded| recorded.digest(PROBED_NAME).map(str::to_owned));
            shown.insert(*environment, digests.collect::<Vec<_>>());
        }
        let written = each.iter().map(|(e, values)| (*e, way.digest(&values[PROBED_NAME]))).collect();
        Ok(judge(&written, &shown))
    }
}

fn judge(written: &BTreeMap<Environment, String>, shown: &BTreeMap<Environment, Vec<String>>) -> Judgement {
    let mut faults = Vec::new();
    for (environment, own) in written {
        match shown.get(environment) {
            Some(digests) if !digests.is_empty() && digests.iter().all(|digest| digest == own) => {}
            Some(digests) if digests.is_empty() => faults.push(format!("{environment} showed nothing")),
            Some(_) => faults.push(format!("{environment} showed a value that is not its own")),
            None => faults.push(format!("{environment} was not looked at")),
        }
    }
    Judgement::from_faults(&faults, || format!("{} environments, each showed its own value", written.len()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::own_each(&["d"], &["s"], &["p"], Verdict::Pass)]
    #[case::same_twice(&["d", "d"], &["s"], &["p"], Verdict::Pass)]
    #[case::prod_in_dev(&["p"], &["s"], &["p"], Verdict::Fail)]
    #[case::prod_in_dev_for_a_moment(&["p", "d"], &["s"], &["p"], Verdict::Fail)]
    #[case::nothing(&["d"], &[], &["p"], Verdict::Fail)]
    fn each_must_show_its_own(
        #[case] dev: &[&str],
        #[case] staging: &[&str],
        #[case] prod: &[&str],
        #[case] verdict: Verdict,
    ) {
        let written = Environment::ALL.into_iter().zip(["d", "s", "p"].map(String::from)).collect();
        let shown =
            Environment::ALL.into_iter().zip([dev, staging, prod].map(|d| d.iter().map(|d| (*d).to_owned()).collect()));
        assert_eq!(judge(&written, &shown.collect()).verdict, verdict);
    }
}
