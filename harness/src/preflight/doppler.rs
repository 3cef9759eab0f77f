//! A Doppler workplace: a token that is wrong or may not make projects, webhooks that nobody receives.

use reqwest::StatusCode;

use super::Asked;
use crate::candidate::api::ApiError;
use crate::candidate::doppler::DIALECT;
use crate::target::DopplerTarget;

/// Asks the workplace whether a run could use it.
///
/// # Errors
/// The first thing that is wrong.
pub(super) async fn preflight(asked: Asked<'_>, target: &DopplerTarget) -> anyhow::Result<()> {
    let token = asked.secret("token", &target.token)?;
    let api = asked.api(&DIALECT, &target.address, target.ca_file.as_deref())?.with_token(token);
    api.get("me").await.map_err(|error| match error {
        ApiError::Denied { .. } | ApiError::Status { status: StatusCode::UNAUTHORIZED, .. } => {
            asked.bad("token", "Doppler does not accept the token", "give a token that is valid and not expired")
        }
        other => asked.unreachable(&other),
    })?;
    // A service token knows its own config and nothing else.
    api.get("projects?per_page=1").await.map_err(|error| match error {
        ApiError::Denied { .. } => {
            let problem = format!("the token may not see projects: {error}");
            asked.bad("token", problem, "give a personal or service account token, not a service token")
        }
        other => asked.unreachable(&other),
    })?;
    let Some(webhooks) = &target.webhooks else { return Ok(()) };
    asked.secret("webhooks.signing_secret", &webhooks.signing_secret)?;
    asked.notifier("webhooks.notifier", &webhooks.notifier, "webhooks.token_file", &webhooks.token_file).await
}
