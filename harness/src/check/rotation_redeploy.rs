//! `rotation.no-redeploy`.

use anyhow::Result;
use async_trait::async_trait;
use probe::observation::Observation;

use super::{About, Check, Question, Spread};
use crate::cell::Reach;
use crate::verdict::Judgement;
use crate::way::Way;

/// The value arrives in the deployment that was there before.
pub(super) struct NoRedeploy;

const ABOUT: About = About {
    id: "rotation.no-redeploy",
    sentence: "Nothing is redeployed: the same instance, or a new instance of the same deployment, shows the new value",
    answers: &[Question::Rotation],
    spread: Spread::Rotating,
    needs: &[],
};

/// Who showed a value, and what was deployed at that moment.
#[derive(Debug)]
struct Witness {
    instance: String,
    pid: u32,
    deployment: String,
}

impl Witness {
    fn new(observation: &Observation, deployment: String) -> Self {
        Self { instance: observation.instance.clone(), pid: observation.pid, deployment }
    }
}

#[async_trait(?Send)]
impl Check for NoRedeploy {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, before) = way.hello().await?;
        let before = before.map(|index| witness(way, app, index));
        let rotated = way.fresh_values()?;
        let after = way.rotate(app, &rotated).await?.seen.map(|(index, _)| index);
        let after = after.map(|index| witness(way, app, index));
        Ok(judge(way.delivery_id.reach(), before.as_ref(), after.as_ref()))
    }
}

fn witness(way: &mut Way, app: crate::way::App, index: usize) -> Witness {
    let deployment = way.deployment(app);
    Witness::new(&deployment.observations.seen()[index].observation, deployment.identity())
}

fn judge(reach: Reach, before: Option<&Witness>, after: Option<&Witness>) -> Judgement {
    let Some(before) = before else { return Judgement::fail("the first value never arrived") };
    let Some(after) = after else { return Judgement::fail("the rotated value never arrived") };
    let same_instance = before.instance == after.instance && before.pid == after.pid;
    let mut faults = Vec::new();
    if before.deployment != after.deployment {
        faults.push(format!("it was deployed anew: {} became {}", before.deployment, after.deployment));
    }
    match reach {
        Reach::SameInstance if !same_instance => {
            faults.push(format!("another instance shows the new value: pid {} became {}", before.pid, after.pid));
        }
        Reach::NewInstance if before.instance == after.instance => {
            faults.push(format!("the instance was not renewed: {}", after.instance));
        }
        Reach::Nothing => faults.push("no rotation should arrive under this delivery".to_owned()),
        Reach::SameInstance | Reach::NewInstance => {}
    }
    Judgement::from_faults(&faults, || match reach {
        Reach::SameInstance => format!("pid {} showed both values", after.pid),
        _ => format!("pid {} followed pid {} in the same deployment", after.pid, before.pid),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    fn who(instance: &str, deployment: &str) -> Option<Witness> {
        let pid = instance.len().try_into().unwrap();
        Some(Witness { instance: instance.into(), pid, deployment: deployment.into() })
    }

    #[rstest]
    #[case::reloaded(Reach::SameInstance, who("a", "d"), who("a", "d"), Verdict::Pass)]
    #[case::restarted_instead(Reach::SameInstance, who("a", "d"), who("bb", "d"), Verdict::Fail)]
    #[case::redeployed_instead(Reach::SameInstance, who("a", "d"), who("a", "e"), Verdict::Fail)]
    #[case::restarted(Reach::NewInstance, who("a", "d"), who("bb", "d"), Verdict::Pass)]
    #[case::not_restarted(Reach::NewInstance, who("a", "d"), who("a", "d"), Verdict::Fail)]
    #[case::restarted_by_redeploy(Reach::NewInstance, who("a", "d"), who("bb", "e"), Verdict::Fail)]
    #[case::out_of_reach(Reach::Nothing, who("a", "d"), who("a", "d"), Verdict::Fail)]
    #[case::never_arrived(Reach::SameInstance, who("a", "d"), None, Verdict::Fail)]
    #[case::never_there(Reach::SameInstance, None, who("a", "d"), Verdict::Fail)]
    fn identities_are_judged(
        #[case] reach: Reach,
        #[case] before: Option<Witness>,
        #[case] after: Option<Witness>,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(reach, before.as_ref(), after.as_ref()).verdict, verdict);
    }
}
