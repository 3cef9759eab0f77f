//! The network of a cell, and what killed runs left of networks and containers.

use std::collections::HashMap;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::NetworkCreateRequest;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use testcontainers::core::client::docker_client_instance;

use super::{OWNER_LABEL, RUN_LABEL};
use crate::run::{Owner, Run};

/// A network that only the containers of one cell are on.
pub struct Network {
    docker: Docker,
    name: String,
    labels: HashMap<String, String>,
}

impl Network {
    /// Makes the network of a cell.
    ///
    /// # Errors
    /// The engine does not answer, or has no addresses left.
    pub async fn make(run: &Run, unique: &str) -> Result<Self> {
        let docker =
            docker_client_instance().await.context("failed to find a Docker engine: `cargo conformance doctor`")?;
        let name = format!("conformance-{}-{unique}", run.id);
        let labels =
            HashMap::from([(RUN_LABEL.to_owned(), run.id.clone()), (OWNER_LABEL.to_owned(), run.owner.to_string())]);
        let request = NetworkCreateRequest { name: name.clone(), labels: Some(labels.clone()), ..Default::default() };
        docker.create_network(request).await.with_context(|| {
            format!("failed to make the network {name} (an engine has about thirty; `cargo conformance reap` frees old ones)")
        })?;
        Ok(Self { docker, name, labels })
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn labels(&self) -> HashMap<String, String> {
        self.labels.clone()
    }

    /// The name of a container of this cell, under which the others find it.
    pub(super) fn container(&self, member: &str) -> String {
        format!("{}-{}", self.name, member.replace('.', "-"))
    }

    /// Removes the network; no container may be on it any more.
    ///
    /// # Errors
    /// One still is, or the engine is gone.
    pub async fn remove(&self) -> Result<()> {
        let removed = self.docker.remove_network(&self.name).await;
        removed.with_context(|| format!("failed to remove the network {}", self.name))
    }
}

/// Removes containers, volumes and networks of the runs that `is_wanted` names, and says which. Where no engine answers there are
/// none.
///
/// # Errors
/// The engine removes one not.
pub async fn reap(mut is_wanted: impl FnMut(&str, Owner) -> bool) -> Result<Vec<(String, String)>> {
    let Ok(docker) = docker_client_instance().await else { return Ok(Vec::new()) };
    let labelled = HashMap::from([("label".to_owned(), vec![RUN_LABEL.to_owned()])]);
    let all = ListContainersOptionsBuilder::new().all(true).filters(&labelled).build();
    let Ok(containers) = docker.list_containers(Some(all)).await else { return Ok(Vec::new()) };
    let mut wanted = |labels: Option<HashMap<String, String>>| {
        let labels = labels?;
        let (run, owner) = (labels.get(RUN_LABEL)?, labels.get(OWNER_LABEL)?.parse().ok()?);
        is_wanted(run, owner).then(|| run.clone())
    };
    let mut removed = Vec::new();
    for container in containers {
        let (Some(id), Some(run)) = (container.id, wanted(container.labels)) else { continue };
        let name = container.names.into_iter().flatten().next().unwrap_or_else(|| id.clone());
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match docker.remove_container(&id, Some(options)).await {
            Ok(()) => removed.push((run, format!("container {}", name.trim_start_matches('/')))),
            // Its own cell, or another reaper, was faster.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("failed to remove the container {name}")),
        }
    }
    let all = ListVolumesOptionsBuilder::new().filters(&labelled).build();
    let volumes = docker.list_volumes(Some(all)).await.context("failed to list volumes")?.volumes;
    for volume in volumes.into_iter().flatten() {
        let Some(run) = wanted(Some(volume.labels)) else { continue };
        match docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await {
            Ok(()) => removed.push((run, format!("volume {}", volume.name))),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("failed to remove the volume {}", volume.name)),
        }
    }
    let all = ListNetworksOptionsBuilder::new().filters(&labelled).build();
    for network in docker.list_networks(Some(all)).await.context("failed to list networks")? {
        let (Some(name), Some(run)) = (network.name, wanted(network.labels)) else { continue };
        match docker.remove_network(&name).await {
            Ok(()) => removed.push((run, format!("network {name}"))),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("failed to remove the network {name}")),
        }
    }
    Ok(removed)
}

fn is_gone(error: &testcontainers::bollard::errors::Error) -> bool {
    // 409: its removal is under way.
    matches!(error, testcontainers::bollard::errors::Error::DockerResponseServerError { status_code: 404 | 409, .. })
}
