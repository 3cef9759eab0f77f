//! `rotation.burst`.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use probe::observation::Event;
use tokio::time::Instant;

use super::{About, Check, Question, Spread};
use crate::candidate::PROBED_NAME;
use crate::evidence::{Sample, millis};
use crate::observations::Recorded;
use crate::verdict::{Judgement, Sla};
use crate::way::{HELLO, HOME, Way};

/// More rotations than the delivery can follow.
pub(super) struct Burst;

/// Each follows the acknowledgement of the one before at once.
const ROTATIONS: usize = 20;

/// How long the last value is watched once it is there.
const SETTLING: Duration = Duration::from_millis(300);

const ABOUT: About = About {
    id: "rotation.burst",
    sentence: "After twenty rotations in a row the last value arrives within the SLA, and values never go back",
    answers: &[Question::Rotation],
    spread: Spread::Rotating,
    needs: &[],
};

#[async_trait(?Send)]
impl Check for Burst {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, seen) = way.hello().await?;
        if seen.is_none() {
            return Ok(Judgement::fail("the first value never arrived, so no rotation could"));
        }
        let mut order = vec![way.digest(&HELLO.into())];
        for _ in 1..ROTATIONS {
            let values = way.fresh_values()?;
            order.push(way.digest(&values[PROBED_NAME]));
            way.write(HOME, &values).await?;
        }
        let last = way.fresh_values()?;
        order.push(way.digest(&last[PROBED_NAME]));
        way.rotate(app, &last).await?;
        // Whatever is still under way when the last value is there would show as a step back.
        let expected = order.last().cloned();
        let deadline = Instant::now() + SETTLING;
        let observations = &mut way.deployment(app).observations;
        let from = observations.drain().len();
        let back = |recorded: &Recorded| {
            recorded.observation.event != Event::Stopping && recorded.digest(PROBED_NAME) != expected.as_deref()
        };
        observations.wait(from, deadline, back).await;
        way.waited(SETTLING);
        way.stop_containers().await?;
        let seen = way.deployment(app).observations.seen();
        // An instance that is replaced says so with the value that it had: no step back.
        let shown = seen.iter().map(|recorded| &recorded.observation).filter(|o| o.event != Event::Stopping);
        let shown: Vec<_> =
            shown.filter_map(|o| o.values.get(PROBED_NAME)?.as_ref().map(|s| s.digest.clone())).collect();
        Ok(judge(way.sla, &order, &shown, way.record.samples.last()))
    }
}

/// `order` holds the digests as they were written, `shown` as they were observed.
fn judge(sla: Sla, order: &[String], shown: &[String], last: Option<&Sample>) -> Judgement {
    let mut faults = Vec::new();
    let places: Vec<_> = shown.iter().map(|digest| order.iter().position(|written| written == digest)).collect();
    if places.contains(&None) {
        faults.push("the probe showed a value that nobody wrote".to_owned());
    }
    if let Some(back) = places.windows(2).find(|pair| pair[0] > pair[1]) {
        faults.push(format!("values went back: from place {:?} to place {:?}", back[0], back[1]));
    }
    let sla_ms = millis(sla.0);
    match last.and_then(|sample| sample.observed_ms) {
        None => faults.push("the last value never arrived".to_owned()),
        Some(ms) if ms > sla_ms => faults.push(format!("the last value took {ms} ms")),
        Some(_) => {}
    }
    if shown.last() != order.last() && faults.is_empty() {
        faults.push("the last value did not stay".to_owned());
    }
    Judgement::from_faults(&faults, || {
        format!("the last of {} values arrived; {} of them were shown, in order", order.len(), shown.len())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    fn digests(letters: &str) -> Vec<String> {
        letters.chars().map(String::from).collect()
    }

    fn judged(shown: &str, observed_ms: Option<f64>) -> Verdict {
        let sample = Sample { version: 5, acknowledged_ms: 1.0, observed_ms };
        judge(Sla(Duration::from_millis(100)), &digests("abcde"), &digests(shown), Some(&sample)).verdict
    }

    #[rstest]
    #[case::every_value("abcde", Some(5.0), Verdict::Pass)]
    #[case::some_left_out("ace", Some(5.0), Verdict::Pass)]
    #[case::shown_twice("aaeee", Some(5.0), Verdict::Pass)]
    #[case::one_step_back("acbe", Some(5.0), Verdict::Fail)]
    #[case::back_after_the_last("aed", Some(5.0), Verdict::Fail)]
    #[case::nobodys_value("axe", Some(5.0), Verdict::Fail)]
    #[case::last_is_late("ae", Some(101.0), Verdict::Fail)]
    #[case::last_is_lost("ad", None, Verdict::Fail)]
    fn order_and_end_are_judged(#[case] shown: &str, #[case] observed_ms: Option<f64>, #[case] verdict: Verdict) {
        assert_eq!(judged(shown, observed_ms), verdict);
    }

    proptest! {
        #[test]
        fn any_step_back_fails(mut places in prop::collection::vec(0_usize..5, 1..12)) {
            let in_order = places.is_sorted();
            places.push(4);
            let shown: String = places.iter().map(|place| ['a', 'b', 'c', 'd', 'e'][*place]).collect();
            let verdict = judged(&shown, Some(1.0));
            prop_assert_eq!(verdict == Verdict::Pass, in_order);
        }
    }
}
