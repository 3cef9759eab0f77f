//! `cluster.secret-not-in-spec`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::{DeliveryId, PlatformId, Reach};
use crate::redact::leaks;
use crate::verdict::Judgement;
use crate::way::{HOME, Way, probed_names};

/// Who may look at pods may not look at secrets.
pub(super) struct SecretNotInSpec;

const ABOUT: About = About {
    id: "cluster.secret-not-in-spec",
    sentence: "No value stands in any object of the namespace but in the data of a Secret: not in specs, events, annotations, \
               managed fields",
    answers: &[Question::Hygiene],
    spread: Spread::On(
        PlatformId::Kubernetes,
        &[DeliveryId::Reload, DeliveryId::ReloadServiceAccount, DeliveryId::Restart, DeliveryId::Redeploy],
    ),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for SecretNotInSpec {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let first = way.fresh_values()?;
        way.provision(&first).await?;
        let app = way.deploy(&probed_names()).await?;
        let mut arrived = way.observe(app, &first).await?.is_some();
        let rotated = way.fresh_values()?;
        if way.delivery_id.reach() == Reach::Nothing {
            way.write(HOME, &rotated).await?;
        } else {
            arrived &= way.rotate(app, &rotated).await?.seen.is_some();
        }
        let objects = way.objects().await?;
        let pods = objects.iter().filter(|(name, _)| name.starts_with("Pod ")).count();
        let holding = objects.iter().filter(|(_, text)| leaks(way.marker(), text.as_bytes()));
        let found: Vec<_> = holding.map(|(name, _)| name.clone()).collect();
        Ok(judge(arrived, objects.len(), pods, &found))
    }
}

fn judge(arrived: bool, objects: usize, pods: usize, found: &[String]) -> Judgement {
    let mut faults = Vec::new();
    if !arrived {
        faults.push("no value arrived, so none could stand anywhere".to_owned());
    }
    if pods == 0 {
        faults.push("no pod was looked at, so that none holds a value proves nothing".to_owned());
    }
    if !found.is_empty() {
        faults.push(format!("a value stands in: {}", found.join(", ")));
    }
    Judgement::from_faults(&faults, || format!("none of {objects} objects, {pods} of them pods, holds a value"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::nowhere(true, 1, &[], Verdict::Pass)]
    #[case::in_a_spec(true, 1, &["Deployment app"], Verdict::Fail)]
    #[case::nothing_looked_at(true, 0, &[], Verdict::Fail)]
    #[case::never_arrived(false, 1, &[], Verdict::Fail)]
    fn one_object_is_enough(
        #[case] arrived: bool,
        #[case] pods: usize,
        #[case] found: &[&str],
        #[case] verdict: Verdict,
    ) {
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(judge(arrived, 10, pods, &found).verdict, verdict);
    }
}
