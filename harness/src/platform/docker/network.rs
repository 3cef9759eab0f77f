//! The network of a cell.

use std::collections::HashMap;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::NetworkCreateRequest;
use testcontainers::core::client::docker_client_instance;

use super::{OWNER_LABEL, RUN_LABEL};
use crate::run::Run;

/// The label of everything that belongs to one cell: the name of its network.
pub(super) const CELL_LABEL: &str = "conformance.cell";

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
        let labels = HashMap::from([
            (RUN_LABEL.to_owned(), run.id.clone()),
            (OWNER_LABEL.to_owned(), run.owner.to_string()),
            (CELL_LABEL.to_owned(), name.clone()),
        ]);
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
