//! Faults on containers and networks of the cell's own, by the engine's API; killed processes by the kernel, because what the
//! engine kills it does not start anew.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use rustix::process::{Pid, Signal, kill_process};
use testcontainers::ImageExt;
use testcontainers::bollard::body_full;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{
    ContainerSummary, NetworkConnectRequest, NetworkDisconnectRequest, VolumeCreateRequest,
};
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveVolumeOptions, RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use testcontainers::core::Mount;
use tokio_tar::{Builder, Header};

use super::images::ProbeImage;
use super::logs::{self, Output, Starts};
use super::{DockerPlatform, image};
use crate::door::Doors;
use crate::fault::{Fault, Faults, Weather};
use crate::platform::{Member, Program, Workload};

/// Where the volume of the env file is in containers.
const VALUES: &str = "/run/values";

/// What that volume holds: enough for an env file and its temporary copy, little enough to be filled at once.
const VOLUME_BYTES: usize = 64 << 10;

/// What the name of a server begins with while nobody may find it.
const HIDDEN: &str = "hidden-";

/// The container that keeps the volume.
const VOLUME_KEEPER: &str = "volume";

/// How long a server may take to stop by itself.
const STOP_SECONDS: i32 = 2;

/// What was made ready for a fault.
#[derive(Default)]
pub(super) struct Staged {
    doors: Option<Doors>,
    volume: Option<(String, PathBuf)>,
    /// What only stays, so that something else does: shared processes; a volume in memory, which is gone when nobody uses it.
    keepers: Vec<Box<dyn Member>>,
}

impl Staged {
    /// The volume of the env file, if there is one.
    pub(super) fn volume(&self) -> Option<Mount> {
        self.volume.as_ref().map(|(name, _)| Mount::volume_mount(name, VALUES))
    }

    /// Where containers find it.
    pub(super) fn values(&self) -> Option<&Path> {
        self.volume.as_ref().map(|(_, folder)| folder.as_path())
    }
}

/// A server of the backend.
struct Server {
    id: String,
    name: String,
    ip: Option<IpAddr>,
    ports: Vec<u16>,
}

impl Server {
    fn of(container: ContainerSummary, network: &str) -> Option<Self> {
        let name = container.names?.first()?.trim_start_matches('/').to_owned();
        let ports = container.ports.into_iter().flatten().map(|port| port.private_port).collect();
        let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let ip = networks.get(network).and_then(|network| network.ip_address.as_ref()?.parse().ok());
        Some(Self { id: container.id?, name, ip, ports })
    }

    /// Its name while nobody may find it.
    fn hidden(&self) -> String {
        format!("{HIDDEN}{}", self.name)
    }
}

