//! `rollout.revision`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::{DeliveryId, PlatformId};
use crate::verdict::Judgement;
use crate::way::Way;

/// A rotation is one rollout: the history of the Deployment is the history of the secret.
pub(super) struct Revision;

const ROTATIONS: usize = 3;

const ABOUT: About = About {
    id: "rollout.revision",
    sentence: "Each rotation makes exactly one new revision of the Deployment, and nothing else makes one",
    answers: &[Question::Platform],
    spread: Spread::On(PlatformId::Kubernetes, &[DeliveryId::Restart]),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for Revision {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, seen) = way.hello().await?;
        let mut arrived = seen.is_some();
        let mut counted = vec![way.revisions(app).await?];
        for _ in 0..ROTATIONS {
            let values = way.fresh_values()?;
            arrived &= way.rotate(app, &values).await?.seen.is_some();
            // The next rotation waits for its rollout, so that none can be counted for another.
            way.settle(app).await?;
            counted.push(way.revisions(app).await?);
        }
        // Whoever delivers starts anew, finds what it delivered before, and has nothing to do.
        way.renew_delivery(app).await?;
        counted.push(way.revisions(app).await?);
        Ok(judge(arrived, &counted))
    }
}

/// `counted` holds the revisions at first, after each rotation, and after the delivery was started anew.
fn judge(arrived: bool, counted: &[usize]) -> Judgement {
    let mut faults = Vec::new();
    if !arrived {
        faults.push("a value never arrived".to_owned());
    }
    let wanted: Vec<_> = (1..=ROTATIONS + 1).chain([ROTATIONS + 1]).collect();
    if counted != wanted {
        faults.push(format!("revisions at first, after each rotation, and after nothing: {counted:?}, not {wanted:?}"));
    }
    Judgement::from_faults(&faults, || {
        format!("{ROTATIONS} rotations made {ROTATIONS} revisions, and nothing else did")
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::one_each(true, &[1, 2, 3, 4, 4], Verdict::Pass)]
    #[case::none(true, &[1, 1, 1, 1, 1], Verdict::Fail)]
    #[case::two_for_one(true, &[1, 2, 4, 5, 5], Verdict::Fail)]
    #[case::one_at_the_start(true, &[2, 3, 4, 5, 5], Verdict::Fail)]
    #[case::one_for_nothing(true, &[1, 2, 3, 4, 5], Verdict::Fail)]
    #[case::never_arrived(false, &[1, 2, 3, 4, 4], Verdict::Fail)]
    fn revisions_are_counted(#[case] arrived: bool, #[case] counted: &[usize], #[case] verdict: Verdict) {
        assert_eq!(judge(arrived, counted).verdict, verdict);
    }
}
