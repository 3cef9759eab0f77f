//! `reload`: the sidecar re-renders the env file and signals the app.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use sidecar::config::{DeliverConfig, DeliveryConfig, ReloadConfig};
use sidecar::status::{Event, Status};
use tokio::time::Instant;

use super::{Choice, Delivery, Deployment, Scene};
use crate::candidate::Trigger;
use crate::evidence::TriggerUse;
use crate::files::write_private;
use crate::platform::{Endpoint, Member, Program, Workload, line, take_err, take_out};

/// The app's port where a platform lets it choose.
const PORT: u16 = 8000;

/// The sidecar beside the app, told of rotations by this trigger.
pub(super) struct Reload(pub(super) Choice);

#[async_trait(?Send)]
impl Delivery for Reload {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (env_file, pid_file) = (scene.value_file("env"), scene.value_file("pid"));
        let (trigger, config) = scene.trigger(self.0).await?;
        let deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source: scene.candidate.source(scene.reader)?,
            trigger: config,
            delivery: DeliveryConfig::Reload(ReloadConfig { env_file: env_file.clone(), pid_file: pid_file.clone() }),
        };
        // The app is started when its file is there, as an init container sees to it…
        let mut first = start_sidecar(scene, &deliver, None, None, false).await?;
        line(first.as_mut(), "the rendered env file", scene.deadline, |text| {
            matches!(Status::parse(text).ok()?.event, Event::Rendered { .. }).then_some(())
        })
        .await?;
        first.stop(Duration::ZERO).await?;
        let mut probe = scene.probe();
        probe.env.insert("PROBE_ENV_FILE".into(), env_file.display().to_string());
        probe.env.insert("PROBE_PID_FILE".into(), pid_file.display().to_string());
        let endpoint = scene.platform.endpoint(&probe.name, PORT)?;
        probe.env.insert("PROBE_LISTEN".into(), endpoint.listen.to_string());
        probe.endpoint = Some(endpoint);
        probe.keep = true;
        probe.beside = scene.platform.shared_processes(&scene.reader.container).await?;
        let beside = probe.beside.clone();
        let mut probe = scene.platform.start(probe).await?;
        // …and the sidecar that stays is started beside the app, whose process it signals.
        let mut sidecar = start_sidecar(scene, &deliver, None, beside, true).await?;
        told(sidecar.as_mut(), trigger, scene.deadline).await?;
        let (out, status) = (take_out(probe.as_mut()), take_err(sidecar.as_mut()));
        let address = probe.outside().map(|address| format!("http://{address}"));
        let mut deployment = Deployment::new(out, vec![sidecar, probe]);
        deployment.address = address;
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        deployment.secret_files.push(env_file);
        Ok(deployment)
    }
}

/// Waits until a sidecar has rendered the env file and hears of rotations by its trigger.
pub(super) async fn told(sidecar: &mut dyn Member, trigger: Trigger, deadline: Instant) -> Result<()> {
    // A sidecar that fell back to asking must not pass for one that is told.
    let (rendered, told) = (Cell::new(false), Cell::new(trigger == Trigger::VersionPoll));
    line(sidecar, "the rendered env file and the subscription", deadline, |text| {
        match Status::parse(text).ok()?.event {
            Event::Rendered { .. } => rendered.set(true),
            Event::Subscribed => told.set(true),
            _ => {}
        }
        (rendered.get() && told.get()).then_some(())
    })
    .await
}

/// Starts the sidecar with this configuration, beside another member where it is to signal it, to be kept or not.
pub(super) async fn start_sidecar(
    scene: &mut Scene<'_>,
    deliver: &DeliverConfig,
    endpoint: Option<Endpoint>,
    beside: Option<String>,
    keep: bool,
) -> Result<Box<dyn Member>> {
    let config = scene.file("deliver.toml");
    write_private(&config, &toml::to_string(deliver)?)?;
    let workload = Workload {
        name: scene.sidecar(),
        program: Program::Sidecar,
        endpoint,
        beside,
        keep,
        args: vec!["deliver".into(), "--config".into(), config.display().to_string()],
        ..Workload::default()
    };
    scene.platform.start(workload).await
}
