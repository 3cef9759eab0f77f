//! A Vault or OpenBao server: sealed, foreign, a token without the rights, mounts, audit device, notifier.

use std::fs;

use serde_json::json;

use super::Asked;
use crate::candidate::api::{Api, ApiError};
use crate::candidate::vault::DIALECT;
use crate::cell::Environment;
use crate::target::VaultTarget;

/// Asks the server whether a run could use it.
///
/// # Errors
/// The first thing that is wrong.
pub(super) async fn preflight(asked: Asked<'_>, target: &VaultTarget) -> anyhow::Result<()> {
    Preflight { asked, target }.run().await
}

struct Preflight<'a> {
    asked: Asked<'a>,
    target: &'a VaultTarget,
}

impl Preflight<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        let anonymous = self.asked.api(&DIALECT, &self.target.address, self.target.ca_file.as_deref())?;
        let health =
            anonymous.get("sys/health?standbyok=true").await.map_err(|error| self.asked.unreachable(&error))?;
        if health.body.get("sealed").is_none() {
            return Err(self.asked.foreign("its answer to /v1/sys/health is not that of OpenBao or Vault").into());
        }
        let token = self.asked.secret("token", &self.target.token)?;
        let api = anonymous.with_token(token);
        api.get("auth/token/lookup-self").await.map_err(|error| match error {
            ApiError::Denied { .. } => self.asked.bad(
                "token",
                "the server does not accept the token",
                "give a token that is valid and not expired",
            ),
            other => self.asked.unreachable(&other),
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
                    return Err(self.asked.bad("token", problem, "give it the policy in ci/targets/README.md").into());
                }
            }
        }
        Ok(())
    }

    async fn may(&self, api: &Api, path: &str, right: &str) -> anyhow::Result<bool> {
        let asked = api.post("sys/capabilities-self", &json!({ "paths": [path] })).await;
        let capabilities = asked.map_err(|error| self.asked.unreachable(&error))?.body;
        let may = capabilities["data"][path].as_array().or_else(|| capabilities[path].as_array());
        Ok(may.is_some_and(|may| may.iter().any(|one| one == "root" || one == right)))
    }

    async fn notifier(&self) -> anyhow::Result<()> {
        let Some(notifier) = &self.target.notifier else { return Ok(()) };
        self.asked.notifier("notifier.address", &notifier.address, "notifier.token_file", &notifier.token_file).await
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
                    .asked
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
                .asked
                .bad(
                    "token",
                    format!("the token may not update `{path}`, so no read can be proved from the audit log"),
                    format!("add to its policy: path \"{path}\" {{ capabilities = [\"update\"] }}"),
                )
                .into());
        }
        if let Err(ApiError::Status { detail, .. }) = api.post(&path, &json!({ "input": "preflight" })).await {
            return Err(self
                .asked
                .bad("audit.device", format!("the server knows no such audit device: {detail}"), "see `bao audit list`")
                .into());
        }
        let file = &self.target.audit.file;
        fs::File::open(file).map_err(|error| {
            self.asked.bad(
                "audit.file",
                format!("failed to read the audit log {}: {error}", file.display()),
                "give the path under which this user may read the device's file",
            )
        })?;
        Ok(())
    }
}
