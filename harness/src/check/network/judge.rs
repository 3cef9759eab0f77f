//! What is made of an app under a fault.

use sidecar::status::Event as Said;

use crate::check::rotation_downtime::stale;
use crate::evidence::millis;
use crate::load::Request;
use crate::verdict::{Judgement, Sla};

/// What is claimed of the app.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Until when the last value is there.
    pub(super) sla: Sla,
    /// No new value can arrive while the fault lasts.
    pub(super) held: bool,
    /// The sidecar says that something is wrong.
    pub(super) says_so: bool,
    /// The app answers every request.
    pub(super) stays: bool,
    /// It is one instance from beginning to end.
    pub(super) same_instance: bool,
    /// No answer is older than one before it. While a Deployment rolls, its Service sends requests to both pods.
    pub(super) in_order: bool,
}

/// What an observation showed.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) instance: String,
    pub(super) digest: Option<String>,
}

/// What was seen of the app and its sidecar, from the first value on.
#[derive(Debug, Default)]
pub(super) struct Saw {
    /// Digests in the order in which they were written.
    pub(super) order: Vec<String>,
    /// Another value than the first was observed before the fault was over.
    pub(super) early: bool,
    /// How often the fault struck.
    pub(super) strikes: u64,
    /// When the last value was observed, from when it could be.
    pub(super) arrived_ms: Option<f64>,
    /// The sidecar is told of rotations again, if it was before.
    pub(super) told_again: bool,
    /// What the fault ended was started anew.
    pub(super) came_back: bool,
    /// What the sidecar said since the fault began.
    pub(super) said: Vec<Said>,
    /// What the app showed.
    pub(super) shown: Vec<Shown>,
    /// What it answered.
    pub(super) requests: Vec<Request>,
}

pub(super) fn judge(claim: &Claim, saw: &Saw) -> Judgement {
    let place = |digest: &String| saw.order.iter().position(|written| written == digest);
    let places: Vec<_> = saw.shown.iter().map(|shown| shown.digest.as_ref().map(place)).collect();
    // A fault without effect says nothing about the candidate. A value that is lost or was never written is one.
    if saw.strikes == 0 {
        return Judgement::error("the fault did not take hold: it never struck");
    }
    let newer = places.iter().flatten().flatten().any(|place| *place > 0);
    if claim.held && saw.early && newer && places.iter().all(|place| matches!(place, Some(Some(_)))) {
        return Judgement::error("the fault did not take hold: a new value arrived while it lasted");
    }
    let mut faults = Vec::new();
    if places.contains(&None) {
        faults.push("the app had no value at a time".to_owned());
    }
    if places.contains(&Some(None)) {
        faults.push("the app showed a value that nobody wrote".to_owned());
    }
    let written: Vec<_> = places.iter().flatten().flatten().collect();
    if let Some(back) = written.windows(2).find(|pair| pair[0] > pair[1]) {
        faults.push(format!("values went back: from place {} to place {}", back[0], back[1]));
    }
    let sla_ms = millis(claim.sla.0);
    match saw.arrived_ms {
        None => faults.push("the last value never arrived".to_owned()),
        Some(ms) if ms > sla_ms => faults.push(format!("the last value took {ms:.1} ms")),
        Some(_) => {}
    }
    if saw.shown.last().map(|shown| shown.digest.as_ref()) != Some(saw.order.last()) && faults.is_empty() {
        faults.push("the last value did not stay".to_owned());
    }
    if !saw.came_back {
        faults.push("what was killed was not started anew".to_owned());
    }
    if !saw.told_again {
        faults.push("the sidecar is not told of rotations any more".to_owned());
    }
    if claim.says_so && !saw.said.iter().any(is_trouble) {
        faults.push("the sidecar said nothing of it".to_owned());
    }
    if claim.same_instance && saw.shown.iter().any(|shown| shown.instance != saw.shown[0].instance) {
        faults.push("the app was started anew".to_owned());
    }
    let failed: Vec<_> = saw.requests.iter().filter_map(|request| request.outcome.as_ref().err()).collect();
    if claim.stays && saw.requests.is_empty() {
        faults.push("no request was sent".to_owned());
    }
    if let Some(first) = failed.first().filter(|_| claim.stays) {
        faults.push(format!("{} of {} requests failed, the first: {first}", failed.len(), saw.requests.len()));
    }
    if claim.in_order {
        faults.extend(stale(&saw.order, &saw.requests));
    }
    Judgement::from_faults(&faults, || {
        let (arrived, requests) = (saw.arrived_ms.unwrap_or_default(), saw.requests.len());
        format!(
            "the last of {} values was there after {arrived:.1} ms; {requests} requests meanwhile, {} unanswered",
            saw.order.len() - 1,
            failed.len()
        )
    })
}

