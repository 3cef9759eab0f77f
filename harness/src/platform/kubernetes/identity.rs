//! Service accounts as identities: of a workload, to a backend that asks the API server whose token it was given, and of those
//! who ask for something themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use kube::Api;
use kube::api::PostParams;
use secrecy::SecretString;
use serde_json::json;

use super::{Namespace, PORT, Plan, failed, is_forbidden};
use crate::candidate::Reviewer;
use crate::error::Absent;
use crate::load::Front;

/// The account that reviews.
const REVIEWER: &str = "reviewer";

/// The account whose requests the app is asked with.
const LOADER: &str = "loader";

/// Whom the pods' tokens are for: the backend, so that they are worth nothing to the API server or anybody else.
const AUDIENCE: &str = "secrets-backend";

/// How long a token of a pod lives, in seconds: the shortest that the API server gives, and the kubelet replaces it before
/// (kubernetes.io/docs/tasks/configure-pod-container/configure-service-account, "Launch a Pod using service account token
/// projection").
pub(super) const TOKEN_TTL_S: u64 = 600;

/// The token of a pod's service account, in a file of every container but the app.
#[derive(Clone, Debug)]
pub struct Token {
    /// Whom it is for.
    pub audience: String,
    /// Where it is, in a folder of its own.
    pub file: PathBuf,
}

impl Token {
    /// For the backend, in a folder below this one.
    pub fn for_backend(folder: &Path) -> Self {
        Self { audience: AUDIENCE.to_owned(), file: folder.join("identity").join("token") }
    }
}

/// A right that is the whole cluster's and may not be granted: the cluster lacks it.
fn ungranted(what: &str, error: &kube::Error) -> anyhow::Error {
    match is_forbidden(error) {
        true => {
            let why = super::reason(error);
            Absent(format!("the right to review tokens cannot be granted in this cluster: {why}")).into()
        }
        false => failed(what, error),
    }
}

impl Namespace {
    /// What a backend takes to have this cluster review tokens: an account of the namespace that may do that and nothing
    /// else. Its rights are the cluster's, not the namespace's, and go with the namespace all the same.
    ///
    /// # Errors
    /// [`Absent`]: whoever runs the suite may not grant that right. Else the API server refuses.
    pub async fn reviewer(&self) -> Result<Reviewer> {
        let rule =
            json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] });
        let rule: PolicyRule = serde_json::from_value(rule).context("failed to make a rule")?;
        let metadata = json!({
            "name": self.name,
            "labels": self.labels.all,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": self.name, "uid": self.uid }],
        });
        let role = json!({ "metadata": metadata, "rules": [rule] });
        let binding = json!({
            "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name },
            "subjects": [{ "kind": "ServiceAccount", "name": REVIEWER, "namespace": self.name }],
        });
        let parameters = PostParams::default();
        let roles: Api<ClusterRole> = Api::all(self.cluster.client.clone());
        let made = roles.create(&parameters, &serde_json::from_value(role)?).await;
        made.map_err(|error| ungranted("make a ClusterRole", &error))?;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.cluster.client.clone());
        let bound = bindings.create(&parameters, &serde_json::from_value(binding)?).await;
        bound.map_err(|error| ungranted("make a ClusterRoleBinding", &error))?;
        self.account(REVIEWER, &[rule]).await?;
        Ok(Reviewer {
            server: self.cluster.server.trim_end_matches('/').to_owned(),
            ca: self.cluster.authorities(),
            token: self.token(REVIEWER).await?,
        })
    }

    /// The way to a Service through the API server, for an account that may go it and nothing else.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn proxied(&self, service: &str) -> Result<Front> {
        let name = format!("{service}:{PORT}");
        let rule =
            json!({ "apiGroups": [""], "resources": ["services/proxy"], "resourceNames": [name], "verbs": ["get"] });
        let rules = vec![serde_json::from_value(rule).context("failed to make a rule")?];
        self.permit(&Plan { name: LOADER.to_owned(), rules, ..Plan::default() }).await?;
        let server = self.cluster.server.trim_end_matches('/');
        Ok(Front {
            address: format!("{server}/api/v1/namespaces/{}/services/{name}/proxy", self.name),
            ca: self.cluster.authorities(),
            token: Some(self.token(LOADER).await?),
        })
    }

    /// A token of a service account, for the API server.
    ///
    /// # Errors
    /// The API server gives none.
    pub(super) async fn token(&self, account: &str) -> Result<SecretString> {
        let accounts = self.api::<ServiceAccount>();
        let request = TokenRequest::default();
        let made: Result<TokenRequest, _> =
            accounts.create_subresource("token", account, &PostParams::default(), &request).await;
        let made = made.map_err(|error| failed(&format!("get a token of {account}"), &error))?;
        Ok(made.status.context("failed to find the token in the answer")?.token.into())
    }
}
