//! A cluster that is up: what others need of it, and what checks do to it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::Timespec;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::api::Api;
use crate::component::{Component, SOCKET};
use crate::error::Unusable;
use crate::image::ImageTar;
use crate::namespace;
use crate::procfs::{self, Process};
use crate::record::{Record, last_words};
use crate::up::until;

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) record: Record,
}

impl Cluster {
    /// The cluster in a folder.
    ///
    /// # Errors
    /// [`Unusable`]: there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self { record: Record::read(folder)? })
    }

    /// The kubeconfig of its administrator; only its owner may read it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.record.file("kubeconfig")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.record.folder
    }

    /// Its version in full: `1.20.2`.
    pub fn release(&self) -> &str {
        &self.record.binaries.release
    }

    /// The address under which a pod reaches this machine.
    ///
    /// # Errors
    /// The cluster was never up.
    pub fn machine(&self) -> Result<Ipv4Addr> {
        Ok(self.record.block()?.machine())
    }

    /// The address under which this machine and pods reach the node.
    ///
    /// # Errors
    /// See [`Self::machine`].
    pub fn node(&self) -> Result<Ipv4Addr> {
        Ok(self.record.block()?.node())
    }

    /// The components that do not run.
    pub fn missing(&self) -> Vec<Component> {
        let runs =
            |component: &Component| self.record.components.get(component).is_some_and(|process| process.is_alive());
        Component::ALL.into_iter().filter(|component| !runs(component)).collect()
    }

    /// Says whether it is usable: everything runs, API, node and the default account of pods are there.
    ///
    /// # Errors
    /// What is not so.
    pub async fn check(&self) -> Result<()> {
        if let Some(component) = self.missing().first() {
            let name = component.name();
            let log = self.record.log(name);
            let problem = format!("it does not run any more; it said last:\n  {}", last_words(&log));
            let remedy = format!("see {}; then take the cluster down and bring up another", log.display());
            return Err(Unusable::new(name, problem, remedy).into());
        }
        let api = Api::new(&self.record)?;
        ensure!(api.is_ready().await, "failed to use the cluster: its API is not ready");
        ensure!(api.has_node().await, "failed to use the cluster: its node is not ready");
        ensure!(api.has_account(self.record.binaries.version).await, "failed to use the cluster: no ServiceAccount");
        Ok(())
    }

    /// Puts an image where pods find it; they must ask for it with `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// containerd does not run or does not take it.
    pub async fn load(&self, image: &ImageTar) -> Result<()> {
        let mut command = Command::from(namespace::enter(&self.record, "ctr")?);
        command.args(["--address", SOCKET, "--namespace", "k8s.io", "images", "import", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("failed to start ctr")?;
        let mut input = child.stdin.take().context("failed to talk to ctr")?;
        let fed = async move {
            let fed = input.write_all(image.bytes()).await;
            drop(input);
            fed
        };
        let (fed, said) = tokio::join!(fed, child.wait_with_output());
        let said = said.context("failed to wait for ctr")?;
        ensure!(
            said.status.success(),
            "failed to load the image {}: {}",
            image.name(),
            String::from_utf8_lossy(&said.stderr).trim()
        );
        fed.with_context(|| format!("failed to load the image {}", image.name()))
    }

    /// Ends a component at once, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, component: Component) -> Result<()> {
        let name = component.name();
        let holder = self.record.components.get(&component).copied().filter(|holder| holder.is_alive());
        let holder = holder.with_context(|| format!("failed to stop {name}: it does not run"))?;
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        for process in procfs::children(holder.pid).into_iter().filter_map(Process::of) {
            process.end(limit).with_context(|| format!("failed to stop {name}"))?;
        }
        self.record.components.remove(&component);
        self.record.write()
    }

    /// Starts a component that was stopped; it is ready a moment later.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&mut self, component: Component) -> Result<()> {
        ensure!(self.missing().contains(&component), "failed to start {}: it runs", component.name());
        self.spawn(component, None)
    }

    /// Waits until the API calls itself ready.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub async fn until_ready(&self, limit: Duration) -> Result<()> {
        let (api, deadline) = (Api::new(&self.record)?, Instant::now() + limit);
        until("the API is ready", deadline, async || api.is_ready().await).await
    }
}