/// What a sidecar says when it cannot do its work for now.
pub(super) fn is_trouble(said: &Said) -> bool {
    matches!(
        said,
        Said::BackendAway { .. }
            | Said::FetchFailed { .. }
            | Said::Unsubscribed { .. }
            | Said::DeliveryFailed { .. }
            | Said::InstanceFailed { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use tokio::time::Instant;

    use super::*;
    use crate::verdict::Verdict;

    const CLAIM: Claim = Claim {
        sla: Sla(Duration::from_millis(100)),
        held: true,
        says_so: true,
        stays: true,
        same_instance: true,
        in_order: true,
    };

    /// Observations as letters: what was written is `abc`; `-` is no value, a capital letter another instance.
    fn shown(letters: &str) -> Vec<Shown> {
        let one = |letter: char| Shown {
            instance: if letter.is_uppercase() { "two".into() } else { "one".into() },
            digest: (letter != '-').then(|| letter.to_lowercase().to_string()),
        };
        letters.chars().map(one).collect()
    }

    fn request(outcome: Result<&str, &str>) -> Request {
        let now = Instant::now();
        let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
        Request { started: now, ended: now, outcome }
    }

    /// As it should be.
    fn good() -> Saw {
        Saw {
            order: ["a", "b", "c"].map(String::from).to_vec(),
            early: false,
            strikes: 1,
            arrived_ms: Some(5.0),
            told_again: true,
            came_back: true,
            said: vec![Said::Unsubscribed { reason: "gone".into() }, Said::Subscribed],
            shown: shown("aac"),
            requests: vec![request(Ok("a"))],
        }
    }

    #[rstest]
    #[case::only_the_last("ac", Verdict::Pass)]
    #[case::every_one("aabbcc", Verdict::Pass)]
    #[case::emptied("a-c", Verdict::Fail)]
    #[case::nobodys("axc", Verdict::Fail)]
    #[case::back("acbc", Verdict::Fail)]
    #[case::did_not_stay("aca", Verdict::Fail)]
    #[case::another_instance("aC", Verdict::Fail)]
    #[case::nothing("", Verdict::Fail)]
    fn what_the_app_showed(#[case] letters: &str, #[case] verdict: Verdict) {
        assert_eq!(judge(&CLAIM, &Saw { shown: shown(letters), ..good() }).verdict, verdict);
    }

    #[rstest]
    #[case::to_the_millisecond(Saw { arrived_ms: Some(100.0), ..good() }, Verdict::Pass)]
    #[case::late(Saw { arrived_ms: Some(100.1), ..good() }, Verdict::Fail)]
    #[case::never(Saw { arrived_ms: None, ..good() }, Verdict::Fail)]
    #[case::not_started_anew(Saw { came_back: false, ..good() }, Verdict::Fail)]
    #[case::only_asks(Saw { told_again: false, ..good() }, Verdict::Fail)]
    #[case::silent(Saw { said: vec![Said::Subscribed], ..good() }, Verdict::Fail)]
    #[case::unanswered(Saw { requests: vec![request(Err("refused"))], ..good() }, Verdict::Fail)]
    #[case::an_older_answer(Saw { requests: vec![request(Ok("b")), request(Ok("a"))], ..good() }, Verdict::Fail)]
    #[case::not_asked(Saw { requests: Vec::new(), ..good() }, Verdict::Fail)]
    #[case::no_effect(Saw { early: true, ..good() }, Verdict::Error)]
    #[case::emptied_early(Saw { early: true, shown: shown("a-c"), ..good() }, Verdict::Fail)]
    #[case::never_struck(Saw { strikes: 0, ..good() }, Verdict::Error)]
    fn everything_else_that_was_seen(#[case] saw: Saw, #[case] verdict: Verdict) {
        assert_eq!(judge(&CLAIM, &saw).verdict, verdict);
    }

    #[rstest]
    #[case::may_arrive_at_once(Claim { held: false, ..CLAIM }, Saw { early: true, ..good() })]
    #[case::may_say_nothing(Claim { says_so: false, ..CLAIM }, Saw { said: Vec::new(), ..good() })]
    #[case::may_be_away(Claim { stays: false, ..CLAIM }, Saw { requests: vec![request(Err("refused"))], ..good() })]
    #[case::may_be_another(Claim { same_instance: false, ..CLAIM }, Saw { shown: shown("aC"), ..good() })]
    #[case::may_be_older(Claim { in_order: false, ..CLAIM }, Saw { requests: vec![request(Ok("b")), request(Ok("a"))], ..good() })]
    fn what_is_not_claimed_is_no_fault(#[case] claim: Claim, #[case] saw: Saw) {
        assert_eq!(judge(&claim, &saw).verdict, Verdict::Pass);
    }
}
