//! Looks at a target before a run begins, so that what is wrong with it is said once, with file, field and remedy.

mod aws;
mod doppler;
mod onepassword;
mod vault;

use std::fs;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use crate::candidate::api::{Api, ApiError, Dialect};
use crate::cell::CandidateId;
use crate::error::BadInput;
use crate::target::{SecretRef, Targets};

/// A notifier answers at once.
const NOTIFIER_LIMIT: Duration = Duration::from_secs(5);

/// Asks each server that a target file names whether a run could use it. Nothing is changed there.
///
/// # Errors
/// The first thing that is wrong.
pub async fn preflight(file: &Path, targets: &Targets) -> anyhow::Result<()> {
    let asked = |candidate| Asked { file, candidate };
    if let Some(target) = &targets.vault {
        vault::preflight(asked(CandidateId::Vault), target).await?;
    }
    if let Some(target) = &targets.doppler {
        doppler::preflight(asked(CandidateId::Doppler), target).await?;
    }
    if let Some(target) = &targets.onepassword {
        onepassword::preflight(asked(CandidateId::Onepassword), target).await?;
    }
    if let Some(target) = &targets.aws {
        aws::preflight(asked(CandidateId::Aws), target).await?;
    }
    Ok(())
}

/// The section of a target file that is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    file: &'a Path,
    candidate: CandidateId,
}

impl Asked<'_> {
    fn place(&self, field: &str) -> String {
        format!("target file {}, field `{}.{field}`", self.file.display(), self.candidate)
    }

    fn bad(&self, field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> BadInput {
        BadInput::new(self.place(field), problem, remedy)
    }

    fn secret(&self, field: &str, reference: &SecretRef) -> Result<SecretString, BadInput> {
        reference.resolve(&self.place(field))
    }

    fn readable(&self, field: &str, path: &Path) -> Result<(), BadInput> {
        fs::read_to_string(path).map(drop).map_err(|error| {
            let problem = format!("failed to read {}: {error}", path.display());
            self.bad(field, problem, "name a file that this user may read")
        })
    }

    /// A client without a token.
    fn api(&self, dialect: &'static Dialect, address: &str, ca_file: Option<&Path>) -> Result<Api, BadInput> {
        let ca = ca_file.map(|path| {
            fs::read(path).map_err(|error| {
                let problem = format!("failed to read {}: {error}", path.display());
                self.bad("ca_file", problem, "name the PEM file of the CA")
            })
        });
        Api::new(dialect, address, ca.transpose()?.as_deref(), "secrets-conformance/preflight")
            .map_err(|error| self.bad("ca_file", format!("{error:#}"), "name a PEM file with the CA's certificate"))
    }

    /// A notifier answers there, and this user may read the token for its subscribers.
    async fn notifier(&self, field: &str, address: &str, token: &str, token_file: &Path) -> anyhow::Result<()> {
        self.readable(token, token_file)?;
        let client = reqwest::Client::builder().no_proxy().timeout(NOTIFIER_LIMIT).build()?;
        let answered = client.get(format!("{address}/healthz")).send().await;
        if answered.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let problem = format!("no notifier answers at {address}");
        Err(self.bad(field, problem, "start `sidecar notify` there, or leave it out of the target").into())
    }

    fn foreign(&self, problem: &str) -> BadInput {
        self.bad("address", problem, "give the address of the API: scheme, host and port")
    }

    fn unreachable(&self, error: &ApiError) -> BadInput {
        let remedy = match error {
            ApiError::Refused { .. } => "start the server, or correct host and port",
            ApiError::Timeout { .. } => "open the way to it (route, firewall), or correct host and port",
            ApiError::Tls { .. } => "name the CA that signed its certificate in `ca_file`, or correct scheme and port",
            ApiError::Sealed { .. } => "initialise and unseal it",
            _ => "give the address of the API: scheme, host and port",
        };
        self.bad("address", error.to_string(), remedy)
    }
}
