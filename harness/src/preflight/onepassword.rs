//! A 1Password Connect server: a token that is wrong, a vault that a token does not see.

use reqwest::StatusCode;

use super::Asked;
use crate::candidate::api::{Api, ApiError};
use crate::candidate::onepassword::DIALECT;
use crate::cell::Environment;
use crate::target::OnepasswordTarget;

/// Asks the server whether a run could use it.
///
/// # Errors
/// The first thing that is wrong.
pub(super) async fn preflight(asked: Asked<'_>, target: &OnepasswordTarget) -> anyhow::Result<()> {
    let api = asked.api(&DIALECT, &target.address, target.ca_file.as_deref())?;
    let rotator = api.with_token(asked.secret("rotator", &target.rotator)?);
    for environment in Environment::ALL {
        sees(asked, &rotator, "rotator", target, environment).await?;
        let field = format!("readers.{environment}");
        let reader = api.with_token(asked.secret(&field, &target.readers[&environment])?);
        sees(asked, &reader, &field, target, environment).await?;
    }
    Ok(())
}

async fn sees(
    asked: Asked<'_>,
    api: &Api,
    field: &str,
    target: &OnepasswordTarget,
    environment: Environment,
) -> anyhow::Result<()> {
    let vault = &target.vaults[&environment];
    match api.get(&format!("vaults/{vault}")).await {
        Ok(reply) if reply.body["id"] == vault.as_str() => Ok(()),
        Ok(_) => Err(asked.foreign("its answer to /v1/vaults is not that of 1Password Connect").into()),
        Err(ApiError::Status { status: StatusCode::UNAUTHORIZED, .. }) => {
            let remedy = "give a token of this server that is not revoked: `op connect token create`";
            Err(asked.bad(field, "Connect does not accept the token", remedy).into())
        }
        Err(ApiError::Denied { .. }) => {
            let problem = format!("the token does not see the vault of {environment}");
            Err(asked.bad(field, problem, "make a token for that vault: `op connect token create … --vault`").into())
        }
        Err(error @ ApiError::Status { status: StatusCode::NOT_FOUND, .. }) => {
            let problem = format!("there is no such vault: {error}");
            let remedy = "give the vault's id, 26 letters and digits: `op vault list`";
            Err(asked.bad(&format!("vaults.{environment}"), problem, remedy).into())
        }
        Err(error) => Err(asked.unreachable(&error).into()),
    }
}
