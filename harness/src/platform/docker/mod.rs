//! The platform `docker`: containers of images made from nothing, on a network of the cell's own.
//!
//! All containers of a cell share one folder in memory, bound at the path that it has on the host, and run as a user who
//! may read it and nothing else: no root, no capabilities, no writable root filesystem.

mod exposure;
mod faults;
pub mod image;
pub mod images;
mod import;
mod laid;
mod logs;
mod member;
mod network;
mod reap;

use std::collections::HashMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{
    HostConfigLogConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, Image, ImageExt};

use self::faults::Staged;
use self::images::{BaoImage, ProbeImage, SidecarImage, StandinImage};
pub use self::import::import;
use self::member::DockerMember;
pub use self::network::Network;
pub use self::reap::{images as reap_images, reap};
use super::log::Log;
use super::{Endpoint, Exposure, Member, Platform, Program, Workload};
use crate::fault::Faults;
use crate::files::below;
use crate::net;
use crate::redact::Redactor;
use crate::run::Run;
use crate::tools::Tools;

/// The label that every container and network of a run carries: the run's id.
pub const RUN_LABEL: &str = "conformance.run";

/// Beside it, the process whose end is the end of the run.
pub const OWNER_LABEL: &str = "conformance.owner";

/// The label of images: the program.
pub const IMAGE_LABEL: &str = "conformance.image";

/// The label of containers: the member's name.
const MEMBER_LABEL: &str = "conformance.member";

/// Whom containers run as when the harness is root.
const NOBODY: u32 = 65532;

/// Memory of a container, in bytes. OpenBao is ninety megabytes of program alone.
const MEMORY: i64 = 256 << 20;
const MEMORY_OF_BAO: i64 = 512 << 20;

/// Processes of a container: the restart delivery has two instances at a time, each with threads.
const PROCESSES: i64 = 128;

/// A container is ready in less than a second; this is for a machine in trouble.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Containers of one cell.
pub struct DockerPlatform {
    network: Rc<Network>,
    folder: PathBuf,
    tools: Tools,
    user: u32,
    group: u32,
    ids: HashMap<String, String>,
    redactor: Redactor,
    log: Log,
    staged: Staged,
}

impl DockerPlatform {
    /// Containers of a run on `network` that share `folder` and whose logs go, redacted, to `logs`.
    ///
    /// # Errors
    /// The log folder cannot be made.
    pub fn new(folder: &Path, logs: &Path, run: &Run, redactor: &Redactor, network: Rc<Network>) -> Result<Self> {
        let own = |id: u32| if id == 0 { NOBODY } else { id };
        Ok(Self {
            network,
            folder: folder.to_owned(),
            tools: run.tools.clone(),
            user: own(rustix::process::getuid().as_raw()),
            group: own(rustix::process::getgid().as_raw()),
            ids: HashMap::new(),
            redactor: redactor.clone(),
            log: Log::new(logs, redactor)?,
            staged: Staged::default(),
        })
    }

    /// Gives the folder to whom the containers run as; a user who is not root owns it already.
    fn hand_over(&self) -> Result<()> {
        if self.user != NOBODY {
            return Ok(());
        }
        for path in below(&self.folder).into_iter().chain([self.folder.clone()]) {
            match chown(&path, Some(self.user), Some(self.group)) {
                Ok(()) => {}
                // A container replaces files of its own while this looks.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("failed to hand over {}", path.display())),
            }
        }
        Ok(())
    }

    /// The container whose processes it sees.
    fn beside(&self, workload: &Workload) -> Result<Option<String>> {
        let Some(name) = &workload.beside else { return Ok(None) };
        let id = self.ids.get(name).with_context(|| format!("failed to find {name}, to start beside it"))?;
        Ok(Some(format!("container:{id}")))
    }

