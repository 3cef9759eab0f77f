//! The platform `docker`: containers of images made from nothing, on a network of the cell's own.
//!
//! All containers of a cell share one folder in memory, bound at the path that it has on the host, and run as a user who
//! may read it and nothing else: no root, no capabilities, no writable root filesystem.

pub(super) mod image;
mod member;
mod network;

use std::collections::HashMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use self::member::DockerMember;
pub use self::network::{Network, reap};
use super::log::Log;
use super::{Endpoint, Member, Platform, Program, Workload};
use crate::files::below;
use crate::redact::Redactor;
use crate::run::Run;
use crate::tools::Tools;

/// The label that every container and network of a run carries: the run's id.
pub const RUN_LABEL: &str = "conformance.run";

/// Beside it, the process whose end is the end of the run.
pub const OWNER_LABEL: &str = "conformance.owner";

/// The label of images: the program.
pub const IMAGE_LABEL: &str = "conformance.image";

/// Whom containers run as when the harness is root.
const NOBODY: u32 = 65532;

/// Memory of a container, in bytes. OpenBao is ninety megabytes of program alone.
const MEMORY: i64 = 256 << 20;
const MEMORY_OF_BAO: i64 = 512 << 20;

/// Processes of a container: the restart delivery has two instances at a time, each with threads.
const PROCESSES: i64 = 128;

/// Containers of one cell.
pub struct DockerPlatform {
    network: Rc<Network>,
    folder: PathBuf,
    tools: Tools,
    user: u32,
    group: u32,
    ids: HashMap<String, String>,
    log: Log,
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
            log: Log::new(logs, redactor)?,
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

    fn request(&self, image: GenericImage, workload: &Workload) -> Result<ContainerRequest<GenericImage>> {
        let memory = if workload.program == Program::Bao { MEMORY_OF_BAO } else { MEMORY };
        let port = workload.endpoint.as_ref().map(|endpoint| endpoint.listen.port());
        let beside = match &workload.beside {
            None => None,
            Some(name) => {
                let id = self.ids.get(name).with_context(|| format!("failed to find {name}, to start beside it"))?;
                Some(format!("container:{id}"))
            }
        };
        let folder = self.folder.display().to_string();
        let mut request = image
            .with_cmd(workload.args.clone())
            .with_container_name(self.network.container(&workload.name))
            .with_network(self.network.name())
            .with_labels(self.network.labels())
            .with_user(format!("{}:{}", self.user, self.group))
            .with_mount(Mount::bind_mount(&folder, &folder))
            .with_working_dir(&folder)
            .with_readonly_rootfs(true)
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges")
            .with_env_var("HOME", &folder)
            .with_env_var("TMPDIR", &folder)
            .with_env_var("PATH", "/bin")
            .with_host_config_modifier(move |host| {
                host.memory = Some(memory);
                host.memory_swap = Some(memory);
                host.pids_limit = Some(PROCESSES);
                host.pid_mode.clone_from(&beside);
                // For the harness alone: nobody else reaches it from outside the network of the cell.
                host.port_bindings = port.map(|port| {
                    let loopback = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(String::new()) };
                    HashMap::from([(format!("{port}/tcp"), Some(vec![loopback]))])
                });
                host.publish_all_ports = Some(false);
            });
        if let Some(port) = port {
            request = request.with_mapped_port(0, port.tcp());
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

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        let image = image::of(self.network.docker(), &workload.program, &self.tools).await?;
        self.hand_over()?;
        let request = self.request(image, &workload)?;
        let name = workload.name;
        let container = request.start().await.with_context(|| format!("failed to start the container {name}"))?;
        let outside = match &workload.endpoint {
            None => None,
            Some(endpoint) => {
                let port = container.get_host_port_ipv4(endpoint.listen.port().tcp()).await;
                Some(format!("127.0.0.1:{}", port.with_context(|| format!("failed to find the port of {name}"))?))
            }
        };
        self.ids.insert(name.clone(), container.id().to_owned());
        Ok(Box::new(DockerMember::new(name, container, outside, &self.log)))
    }

    fn leaks(&self) -> Vec<String> {
        self.log.leaks()
    }
}
