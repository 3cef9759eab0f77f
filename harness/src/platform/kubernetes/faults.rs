//! Faults of a cluster of our own: a component of it ends as in a crash, and is started again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use cluster::{Cluster as Scratch, Component, PAUSE_IMAGE};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::cluster::{KUBECONFIG, variable};
use super::member::is_complete;
use super::{NamespacePlatform, failed};
use crate::fault::{Fault, Faults};
use crate::ready;

/// How long a component may take to be back on a machine in trouble.
const LIMIT: Duration = Duration::from_secs(60);

/// The name of the Deployment that shows whether the cluster works again.
const CANARY: &str = "canary";

/// The cluster of our own that the chosen kubeconfig is of, if it is one.
fn own_cluster() -> Option<Scratch> {
    let kubeconfig = PathBuf::from(variable(KUBECONFIG)?);
    let cluster = Scratch::open(kubeconfig.parent()?).ok()?;
    (cluster.kubeconfig() == kubeconfig).then_some(cluster)
}

/// Whether the chosen kubeconfig is of a cluster of our own, which may be broken.
pub fn has_own() -> bool {
    own_cluster().is_some()
}

impl NamespacePlatform {
    /// Starts what a fault ended, and waits until it answers.
    async fn bring_back(&mut self, component: Component) -> Result<()> {
        let mut cluster = own_cluster().context("failed to find the cluster of our own")?;
        cluster.start(component)?;
        let started = Timestamp::now();
        self.away = None;
        cluster.until_ready(LIMIT).await?;
        let nodes: Api<Node> = Api::all(self.namespace.cluster.client.clone());
        ready::until("the node", LIMIT, async || {
            let found = nodes.list(&ListParams::default()).await.into_iter().flatten();
            Ok(found.last().filter(|node| is_ready(node, started)).map(drop))
        })
        .await?;
        self.until_rolls().await
    }

    /// Waits until a Deployment of nothing is available. Controllers, scheduler and kubelet each look for an API server that
    /// was away when they please, up to ten seconds later, and that is no delivery's time.
    async fn until_rolls(&self) -> Result<()> {
        let labels = json!({ "conformance.app": CANARY });
        let container = json!({
            "name": CANARY,
            "image": PAUSE_IMAGE,
            "imagePullPolicy": "Never",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        });
        let pod = json!({
            "containers": [container],
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
        });
        let deployment = json!({
            "metadata": { "name": CANARY },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        });
        let deployments = self.namespace.api::<Deployment>();
        let made = deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await;
        made.map_err(|error| failed("make a Deployment", &error))?;
        ready::until("a Deployment", LIMIT, async || {
            let found = deployments.get(CANARY).await.ok();
            Ok(found.filter(is_complete).map(drop))
        })
        .await?;
        let removed = deployments.delete(CANARY, &DeleteParams::background()).await;
        removed.map(drop).map_err(|error| failed("remove a Deployment", &error))
    }

    /// Starts what a cell that broke off has left away: others need it, too.
    pub(super) async fn mend(&mut self) -> Result<()> {
        match self.away {
            Some(component) => self.bring_back(component).await,
            None => Ok(()),
        }
    }
}

/// Whether a node takes pods, by what its kubelet has said since then. A kubelet that starts anew first says that it is not
/// ready, and what stands there from before says nothing.
fn is_ready(node: &Node, since: Timestamp) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    // The API keeps whole seconds.
    let fresh = |at: &Time| at.0.as_second() > since.as_second();
    let tainted = node.spec.iter().any(|spec| spec.taints.iter().flatten().next().is_some());
    !tainted && ready.any(|condition| condition.last_heartbeat_time.as_ref().is_some_and(fresh))
}

fn component(fault: Fault) -> Result<Component> {
    match fault {
        Fault::NodeAway => Ok(Component::Kubelet),
        Fault::ApiServerAway => Ok(Component::KubeApiserver),
        _ => bail!("failed to make a fault: in a cluster there is no {fault:?}"),
    }
}

#[async_trait(?Send)]
impl Faults for NamespacePlatform {
    async fn prepare(&mut self, fault: Fault) -> Result<()> {
        component(fault)?;
        ensure!(
            own_cluster().is_some(),
            "failed to make a fault: only a cluster of our own is broken on purpose (--cluster scratch)"
        );
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault, _container: &str) -> Result<()> {
        let component = component(fault)?;
        own_cluster().context("failed to find the cluster of our own")?.stop(component)?;
        self.away = Some(component);
        Ok(())
    }

    async fn heal(&mut self, fault: Fault, _container: &str) -> Result<u64> {
        self.bring_back(component(fault)?).await?;
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, heartbeat: &str, taints: &Value) -> Node {
        let condition = json!({ "type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat });
        serde_json::from_value(json!({ "spec": { "taints": taints }, "status": { "conditions": [condition] } }))
            .unwrap()
    }

    #[rstest]
    #[case::ready("True", "2026-11-24T08:00:02Z", json!([]), true)]
    #[case::not_ready("False", "2026-11-24T08:00:02Z", json!([]), false)]
    #[case::said_before("True", "2026-11-24T08:00:01Z", json!([]), false)]
    #[case::tainted("True", "2026-11-24T08:00:02Z", json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }]), false)]
    fn a_node_is_ready_by_what_it_says_since(
        #[case] ready: &str,
        #[case] heartbeat: &str,
        #[case] taints: Value,
        #[case] expected: bool,
    ) {
        let since = "2026-11-24T08:00:01.5Z".parse().unwrap();
        assert_eq!(is_ready(&node(ready, heartbeat, &taints), since), expected);
    }
}
