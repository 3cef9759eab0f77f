//! An AWS account: keys that are wrong, rights that are missing, a notifier that does not answer.

use super::Asked;
use crate::candidate::aws::{Refusal, Remote};
use crate::error::BadInput;
use crate::target::{AwsTarget, Targets};

/// Asks the account whether a run could use it.
///
/// # Errors
/// The first thing that is wrong.
pub(super) async fn preflight(asked: Asked<'_>, target: &AwsTarget) -> anyhow::Result<()> {
    let targets = Targets { aws: Some(target.clone()), ..Targets::default() };
    let Some(remote) = Remote::of(&targets, "conformance-preflight")? else { return Ok(()) };
    remote.looks_up().await.map_err(|refusal| bad(asked, "rotator", &refusal, "cloudtrail:LookupEvents"))?;
    remote.removes().await.map_err(|refusal| bad(asked, "rotator", &refusal, "secretsmanager:DeleteSecret"))?;
    let rights = "sts:GetFederationToken, secretsmanager:GetSecretValue and secretsmanager:DescribeSecret";
    remote.reads().await.map_err(|refusal| bad(asked, "rotator", &refusal, rights))?;
    let Some(notifier) = &target.notifier else { return Ok(()) };
    asked.notifier("notifier.address", &notifier.address, "notifier.token_file", &notifier.token_file).await
}

fn bad(asked: Asked<'_>, field: &str, refusal: &Refusal, right: &str) -> BadInput {
    match refusal {
        Refusal::Key(words) => asked.bad(
            field,
            format!("AWS does not accept the key: {words}"),
            "give the access key of an IAM user that is active, and its own secret",
        ),
        Refusal::Right(words) => asked.bad(
            field,
            format!("the principal lacks a right: {words}"),
            format!("allow it {right}; see ci/targets/README.md"),
        ),
        Refusal::Unreachable(words) => asked.bad(
            "endpoint",
            format!("failed to reach it: {words}"),
            "correct region and endpoint, or open the way to it",
        ),
    }
}
