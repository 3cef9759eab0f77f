//! `rotation.no-downtime`.

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::time::Instant;

use super::{About, Check, Question, Spread};
use crate::candidate::PROBED_NAME;
use crate::cell::{DeliveryId, PlatformId};
use crate::load::{Front, Load, Request};
use crate::verdict::Judgement;
use crate::way::{HELLO, Way};

/// A restart that nobody who uses the app notices.
pub(super) struct NoDowntime;

/// Each replaces an instance under load.
const ROTATIONS: usize = 3;

/// Two keep their connection, two do not.
const CLIENTS: usize = 4;

const ABOUT: About = About {
    id: "rotation.no-downtime",
    sentence: "Constant requests through three rotations: none fails, none is answered by a value older than one already seen",
    answers: &[Question::Rotation],
    // A Deployment that rolls has old and new instances answer side by side: `rollout.zero-downtime` is what it claims.
    spread: Spread::OnlyOff(PlatformId::Kubernetes, DeliveryId::Restart),
    needs: &[],
};

#[async_trait(?Send)]
impl Check for NoDowntime {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, seen) = way.hello().await?;
        if seen.is_none() {
            return Ok(Judgement::fail("the first value never arrived, so no rotation could"));
        }
        let address = way.deployment(app).address.clone().context("failed to find an address that stays the same")?;
        let mut load = Load::start(&Front::at(address), PROBED_NAME, CLIENTS)?;
        let mut order = vec![way.digest(&HELLO.into())];
        let mut arrived = true;
        for _ in 0..ROTATIONS {
            let values = way.fresh_values()?;
            order.push(way.digest(&values[PROBED_NAME]));
            arrived &= way.rotate(app, &values).await?.seen.is_some();
            // The new instance says that it started before it is asked: the requests go on until it answers them.
            let digest = way.digest(&values[PROBED_NAME]);
            arrived = arrived && load.answered_with(&digest, Instant::now() + way.patience.0).await;
            if !arrived {
                break;
            }
        }
        let requests = load.stop().await?;
        way.record.notes.push(format!("{} requests were sent", requests.len()));
        Ok(judge(&order, arrived, &requests))
    }
}

/// `order` holds the digests as they were written.
fn judge(order: &[String], arrived: bool, requests: &[Request]) -> Judgement {
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
    if let Some(stale) = stale(order, requests) {
        faults.push(stale);
    }
    Judgement::from_faults(&faults, || {
        format!("{} requests, none failed, none was answered by an older value", requests.len())
    })
}

/// A request that started after another had its answer, and was answered by an older value.
pub(super) fn stale(order: &[String], requests: &[Request]) -> Option<String> {
    let place = |request: &Request| {
        let digest = request.outcome.as_ref().ok()?;
        order.iter().position(|written| written == digest)
    };
    let mut by_start: Vec<_> = requests.iter().collect();
    by_start.sort_by_key(|request| request.started);
    let mut by_end: Vec<_> = requests.iter().filter_map(|request| Some((request.ended, place(request)?))).collect();
    by_end.sort_unstable();
    let (mut ended, mut newest) = (by_end.iter().peekable(), 0);
    for request in by_start {
        while let Some((_, answered)) = ended.next_if(|(end, _)| *end <= request.started) {
            newest = newest.max(*answered);
        }
        match place(request) {
            Some(answered) if answered < newest => {
                return Some(format!("value {answered} answered after value {newest} had been seen"));
            }
            None if request.outcome.is_ok() => return Some("a value answered that nobody wrote".to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use tokio::time::Instant;

    use super::*;
    use crate::verdict::Verdict;

    /// Requests as start, end (both in ms) and the letter of the value that answered; `!` is a failure.
    #[rstest]
    #[case::in_order(&[(0, 1, 'a'), (1, 2, 'a'), (2, 3, 'b')], true, Verdict::Pass)]
    #[case::overlapping_may_differ(&[(0, 9, 'a'), (1, 2, 'b'), (9, 10, 'b')], true, Verdict::Pass)]
    #[case::older_afterwards(&[(0, 1, 'b'), (1, 2, 'a')], true, Verdict::Fail)]
    #[case::one_failed(&[(0, 1, 'a'), (1, 2, '!')], true, Verdict::Fail)]
    #[case::nobodys_value(&[(0, 1, 'x')], true, Verdict::Fail)]
    #[case::no_requests(&[], true, Verdict::Fail)]
    #[case::lost_rotation(&[(0, 1, 'a')], false, Verdict::Fail)]
    fn requests_are_judged(#[case] told: &[(u64, u64, char)], #[case] arrived: bool, #[case] verdict: Verdict) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let requests: Vec<_> = told
            .iter()
            .map(|(start, end, letter)| Request {
                started: at(*start),
                ended: at(*end),
                outcome: if *letter == '!' { Err("refused".into()) } else { Ok(letter.to_string()) },
            })
            .collect();
        assert_eq!(judge(&["a".into(), "b".into()], arrived, &requests).verdict, verdict);
    }
}
