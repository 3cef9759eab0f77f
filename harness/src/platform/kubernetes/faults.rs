//! Faults of a cluster of our own: a component of it ends as in a crash, and is started again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use cluster::{Cluster as Scratch, Component};
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use super::NamespacePlatform;
use super::cluster::{KUBECONFIG, variable};
use crate::fault::{Fault, Faults};
use crate::ready;

/// How long a component may take to be back on a machine in trouble.
const LIMIT: Duration = Duration::from_secs(60);

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
        self.away = None;
        cluster.until_ready(LIMIT).await?;
        if component != Component::Kubelet {
            return Ok(());
        }
        let client = &self.namespace.cluster.client;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let node = nodes.items.into_iter().find_map(|node| node.metadata.name).context("failed to find the node")?;
        ready::until("the kubelet", LIMIT, async || {
            // By way of the API server, as logs come.
            let request = Request::get(format!("/api/v1/nodes/{node}/proxy/healthz")).body(Vec::new())?;
            Ok(client.request_text(request).await.ok().map(drop))
        })
        .await
    }

    /// Starts what a cell that broke off has left away: others need it, too.
    pub(super) async fn mend(&mut self) -> Result<()> {
        match self.away {
            Some(component) => self.bring_back(component).await,
            None => Ok(()),
        }
    }
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
