//! What the user of a cluster may do: all that a cell takes in every namespace, or only in those that it makes.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::cluster::Cluster;
use super::failed;
use super::namespace::Namespace;
use crate::error::BadInput;
use crate::ready;

/// The cluster role with all that a cell takes, and who has it bound to himself in each namespace that he makes: as
/// `ci/kubernetes/harness.yaml` has them.
const CELL_ROLE: &str = "conformance-cell";
const HARNESS: [&str; 2] = ["conformance", "harness"];

/// How long an API server may take to heed a binding that it took.
const LIMIT: Duration = Duration::from_secs(10);

fn asked(verb: &str, group: &str, resource: &str) -> ResourceAttributes {
    let some = |text: &str| Some(text.to_owned());
    ResourceAttributes {
        verb: some(verb),
        group: some(group),
        resource: some(resource),
        ..ResourceAttributes::default()
    }
}

/// What stands for all that a cell takes in a namespace, or in every one.
fn work(namespace: Option<&str>) -> ResourceAttributes {
    ResourceAttributes { namespace: namespace.map(ToOwned::to_owned), ..asked("create", "apps", "deployments") }
}

impl Cluster {
    /// Whether this user may do that, and why not where the API server says so.
    async fn may(&self, asked: ResourceAttributes) -> Result<(bool, String)> {
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(asked), ..SelfSubjectAccessReviewSpec::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviewed = reviews.create(&PostParams::default(), &review).await;
        let reviewed = reviewed.map_err(|error| failed("ask what this user may do", &error))?;
        let status = reviewed.status.unwrap_or_default();
        let why = status.reason.filter(|why| !why.is_empty()).map(|why| format!(": {why}"));
        Ok((status.allowed, why.unwrap_or_default()))
    }

    /// Refuses a cluster in which this user may not do what every cell needs: have a namespace of its own, and work in it.
    ///
    /// # Errors
    /// [`BadInput`]: a right is missing. Else the API server does not say.
    pub async fn check_rights(&self) -> Result<()> {
        let refused = |problem: String| -> Result<()> {
            let remedy = "grant what ci/kubernetes/harness.yaml lists, or choose another context: --context NAME";
            Err(BadInput::new(format!("Kubernetes context `{}`", self.context), problem, remedy).into())
        };
        for verb in ["list", "create", "delete"] {
            let (allowed, why) = self.may(asked(verb, "", "namespaces")).await?;
            if !allowed {
                return refused(format!("its user may not {verb} namespaces{why}"));
            }
        }
        if self.may(work(None)).await?.0 {
            return Ok(());
        }
        let rbac = "rbac.authorization.k8s.io";
        let this = ResourceAttributes { name: Some(CELL_ROLE.to_owned()), ..asked("bind", rbac, "clusterroles") };
        for asked in [this, asked("create", rbac, "rolebindings")] {
            let (allowed, why) = self.may(asked).await?;
            if !allowed {
                return refused(format!(
                    "its user may neither create Deployments in every namespace nor bind the ClusterRole {CELL_ROLE} in \
                     those that it makes{why}"
                ));
            }
        }
        Ok(())
    }
}

impl Namespace {
    /// Has all that a cell takes granted in this namespace, where this user may not do it everywhere.
    ///
    /// # Errors
    /// The API server refuses, or the user is not the one whom `ci/kubernetes/harness.yaml` makes.
    pub(super) async fn take_rights(&self) -> Result<()> {
        if self.cluster.may(work(Some(&self.name))).await?.0 {
            return Ok(());
        }
        let [home, name] = HARNESS;
        let binding = json!({
            "metadata": self.labels.metadata(CELL_ROLE),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CELL_ROLE },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": home }],
        });
        let binding: RoleBinding = serde_json::from_value(binding).context("failed to make a RoleBinding")?;
        let bound = self.api().create(&PostParams::default(), &binding).await;
        bound.map_err(|error| failed(&format!("bind the ClusterRole {CELL_ROLE}"), &error))?;
        let heeded = ready::until("the rights in a namespace", LIMIT, async || {
            Ok(self.cluster.may(work(Some(&self.name))).await?.0.then_some(()))
        });
        heeded.await.with_context(|| {
            format!("failed to work in {}: is this user the service account {name} of the namespace {home}?", self.name)
        })
    }
}
