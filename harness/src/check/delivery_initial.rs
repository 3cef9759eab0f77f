//! `delivery.initial-value`.

use anyhow::Result;
use async_trait::async_trait;
use probe::observation::{Event, Observation};

use super::{About, Check, Question, Spread};
use crate::candidate::PROBED_NAME;
use crate::verdict::Judgement;
use crate::way::{HELLO, Way};

/// The first thing that the probe says is the value.
pub(super) struct InitialValue;

const ABOUT: About = About {
    id: "delivery.initial-value",
    sentence: "The value is there when the probe starts: its very first observation shows it",
    answers: &[Question::Platform],
    spread: Spread::Every,
    needs: &[],
};

#[async_trait(?Send)]
impl Check for InitialValue {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, _) = way.hello().await?;
        let expected = way.digest(&HELLO.into());
        let first = way.deployment(app).observations.seen().first().map(|recorded| &recorded.observation);
        Ok(judge(&expected, first))
    }
}

fn judge(expected: &str, first: Option<&Observation>) -> Judgement {
    let Some(first) = first else { return Judgement::fail("the probe said nothing before patience ran out") };
    let shown = first.values.get(PROBED_NAME).and_then(Option::as_ref);
    match shown {
        _ if first.event != Event::Started => Judgement::fail("the probe's first observation is not that it started"),
        None => Judgement::fail("the probe started without the value"),
        Some(seen) if seen.digest != expected => Judgement::fail("the probe started with another value"),
        Some(seen) => Judgement::pass(format!("the probe started with the value, by {}", source(seen.source))),
    }
}

fn source(source: probe::observation::Source) -> &'static str {
    match source {
        probe::observation::Source::Env => "its environment",
        probe::observation::Source::EnvFile => "the env file",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::samples::observation;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::there(Some(observation(Event::Started, "a", Some("d1"))), Verdict::Pass)]
    #[case::another(Some(observation(Event::Started, "a", Some("d0"))), Verdict::Fail)]
    #[case::missing(Some(observation(Event::Started, "a", None)), Verdict::Fail)]
    #[case::late(Some(observation(Event::Reloaded, "a", Some("d1"))), Verdict::Fail)]
    #[case::silent(None, Verdict::Fail)]
    fn the_first_observation_is_judged(#[case] first: Option<Observation>, #[case] verdict: Verdict) {
        assert_eq!(judge("d1", first.as_ref()).verdict, verdict);
    }
}
