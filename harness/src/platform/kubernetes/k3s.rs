//! A cluster in one container: the image `rancher/k3s`, for a run on a machine with a Docker engine that can pull it.
//!
//! Written from its documentation (docs.k3s.io/advanced: "Running K3s in Docker"): it runs privileged with `/run` and
//! `/var/run` in memory, and writes a kubeconfig for `127.0.0.1:6443`, which its certificate names too. Not run where this
//! was written: no registry could be reached from there.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use super::cluster::{HOST, KUBECONFIG, LOAD, choose};
use crate::error::BadInput;
use crate::files::{PrivateFolder, write_private};
use crate::platform::docker;
use crate::ready;
use crate::run::Run;

/// The image, pinned to the minor version that the client's types are of.
const IMAGE: (&str, &str) = ("rancher/k3s", "v1.34.6-k3s1");

/// The port of the API inside the container.
const API_PORT: u16 = 6443;

/// Where it writes the kubeconfig of its administrator.
const WRITTEN: &str = "/etc/rancher/k3s/k3s.yaml";

/// An image of two hundred megabytes may have to be pulled first.
const START_LIMIT: Duration = Duration::from_secs(300);
const USABLE_LIMIT: Duration = Duration::from_secs(120);

/// A cluster in a container.
pub(super) struct K3s {
    container: ContainerAsync<GenericImage>,
    folder: PrivateFolder,
}

impl K3s {
    /// Starts one for a run and waits until pods can be made in it.
    ///
    /// # Errors
    /// [`BadInput`]: the image cannot be had. Or it is not usable in time.
    pub(super) async fn up(run: &Run, say: &dyn Fn(&str)) -> Result<Self> {
        let (name, tag) = IMAGE;
        say(&format!("starting {name}:{tag}; it is pulled if it is missing"));
        let container = GenericImage::new(name, tag)
            .with_exposed_port(API_PORT.tcp())
            .with_cmd(["server", "--disable=traefik,metrics-server,local-storage,servicelb"])
            .with_container_name(format!("conformance-{}-k3s", run.id))
            .with_labels([(docker::RUN_LABEL, run.id.clone()), (docker::OWNER_LABEL, run.owner.to_string())])
            .with_privileged(true)
            .with_mount(Mount::tmpfs_mount("/run"))
            .with_mount(Mount::tmpfs_mount("/var/run"))
            .with_startup_timeout(START_LIMIT)
            .start()
            .await
            .map_err(|error| {
                let remedy = "see that the engine can pull it, or use another way: --cluster scratch";
                BadInput::new("--cluster k3s", format!("failed to start {name}:{tag}: {error}"), remedy)
            })?;
        let folder = PrivateFolder::new(&run.id, run.owner, "k3s")?;
        let cluster = Self { container, folder };
        match cluster.until_usable().await {
            Ok(()) => Ok(cluster),
            Err(error) => match cluster.end().await {
                Ok(()) => Err(error),
                Err(left) => Err(error.context(format!("and then {left:#}"))),
            },
        }
    }

    async fn until_usable(&self) -> Result<()> {
        let port = self.container.get_host_port_ipv4(API_PORT.tcp()).await.context("failed to find the API's port")?;
        let written = ready::until("the kubeconfig of k3s", USABLE_LIMIT, async || {
            let mut text = Vec::new();
            // Not there yet, or half of it.
            let copied = self.container.copy_file_from(WRITTEN, &mut text).await;
            Ok(copied.ok().and_then(|()| Kubeconfig::from_yaml(&String::from_utf8_lossy(&text)).ok()))
        });
        let mut kubeconfig = written.await?;
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("https://127.0.0.1:{port}"));
        }
        let file = self.folder.path().join("kubeconfig");
        // JSON is YAML.
        write_private(&file, &serde_json::to_string(&kubeconfig).context("failed to write a kubeconfig")?)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(Client::try_from(config)?, "default");
        ready::until("the default ServiceAccount", USABLE_LIMIT, async || Ok(accounts.get("default").await.ok()))
            .await?;
        let this = std::env::current_exe().context("failed to find this command's own path")?;
        choose([
            (KUBECONFIG, file.display().to_string()),
            (LOAD, format!("{} cluster load --container {}", this.display(), self.container.id())),
            (HOST, self.gateway().await?),
        ]);
        Ok(())
    }

    /// This machine's address on the container's network: what pods send is sent on by the container.
    async fn gateway(&self) -> Result<String> {
        let docker = docker_client_instance().await.context("failed to find a Docker engine")?;
        let looked = docker.inspect_container(self.container.id(), None).await.context("failed to look at k3s")?;
        let networks = looked.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let mut gateways = networks.into_values().filter_map(|network| network.gateway).filter(|text| !text.is_empty());
        gateways.next().context("failed to find this machine's address on the network of k3s")
    }

    /// Removes the container and what was kept of it here.
    pub(super) async fn end(self) -> Result<()> {
        let removed = self.container.rm().await.context("failed to remove the container of k3s");
        removed.and(self.folder.remove())
    }
}