impl DockerPlatform {
    /// The servers of the backend: the containers on the cell's network that this platform did not start.
    async fn servers(&self) -> Result<Vec<Server>> {
        let filters = HashMap::from([("network".to_owned(), vec![self.network.name().to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let all = self.network.docker().list_containers(Some(options)).await.context("failed to list containers")?;
        let servers =
            all.into_iter().filter(|container| !self.ids.values().any(|own| Some(own) == container.id.as_ref()));
        Ok(servers.filter_map(|container| Server::of(container, self.network.name())).collect())
    }

    /// Opens a door before every server, if there are to be doors, and returns under which names to find them. The names are
    /// the servers' own, so that their certificates hold.
    pub(super) async fn open_doors(&mut self) -> Result<Vec<String>> {
        if self.staged.doors.is_none() {
            return Ok(Vec::new());
        }
        let options = None::<InspectNetworkOptions>;
        let network = self.network.docker().inspect_network(self.network.name(), options).await;
        let configs = network.context("failed to look at the network")?.ipam.and_then(|ipam| ipam.config);
        let gateway = configs.into_iter().flatten().find_map(|config| config.gateway);
        let gateway: IpAddr = gateway.context("failed to find the gateway of the network")?.parse()?;
        let mut hosts = Vec::new();
        for server in self.servers().await? {
            let (Some(ip), Some(doors)) = (server.ip, &mut self.staged.doors) else { continue };
            for port in server.ports {
                doors.open(SocketAddr::new(gateway, port), SocketAddr::new(ip, port)).await?;
            }
            hosts.push(format!("{}:{gateway}", server.name));
        }
        Ok(hosts)
    }

    /// Removes what was made ready.
    pub(super) async fn unstage(&mut self) -> Result<()> {
        let Staged { doors, volume, keepers } = std::mem::take(&mut self.staged);
        drop(doors);
        for mut keeper in keepers {
            keeper.stop(Duration::ZERO).await?;
        }
        let Some((name, _)) = volume else { return Ok(()) };
        let removed = self.network.docker().remove_volume(&name, None::<RemoveVolumeOptions>).await;
        removed.with_context(|| format!("failed to remove the volume {name}"))
    }

    /// A small volume in memory for the env file, and somebody who keeps it.
    async fn small_volume(&mut self) -> Result<()> {
        let name = format!("{}-values", self.network.name());
        let mode = format!("size={VOLUME_BYTES},uid={},gid={},mode=0700", self.user, self.group);
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", mode.as_str())];
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            driver: Some("local".into()),
            driver_opts: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            labels: Some(self.network.labels()),
            ..Default::default()
        };
        let made = self.network.docker().create_volume(request).await;
        made.with_context(|| format!("failed to make the volume {name}"))?;
        self.staged.volume = Some((name, VALUES.into()));
        self.keep_up(VOLUME_KEEPER).await
    }

    /// Starts a container that does nothing but stay, until the end of the platform.
    pub(super) async fn keep_up(&mut self, name: &str) -> Result<()> {
        let key = self.folder.join("digest.key");
        let env = [("PROBE_KEY_FILE", key.display().to_string()), ("PROBE_NAMES", "NOTHING".to_owned())];
        let keeper = Workload {
            name: name.into(),
            program: Program::Probe,
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            keep: true,
            ..Workload::default()
        };
        let tag = image::built(self.network.docker(), &Program::Probe, &self.tools, &self.network.labels()).await?;
        // It talks to nobody, and a network costs each container time.
        let request = self.request(ProbeImage::tagged(tag), &keeper, Vec::new())?.with_network("none");
        let keeper = self.run(request, keeper).await?;
        self.staged.keepers.push(keeper);
        Ok(())
    }

    /// Puts a file of this size into the volume of the env file, in place of one that was put there before.
    async fn put(&self, bytes: usize) -> Result<(), Error> {
        let mut header = Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o600);
        header.set_cksum();
        let mut archive = Builder::new(Vec::new());
        archive.append_data(&mut header, "filler", vec![0; bytes].as_slice()).await?;
        let archive = archive.into_inner().await?;
        let options = UploadToContainerOptionsBuilder::new().path(VALUES).build();
        let keeper = self.network.container(VOLUME_KEEPER);
        self.network.docker().upload_to_container(&keeper, Some(options), body_full(archive.into())).await
    }

    /// Kills the first process of a container, as a crash does.
    async fn kill(&self, member: &str) -> Result<()> {
        let name = self.network.container(member);
        let looked = self.network.docker().inspect_container(&name, None::<InspectContainerOptions>).await;
        let state = looked.with_context(|| format!("failed to look at {member}"))?.state;
        let pid = state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let pid = pid.and_then(Pid::from_raw).with_context(|| format!("failed to kill {member}: it does not run"))?;
        kill_process(pid, Signal::KILL).with_context(|| {
            format!("failed to kill {member}: the engine must run on this machine, and containers as this user")
        })
    }

    fn doors(&self) -> Result<&Doors> {
        self.staged.doors.as_ref().context("failed to find the doors: nothing was made ready")
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let options = RenameContainerOptionsBuilder::new().name(to).build();
        let renamed = self.network.docker().rename_container(from, options).await;
        renamed.with_context(|| format!("failed to rename {from}"))
    }
}

#[async_trait(?Send)]
impl Faults for DockerPlatform {
    async fn prepare(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Weather(_) => self.staged.doors = Some(Doors::default()),
            Fault::VolumeFull => self.small_volume().await?,
            Fault::BackendUnreachable
            | Fault::NamesGone
            | Fault::BackendRestarted
            | Fault::BackendPaused
            | Fault::SidecarKilled
            | Fault::ProbeKilled
            | Fault::NodeAway
            | Fault::ApiServerAway => {}
        }
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault, container: &str) -> Result<()> {
        let (docker, sidecar) = (self.network.docker(), format!("{container}.sidecar"));
        match fault {
            Fault::BackendUnreachable => {
                let request =
                    NetworkDisconnectRequest { container: self.network.container(&sidecar), force: Some(false) };
                docker.disconnect_network(self.network.name(), request).await.context("failed to disconnect")?;
            }
            Fault::Weather(weather) => self.doors()?.change(weather),
            Fault::NamesGone => {
                for server in self.servers().await? {
                    self.rename(&server.name, &server.hidden()).await?;
                }
                self.kill(&sidecar).await?;
            }
            Fault::BackendRestarted => {
                let options = StopContainerOptionsBuilder::new().t(STOP_SECONDS).build();
                let servers = self.servers().await?;
                let stops = servers.iter().map(|server| docker.stop_container(&server.id, Some(options.clone())));
                try_join_all(stops).await.context("failed to stop the backend")?;
            }
            Fault::BackendPaused => {
                let servers = self.servers().await?;
                let pauses = servers.iter().map(|server| docker.pause_container(&server.id));
                try_join_all(pauses).await.context("failed to pause the backend")?;
            }
            Fault::SidecarKilled => self.kill(&sidecar).await?,
            Fault::ProbeKilled => self.kill(&format!("{container}.probe")).await?,
            Fault::VolumeFull => match self.put(2 * VOLUME_BYTES).await {
                Err(Error::DockerResponseServerError { message, .. }) if message.contains("no space left") => {}
                Err(error) => return Err(error).context("failed to fill the volume"),
                Ok(()) => bail!("failed to fill the volume: it takes more than its size"),
            },
            Fault::NodeAway | Fault::ApiServerAway => bail!("failed to make a fault: containers have no cluster"),
        }
        Ok(())
    }

    async fn heal(&mut self, fault: Fault, container: &str) -> Result<u64> {
        let docker = self.network.docker();
        match fault {
            Fault::BackendUnreachable => {
                let sidecar = self.network.container(&format!("{container}.sidecar"));
                let request = NetworkConnectRequest { container: sidecar, endpoint_config: None };
                docker.connect_network(self.network.name(), request).await.context("failed to connect again")?;
            }
            Fault::Weather(_) => {
                let doors = self.doors()?;
                doors.change(Weather::Fair);
                return Ok(doors.strikes());
            }
            Fault::NamesGone => {
                for server in self.servers().await? {
                    if let Some(name) = server.name.strip_prefix(HIDDEN) {
                        self.rename(&server.name, name).await?;
                    }
                }
            }
            Fault::BackendRestarted => {
                let servers = self.servers().await?;
                let starts =
                    servers.iter().map(|server| docker.start_container(&server.id, None::<StartContainerOptions>));
                try_join_all(starts).await.context("failed to start the backend again")?;
                for server in servers {
                    // Whoever followed it stopped with it; what it says is searched for secrets all the same.
                    for (output, stream) in [(Output::Stdout, "stdout"), (Output::Stderr, "stderr")] {
                        let log = self.log.stream(&format!("{}.again", server.name), stream);
                        logs::follow(docker.clone(), server.id.clone(), output, log, Starts::default());
                    }
                }
            }
            Fault::BackendPaused => {
                let servers = self.servers().await?;
                let ends = servers.iter().map(|server| docker.unpause_container(&server.id));
                try_join_all(ends).await.context("failed to let the backend go on")?;
            }
            // The engine starts it anew by itself.
            Fault::SidecarKilled | Fault::ProbeKilled | Fault::NodeAway | Fault::ApiServerAway => {}
            Fault::VolumeFull => self.put(0).await.context("failed to empty the volume")?,
        }
        Ok(1)
    }

    async fn reread(&mut self, container: &str) -> Result<()> {
        let probe = self.network.container(&format!("{container}.probe"));
        let options = KillContainerOptionsBuilder::new().signal("SIGHUP").build();
        let asked = self.network.docker().kill_container(&probe, Some(options)).await;
        asked.context("failed to ask the app to read again")
    }
}
