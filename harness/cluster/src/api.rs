//! The few questions that are asked of the API before a cluster is called usable.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Certificate, Client, Identity};
use serde_json::Value;

use crate::binaries::Version;
use crate::certificates::NODE;
use crate::record::Record;

/// One answer may take this long.
const ANSWER: Duration = Duration::from_secs(2);

pub(crate) struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// The API as its administrator sees it.
    pub(crate) fn new(record: &Record) -> Result<Self> {
        let read = |name: &str| {
            let file = record.file("pki").join(name);
            fs::read(&file).with_context(|| format!("failed to read {}", file.display()))
        };
        let identity = Identity::from_pem(&[read("admin.key")?, read("admin.crt")?].concat())?;
        let client = Client::builder()
            .tls_certs_only([Certificate::from_pem(&read("ca.crt")?)?])
            .identity(identity)
            .no_proxy()
            .timeout(ANSWER)
            .build()
            .context("failed to make a client for the API")?;
        Ok(Self { client, base: format!("https://{}:6443", record.block()?.node()) })
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    async fn object(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(path).await?).ok()
    }

    /// Whether it answers at all.
    pub(crate) async fn answers(&self) -> bool {
        self.get("/livez/ping").await.is_some()
    }

    /// Whether it calls itself ready, its default roles included.
    pub(crate) async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_some_and(|text| text == "ok")
    }

    /// Whether the node takes pods.
    pub(crate) async fn has_node(&self) -> bool {
        let Some(node) = self.object(&format!("/api/v1/nodes/{NODE}")).await else { return false };
        let conditions = node["status"]["conditions"].as_array();
        let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        // A new node is tainted until the controller manager has seen that it is ready.
        conditions.is_some_and(|all| all.iter().any(ready)) && node["spec"]["taints"].is_null()
    }

    /// Whether a pod can be made in the namespace `default`.
    pub(crate) async fn has_account(&self, version: Version) -> bool {
        let namespace = "/api/v1/namespaces/default";
        let Some(account) = self.object(&format!("{namespace}/serviceaccounts/default")).await else { return false };
        if version.has(24) {
            // Tokens are made for the pod; it also mounts this.
            return self.object(&format!("{namespace}/configmaps/kube-root-ca.crt")).await.is_some();
        }
        // A pod is refused before the account has its token.
        account["secrets"].as_array().is_some_and(|secrets| !secrets.is_empty())
    }
}
