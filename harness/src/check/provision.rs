//! `provision.end-to-end`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::candidate::{Capability, GIVEN};
use crate::verdict::Judgement;
use crate::way::Way;

/// From an empty backend to the probe showing `hello`.
pub(super) struct EndToEnd;

const ABOUT: About = About {
    id: "provision.end-to-end",
    sentence: "From an empty backend to the probe showing `hello`, by API only",
    answers: &[Question::Platform, Question::Provisioning],
    spread: Spread::Every,
    needs: &[Capability::ProvisionByApi],
};

#[async_trait(?Send)]
impl Check for EndToEnd {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (_, seen) = way.hello().await?;
        Ok(judge(&way.record.steps, seen.is_some()))
    }
}

fn judge(steps: &[String], arrived: bool) -> Judgement {
    let (given, taken): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.starts_with(GIVEN));
    let manual: Vec<_> = taken.iter().filter(|step| !is_api_call(step)).collect();
    let mut faults = Vec::new();
    if taken.is_empty() {
        faults.push("no step was taken, so nothing was provisioned".to_owned());
    }
    if !manual.is_empty() {
        faults.push(format!("not by API: {manual:?}"));
    }
    if !arrived {
        faults.push("the probe never showed `hello`".to_owned());
    }
    Judgement::from_faults(&faults, || {
        let given: Vec<_> = given.iter().map(|step| step.trim_start_matches(GIVEN)).collect();
        let before = match given.as_slice() {
            [] => String::new(),
            given => format!("; there before, for all secrets: {}", given.join(", ")),
        };
        format!("the probe showed `hello` after {} API calls, none by hand{before}", taken.len())
    })
}

fn is_api_call(step: &str) -> bool {
    ["POST /", "PUT /", "PATCH /", "DELETE /"].iter().any(|method| step.starts_with(method))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::all_by_api(&["POST /v1/sys/init"], true, Verdict::Pass)]
    #[case::by_hand(&["POST /v1/sys/init", "click on the dashboard"], true, Verdict::Fail)]
    #[case::given(&["given: an account", "POST /v1/sys/init"], true, Verdict::Pass)]
    #[case::nothing_done(&[], true, Verdict::Fail)]
    #[case::nothing_done_but_given(&["given: a secret"], true, Verdict::Fail)]
    #[case::nothing_seen(&["POST /v1/sys/init"], false, Verdict::Fail)]
    fn steps_and_arrival_are_judged(#[case] steps: &[&str], #[case] arrived: bool, #[case] verdict: Verdict) {
        let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(judge(&steps, arrived).verdict, verdict);
    }
}
