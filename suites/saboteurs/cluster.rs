//! A delivery that leaves something in the cluster which should not be there.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use cluster::{Cluster as Scratch, Component};
use harness::cell::DeliveryId;
use harness::delivery::kubernetes::by_id;
use harness::delivery::{Delivery, Deployment, Scene};
use harness::platform::kubernetes::Namespace;
use harness::ready;
use harness::way::Deploys;
use k8s_openapi::api::apps::v1::Deployment as Object;
use k8s_openapi::api::core::v1::{LimitRange, Node, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use secrecy::ExposeSecret;
use serde_json::json;

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Defect {
    /// It rolls once more, for nothing.
    RollsTwice,
    /// Its Deployment ends the old pod before the new one is there.
    Recreates,
    /// It notes the value in an annotation.
    Annotates,
    /// The app's service account may read Secrets.
    Grants,
}

impl Defect {
    pub(super) fn deploys(self, delivery: DeliveryId) -> Deploys {
        Box::new(move |namespace| {
            Box::new(Defective {
                namespace: Rc::clone(namespace),
                delivery: by_id(namespace, delivery).unwrap(),
                defect: self,
            })
        })
    }
}

/// An honest delivery, and one thing done to it afterwards.
struct Defective {
    namespace: Rc<Namespace>,
    delivery: Box<dyn Delivery>,
    defect: Defect,
}

#[async_trait(?Send)]
impl Delivery for Defective {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let deployment = self.delivery.deploy(scene).await?;
        let name = &scene.reader.container;
        let patch = match self.defect {
            Defect::Recreates => json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } }),
            Defect::Annotates => {
                let (_, values) = scene.candidate.read(scene.reader, scene.reader.environment).await?;
                let value = values.values().next().map_or("", |value| value.expose_secret());
                json!({ "metadata": { "annotations": { "last-value": value } } })
            }
            Defect::RollsTwice => {
                self.namespace.restart(name).await?;
                json!({})
            }
            Defect::Grants => {
                let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"] });
                let role = json!({ "metadata": { "name": "further" }, "rules": [rule] });
                let binding = json!({
                    "metadata": { "name": "further" },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "further" },
                    "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": self.namespace.name }],
                });
                let parameters = PostParams::default();
                self.namespace.api::<Role>().create(&parameters, &serde_json::from_value(role)?).await?;
                self.namespace.api::<RoleBinding>().create(&parameters, &serde_json::from_value(binding)?).await?;
                json!({})
            }
        };
        self.namespace.api::<Object>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(deployment)
    }
}

/// What is wrong with the cluster before anything is deployed there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The namespace takes no pod at all.
    Quota,
    /// It takes less memory than any container asks for.
    Memory,
    /// Its default service account is not there.
    NoDefaultAccount,
    /// No node takes pods. Whoever asks for this mends it.
    NoNode,
    /// The API server has ended. Whoever asks for this mends it.
    NoApiServer,
}

impl Limit {
    pub(crate) fn deploys(self, delivery: DeliveryId) -> Deploys {
        Box::new(move |namespace| {
            Box::new(Limited {
                namespace: Rc::clone(namespace),
                delivery: by_id(namespace, delivery).unwrap(),
                limit: self,
            })
        })
    }
}

/// The cluster of our own that the tests run in.
pub(crate) fn own_cluster() -> Result<Scratch> {
    let kubeconfig = std::env::var("KUBECONFIG").context("failed to find KUBECONFIG: cargo conformance cluster up")?;
    Scratch::open(Path::new(&kubeconfig).parent().context("failed to find the cluster's folder")?)
}

/// Whether nodes take pods from now on.
pub(crate) async fn schedulable(client: &kube::Client, yes: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.metadata.name.context("failed to name a node")?;
        let patch = json!({ "spec": { "unschedulable": !yes } });
        nodes.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

struct Limited {
    namespace: Rc<Namespace>,
    delivery: Box<dyn Delivery>,
    limit: Limit,
}

#[async_trait(?Send)]
impl Delivery for Limited {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let parameters = PostParams::default();
        match self.limit {
            Limit::Quota => {
                let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
                let quotas = self.namespace.api::<ResourceQuota>();
                quotas.create(&parameters, &serde_json::from_value(quota)?).await?;
            }
            Limit::Memory => {
                let limit = json!({ "type": "Container", "max": { "memory": "1Mi" } });
                let range = json!({ "metadata": { "name": "little" }, "spec": { "limits": [limit] } });
                self.namespace.api::<LimitRange>().create(&parameters, &serde_json::from_value(range)?).await?;
            }
            Limit::NoDefaultAccount => {
                // A controller makes one for each namespace, by and by; it would make another at once.
                let accounts = self.namespace.api::<ServiceAccount>();
                ready::until("the default service account", Duration::from_secs(20), async || {
                    Ok(accounts.delete("default", &DeleteParams::default()).await.ok().map(drop))
                })
                .await?;
            }
            Limit::NoNode => schedulable(&self.namespace.cluster.client, false).await?,
            Limit::NoApiServer => own_cluster()?.stop(Component::KubeApiserver)?,
        }
        self.delivery.deploy(scene).await
    }
}
