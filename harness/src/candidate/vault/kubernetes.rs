//! The Kubernetes auth method: a service account logs in with its token, which the API server reviews
//! (openbao.org/docs/auth/kubernetes, openbao.org/api-docs/auth/kubernetes; run against OpenBao 2.7.2 and Kubernetes 1.20.2).

use anyhow::Result;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sidecar::config::VaultLogin;

use super::{TOKEN_TTL, Vault};
use crate::candidate::{Account, Reviewer};

/// Where the method is mounted on a server of the cell's own.
const MOUNT: &str = "kubernetes";

impl Vault {
    /// Has a service account log in with the policy of this name, and says how.
    pub(super) async fn let_in(&self, policy: &str, reviewer: &Reviewer, account: &Account) -> Result<VaultLogin> {
        let there = self.admin.get("sys/auth").await?.body;
        if there["data"][format!("{MOUNT}/")] == Value::Null {
            self.admin.post(&format!("sys/auth/{MOUNT}"), &json!({ "type": "kubernetes" })).await?;
            let config = json!({
                "kubernetes_host": reviewer.server,
                "kubernetes_ca_cert": reviewer.ca,
                "token_reviewer_jwt": reviewer.token.expose_secret(),
                // It runs in no pod whose own token it could take instead.
                "disable_local_ca_jwt": true,
            });
            self.admin.learn(&reviewer.token);
            self.admin.post(&format!("auth/{MOUNT}/config"), &config).await?;
        }
        let role = json!({
            "bound_service_account_names": [account.name],
            "bound_service_account_namespaces": [account.namespace],
            "audience": account.audience,
            "token_policies": [policy],
            "token_ttl": TOKEN_TTL,
            "token_no_default_policy": true,
        });
        // A role for each account: it stands in the audit log by its own name.
        self.admin.post(&format!("auth/{MOUNT}/role/{}", account.name), &role).await?;
        Ok(VaultLogin::Kubernetes {
            role: account.name.clone(),
            token_file: account.token_file.clone(),
            mount: MOUNT.into(),
        })
    }
}
