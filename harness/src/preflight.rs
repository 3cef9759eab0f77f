//! Looks at a target before a run begins, so that what is wrong with it is said once, with file, field and remedy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::candidate::vault::api::{Api, ApiError};
use crate::cell::Environment;
use crate::error::BadInput;
use crate::target::{Targets, VaultTarget};

/// A notifier answers at once.
const NOTIFIER_LIMIT: Duration = Duration::from_secs(5);

/// Asks each server that a target file names whether a run could use it. Nothing is changed there.
///
/// # Errors
/// The first thing that is wrong.
pub async fn preflight(file: &Path, targets: &Targets) -> anyhow::Result<()> {
    if let Some(vault) = &targets.vault {
        Preflight { file, target: vault }.run().await?;
    }
    Ok(())
}

struct Preflight<'a> {
    file: &'a Path,
    target: &'a VaultTarget,
}

impl Preflight<'_> {
    fn bad(&self, field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> BadInput {
        BadInput::new(format!("target file {}, field `vault.{field}`", self.file.display()), problem, remedy)
    }

    async fn run(&self) -> anyhow::Result<()> {
        let ca = self.target.ca_file.as_ref().map(|path| {
            fs::read(path).map_err(|error| {
                self.bad(
                    "ca_file",
                    format!("failed to read {}: {error}", path.display()),
                    "name the PEM file of the CA",
                )
            })
        });
        let anonymous = Api::new(&self.target.address, ca.transpose()?.as_deref(), "secrets-conformance/preflight")
            .map_err(|error| self.bad("ca_file", format!("{error:#}"), "name a PEM file with the CA's certificate"))?;
        let health = anonymous.get("sys/health?standbyok=true").await.map_err(|error| self.unreachable(&error))?;
        if health.body.get("sealed").is_none() {
            return Err(self.foreign("its answer to /v1/sys/health is not that of OpenBao or Vault").into());
        }
        let token = self.target.token.resolve(&format!("target file {}, field `vault.token`", self.file.display()))?;
        let api = anonymous.with_token(token);
        api.get("auth/token/lookup-self").await.map_err(|error| match error {
            ApiError::Denied { .. } => {
                self.bad("token", "the server does not accept the token", "give a token that is valid and not expired")
            }
            other => self.unreachable(&other),
        })?;
        self.mounts(&api).await?;
        self.rights(&api).await?;
        self.audit(&api).await?;
        self.notifier().await
    }

    /// What a cell makes and removes there, beside secrets: policies and roles that begin with `conformance-`.
    async fn rights(&self, api: &Api) -> anyhow::Result<()> {
        let paths = [
            "sys/policies/acl/conformance-preflight".to_owned(),
            format!("auth/{}/role/conformance-preflight", self.target.auth_mount),
        ];
        for path in paths {
            for right in ["update", "delete"] {
                if !self.may(api, &path, right).await? {
                    let problem = format!("the token may not {right} `{path}`");
                    return Err(self.bad("token", problem, "give it the policy in ci/targets/README.md").into());
                }
            }
        }
        Ok(())
    }

    async fn may(&self, api: &Api, path: &str, right: &str) -> anyhow::Result<bool> {
        let asked = api.post("sys/capabilities-self", &json!({ "paths": [path] })).await;
        let capabilities = asked.map_err(|error| self.unreachable(&error))?.body;
        let may = capabilities["data"][path].as_array().or_else(|| capabilities[path].as_array());
        Ok(may.is_some_and(|may| may.iter().any(|one| one == "root" || one == right)))
    }

    async fn notifier(&self) -> anyhow::Result<()> {
        let Some(notifier) = &self.target.notifier else { return Ok(()) };
        fs::read_to_string(&notifier.token_file).map_err(|error| {
            let problem = format!("failed to read {}: {error}", notifier.token_file.display());
            self.bad("notifier.token_file", problem, "name the file with the token for subscribers")
        })?;
        let client = reqwest::Client::builder().no_proxy().timeout(NOTIFIER_LIMIT).build()?;
        let answered = client.get(format!("{}/healthz", notifier.address)).send().await;
        if answered.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let problem = format!("no notifier answers at {}", notifier.address);
        Err(self.bad("notifier.address", problem, "start `sidecar notify` there, or leave the notifier out").into())
    }

    async fn mounts(&self, api: &Api) -> anyhow::Result<()> {
        for environment in Environment::ALL {
            let mount = &self.target.mounts[&environment];
            let answer = api.get(&format!("sys/internal/ui/mounts/{mount}")).await;
            let kv2 = answer.is_ok_and(|reply| {
                reply.body["data"]["type"] == "kv" && reply.body["data"]["options"]["version"] == "2"
            });
            if !kv2 {
                return Err(self
                    .bad(
                        &format!("mounts.{environment}"),
                        format!("`{mount}` is no KV version 2 mount that the token may see"),
                        "mount one there, or give the token the policy in ci/targets/README.md",
                    )
                    .into());
            }
        }
        Ok(())
    }

    async fn audit(&self, api: &Api) -> anyhow::Result<()> {
        let path = format!("sys/audit-hash/{}", self.target.audit.device);
        if !self.may(api, &path, "update").await? {
            return Err(self
                .bad(
                    "token",
                    format!("the token may not update `{path}`, so no read can be proved from the audit log"),
                    format!("add to its policy: path \"{path}\" {{ capabilities = [\"update\"] }}"),
                )
                .into());
        }
        if let Err(ApiError::Status { detail, .. }) = api.post(&path, &json!({ "input": "preflight" })).await {
            return Err(self
                .bad("audit.device", format!("the server knows no such audit device: {detail}"), "see `bao audit list`")
                .into());
        }
        let file = &self.target.audit.file;
        fs::File::open(file).map_err(|error| {
            self.bad(
                "audit.file",
                format!("failed to read the audit log {}: {error}", file.display()),
                "give the path under which this user may read the device's file",
            )
        })?;
        Ok(())
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
