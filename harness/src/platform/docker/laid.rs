//! Containers that a deploy template lays out: as it says, and with nothing else than the network, name and labels of the
//! cell, so that what holds here holds for the template.

use std::os::unix::fs::chown;

use anyhow::{Context, Result, ensure};
use testcontainers::bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use testcontainers::core::{AccessMode, Mount};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::{DockerPlatform, MEMBER_LABEL, NOBODY, START_LIMIT};
use crate::platform::{Container, Restart, Workload};

impl DockerPlatform {
    pub(super) fn laid_out(
        &self,
        container: &Container,
        workload: &Workload,
    ) -> Result<ContainerRequest<GenericImage>> {
        let (name, tag) = container.image.rsplit_once(':').context("failed to find the tag of a template's image")?;
        ensure!(workload.endpoint.is_none(), "failed to lay out {}: a template publishes no port", workload.name);
        let mut request = GenericImage::new(name, tag)
            .with_cmd(workload.args.clone())
            .with_container_name(self.network.container(&workload.name))
            .with_network(self.network.name())
            .with_labels(self.network.labels())
            .with_label(MEMBER_LABEL, &workload.name)
            .with_startup_timeout(START_LIMIT)
            .with_readonly_rootfs(container.read_only);
        if let Some(user) = &container.user {
            request = request.with_user(user);
        }
        for capability in &container.cap_drop {
            request = request.with_cap_drop(capability);
        }
        for option in &container.security_opt {
            request = request.with_security_opt(option);
        }
        for bind in &container.mounts {
            // A folder of the cell that a container writes to belongs to whom it runs as.
            if self.user == NOBODY && bind.source.starts_with(&self.folder) && bind.source.is_dir() {
                chown(&bind.source, Some(self.user), Some(self.group))
                    .with_context(|| format!("failed to hand over {}", bind.source.display()))?;
            }
            let access = if bind.read_only { AccessMode::ReadOnly } else { AccessMode::ReadWrite };
            let mount = Mount::bind_mount(bind.source.display().to_string(), bind.target.display().to_string());
            request = request.with_mount(mount.with_access_mode(access));
        }
        for (name, value) in &workload.env {
            request = request.with_env_var(name, value);
        }
        let (memory, processes) = (container.memory, container.processes);
        let restart = match container.restart {
            Restart::No => RestartPolicyNameEnum::NO,
            Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        };
        let beside = self.beside(workload)?;
        Ok(request.with_host_config_modifier(move |host| {
            host.memory = memory;
            host.pids_limit = processes;
            host.pid_mode.clone_from(&beside);
            host.publish_all_ports = Some(false);
            host.restart_policy = Some(RestartPolicy { name: Some(restart), maximum_retry_count: None });
        }))
    }
}
