//! `rotation.redeploy-only`: the negative control.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::DeliveryId;
use crate::evidence::millis;
use crate::verdict::{Judgement, Sla};
use crate::way::{HOME, Way, probed_names};

/// Without a redeploy the value must not arrive: the suite sees the difference.
pub(super) struct RedeployOnly;

const ABOUT: About = About {
    id: "rotation.redeploy-only",
    sentence: "Negative control: values read at deploy time do not change without a redeploy, and the suite notices",
    answers: &[Question::Rotation],
    spread: Spread::Only(DeliveryId::Redeploy),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for RedeployOnly {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, first) = way.hello().await?;
        let rotated = way.fresh_values()?;
        let written = way.write(HOME, &rotated).await?;
        let arrived = way.observe_within_sla(app, &rotated, written.sent).await?.is_some();
        if !arrived {
            // That a value stays away can only be seen by waiting.
            way.waited(way.sla.0);
        }
        // The control of the control: another deploy brings the value, so the rotation itself was real.
        let again = way.deploy_to(HOME, "app-redeployed", &probed_names()).await?;
        let redeployed = way.observe(again, &rotated).await?.is_some();
        Ok(judge(way.sla, first.is_some(), arrived, redeployed))
    }
}

fn judge(sla: Sla, first: bool, arrived: bool, redeployed: bool) -> Judgement {
    let mut faults = Vec::new();
    if !first {
        faults.push("the first value never arrived".to_owned());
    }
    if arrived {
        faults.push("the rotated value arrived without a redeploy: this control does not control".to_owned());
    }
    if !redeployed {
        faults.push("the rotated value did not arrive with a redeploy either: nothing was rotated".to_owned());
    }
    Judgement::from_faults(&faults, || {
        format!("the rotated value stayed away for {} ms and came with the next deploy", millis(sla.0))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case(true, false, true, Verdict::Pass)]
    #[case(false, false, true, Verdict::Fail)]
    #[case(true, true, true, Verdict::Fail)]
    #[case(true, false, false, Verdict::Fail)]
    fn the_control_needs_all_three(
        #[case] first: bool,
        #[case] arrived: bool,
        #[case] redeployed: bool,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(Sla(Duration::from_secs(1)), first, arrived, redeployed).verdict, verdict);
    }
}