    fn request<I: Image>(&self, image: I, workload: &Workload, hosts: Vec<String>) -> Result<ContainerRequest<I>> {
        let memory = if workload.program == Program::Bao { MEMORY_OF_BAO } else { MEMORY };
        let port = published(workload);
        // A port that the engine chooses is another one each time it starts the container.
        let ip = net::own_loopback();
        let (host_port, ip) = (net::free_port(ip)?.to_string(), ip.to_string());
        let keep = workload.keep;
        let beside = self.beside(workload)?;
        let folder = self.folder.display().to_string();
        let mut request = image
            .with_cmd(workload.args.clone())
            .with_container_name(self.network.container(&workload.name))
            .with_network(self.network.name())
            .with_labels(self.network.labels())
            .with_label(MEMBER_LABEL, &workload.name)
            .with_startup_timeout(START_LIMIT)
            .with_user(format!("{}:{}", self.user, self.group))
            .with_mount(Mount::bind_mount(&folder, &folder))
            .with_working_dir(&folder)
            .with_readonly_rootfs(true)
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges")
            .with_env_var("HOME", &folder)
            .with_env_var("TMPDIR", &folder)
            .with_host_config_modifier(move |host| {
                host.memory = Some(memory);
                host.memory_swap = Some(memory);
                host.pids_limit = Some(PROCESSES);
                // A core dump would hold every secret of the process.
                host.ulimits = Some(vec![ResourcesUlimits { name: Some("core".into()), soft: Some(0), hard: Some(0) }]);
                // Whatever the engine's default is: this driver's output can be read back.
                host.log_config = Some(HostConfigLogConfig { typ: Some("json-file".into()), config: None });
                host.pid_mode.clone_from(&beside);
                // For the harness alone: nobody else reaches it from outside the network of the cell.
                host.port_bindings = port.map(|port| {
                    let loopback = PortBinding { host_ip: Some(ip.clone()), host_port: Some(host_port.clone()) };
                    HashMap::from([(format!("{port}/tcp"), Some(vec![loopback]))])
                });
                host.publish_all_ports = Some(false);
                host.extra_hosts = Some(hosts.clone());
                host.restart_policy = keep.then_some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                });
            });
        if let Some(volume) = self.staged.volume() {
            request = request.with_mount(volume);
        }
        if let Some(endpoint) = &workload.endpoint {
            // Known to the engine, also where the bindings above publish nothing: who stands before the servers of a cell asks
            // for their ports.
            request = request.with_mapped_port(0, endpoint.listen.port().tcp());
        }
        for (name, value) in &workload.env {
            request = request.with_env_var(name, value);
        }
        for (name, value) in &workload.secret_env {
            // The engine shows it to whoever may ask it: that is what this delivery does.
            request = request.with_env_var(name, value.expose_secret());
        }
        Ok(request)
    }

    /// Starts a container and waits until it is ready.
    async fn run<I: Image + 'static>(
        &mut self,
        request: ContainerRequest<I>,
        workload: Workload,
    ) -> Result<Box<dyn Member>> {
        self.hand_over()?;
        let port = published(&workload);
        let name = workload.name;
        let container = request.start().await.with_context(|| format!("failed to start the container {name}"))?;
        let outside = match port {
            None => None,
            Some(port) => {
                let port = container.get_host_port_ipv4(port.tcp()).await;
                let port = port.with_context(|| format!("failed to find the port of {name}"))?;
                Some(format!("{}:{port}", net::own_loopback()))
            }
        };
        self.ids.insert(name.clone(), container.id().to_owned());
        let kept = workload.keep.then(|| self.network.docker().clone());
        Ok(Box::new(DockerMember::new(name, container, outside, &self.log, kept)))
    }
}

#[async_trait(?Send)]
impl Platform for DockerPlatform {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, program: &Program) -> PathBuf {
        match program {
            Program::Probe => "/bin/probe".into(),
            Program::Sidecar => "/bin/sidecar".into(),
            Program::Standin => "/bin/standin".into(),
            Program::Bao => "/bin/bao".into(),
            Program::Other(path) => path.clone(),
        }
    }

    fn endpoint(&mut self, name: &str, port: u16) -> Result<Endpoint> {
        Ok(Endpoint { listen: ([0, 0, 0, 0], port).into(), inside: format!("{}:{port}", self.network.container(name)) })
    }

    async fn image(&mut self, program: &Program) -> Result<(String, String)> {
        let tag = image::built(self.network.docker(), program, &self.tools, &self.network.labels()).await?;
        let name = image::repository(program, &self.tools)?;
        Ok((format!("{name}:{tag}"), format!("{}:{}", self.user, self.group)))
    }

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        if let Some(container) = &workload.container {
            return self.run(self.laid_out(container, &workload)?, workload).await;
        }
        let hosts = self.open_doors().await?;
        let tag = image::built(self.network.docker(), &workload.program, &self.tools, &self.network.labels()).await?;
        match &workload.program {
            Program::Probe => self.run(self.request(ProbeImage::tagged(tag), &workload, hosts)?, workload).await,
            Program::Sidecar => {
                let image = SidecarImage::tagged(tag, &workload.args);
                self.run(self.request(image, &workload, hosts)?, workload).await
            }
            Program::Standin => self.run(self.request(StandinImage::tagged(tag), &workload, hosts)?, workload).await,
            Program::Bao | Program::Other(_) => {
                self.run(self.request(BaoImage::tagged(tag), &workload, hosts)?, workload).await
            }
        }
    }

    async fn exposed(&self) -> Result<Vec<Exposure>> {
        exposure::exposed(&self.network, &self.redactor).await
    }

    fn leaks(&self) -> Vec<String> {
        self.log.leaks()
    }

    async fn shared_processes(&mut self, container: &str) -> Result<Option<String>> {
        // Processes that are seen from another container end with that container's first one. So that one is nobody's: it
        // only stays, as a pod's does. The smallest program that stays will do.
        let name = format!("{container}.processes");
        self.keep_up(&name).await?;
        Ok(Some(name))
    }

    fn values(&self) -> &Path {
        self.staged.values().unwrap_or(&self.folder)
    }

    fn faults(&mut self) -> Option<&mut dyn Faults> {
        Some(self)
    }

    async fn end(&mut self) -> Result<()> {
        self.unstage().await
    }
}

/// The port at which the harness has to find a workload, if it has to.
fn published(workload: &Workload) -> Option<u16> {
    workload.endpoint.as_ref().filter(|_| !workload.inside_only).map(|endpoint| endpoint.listen.port())
}

/// Whether the engine knows no such thing (any more), or is removing it (409) at this very moment.
fn is_gone(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 404 | 409, .. })
}
