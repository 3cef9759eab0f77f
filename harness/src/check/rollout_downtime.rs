//! `rollout.zero-downtime`.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use probe::observation::Event;
use tokio::time::Instant;

use super::{About, Check, Question, Spread};
use crate::candidate::PROBED_NAME;
use crate::cell::{DeliveryId, PlatformId};
use crate::load::{Load, Request};
use crate::observations::{Awaited, Recorded};
use crate::verdict::Judgement;
use crate::way::Way;

/// A rollout that nobody who uses the app notices.
pub(super) struct ZeroDowntime;

/// Each replaces the pod under load.
const ROTATIONS: usize = 3;

/// Two keep their connection, two do not.
const CLIENTS: usize = 4;

/// Between two requests of one. Through a Service a gap is as long as a node takes to learn of another pod; more requests
/// would slow down what they look at.
const PACE: Duration = Duration::from_millis(10);

const ABOUT: About = About {
    id: "rollout.zero-downtime",
    sentence: "Constant requests through the Service while three rotations roll the Deployment: none fails",
    answers: &[Question::Rotation],
    spread: Spread::On(PlatformId::Kubernetes, &[DeliveryId::Restart]),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for ZeroDowntime {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, seen) = way.hello().await?;
        if seen.is_none() {
            return Ok(Judgement::fail("the first value never arrived, so no rotation could"));
        }
        let front = way.front(app).await?.context("failed to find an address that stays the same")?;
        let mut load = Load::at_pace(&front, PROBED_NAME, CLIENTS, PACE)?;
        let mut arrived = true;
        for _ in 0..ROTATIONS {
            let values = way.fresh_values()?;
            arrived &= way.rotate(app, &values).await?.seen.is_some();
            // The new pod says that it started before it is asked: the requests go on until it answers them.
            let digest = way.digest(&values[PROBED_NAME]);
            arrived = arrived && load.answered_with(&digest, Instant::now() + way.patience.0).await;
            if !arrived {
                break;
            }
        }
        // The pod before the last is asked to end when the last one answers: the requests go on until it has.
        let deadline = Instant::now() + way.patience.0;
        let ended = Cell::new(0);
        let stopping = |recorded: &Recorded| {
            ended.set(ended.get() + usize::from(recorded.observation.event == Event::Stopping));
            ended.get() == ROTATIONS
        };
        let observed = way.deployment(app).observations.wait(0, deadline, stopping).await;
        let requests = load.stop().await?;
        ensure!(!arrived || matches!(observed, Awaited::Seen(_)), "failed to see the old pods end in time");
        way.record.notes.push(format!("{} requests were sent", requests.len()));
        Ok(judge(arrived, &requests))
    }
}

fn judge(arrived: bool, requests: &[Request]) -> Judgement {
    let mut faults = Vec::new();
    if !arrived {
        faults.push("a rotation never arrived, or never answered".to_owned());
    }
    if requests.is_empty() {
        faults.push("no request was sent".to_owned());
    }
    let failed: Vec<_> = requests.iter().filter_map(|request| request.outcome.as_ref().err()).collect();
    if let Some(first) = failed.first() {
        faults.push(format!("{} of {} requests failed, the first: {first}", failed.len(), requests.len()));
    }
    Judgement::from_faults(&faults, || format!("{} requests through {ROTATIONS} rollouts, none failed", requests.len()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::all_answered(true, &[true, true], Verdict::Pass)]
    #[case::one_failed(true, &[true, false, true], Verdict::Fail)]
    #[case::never_arrived(false, &[true, true], Verdict::Fail)]
    #[case::nobody_asked(true, &[], Verdict::Fail)]
    fn one_failed_request_is_enough(#[case] arrived: bool, #[case] answered: &[bool], #[case] verdict: Verdict) {
        let now = Instant::now();
        let outcome = |answered| if answered { Ok("d".to_owned()) } else { Err("refused".to_owned()) };
        let request = |answered: &bool| Request { started: now, ended: now, outcome: outcome(*answered) };
        assert_eq!(judge(arrived, &answered.iter().map(request).collect::<Vec<_>>()).verdict, verdict);
    }
}
