//! `restart`: the sidecar starts a new instance behind one stable address, waits until it is ready, drains the old one.

use std::cell::Cell;

use anyhow::{Context, Result};
use async_trait::async_trait;
use sidecar::config::{DeliverConfig, DeliveryConfig, RestartConfig};
use sidecar::status::{Event, Status};

use super::reload::start_sidecar;
use super::{Choice, Delivery, Deployment, Scene};
use crate::candidate::Trigger;
use crate::evidence::TriggerUse;
use crate::platform::{Program, line, take_err, take_out};

/// How long an instance may take to be ready, and to drain.
const LIMIT_MS: u64 = 10_000;

/// The port of the front where a platform lets it choose.
const PORT: u16 = 8080;

/// The sidecar above the app.
pub(super) struct Restart;

#[async_trait(?Send)]
impl Delivery for Restart {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (trigger, config) = scene.trigger(Choice::Best).await?;
        let endpoint = scene.platform.endpoint(&scene.sidecar(), PORT)?;
        let deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source: scene.candidate.source(scene.reader)?,
            trigger: config,
            delivery: DeliveryConfig::Restart(RestartConfig {
                listen: endpoint.listen,
                command: vec![scene.platform.path(&Program::Probe).display().to_string()],
                env: scene.probe_settings(),
                ready_path: "/readyz".into(),
                ready_timeout_ms: LIMIT_MS,
                drain_timeout_ms: LIMIT_MS,
            }),
        };
        let mut sidecar = start_sidecar(scene, &deliver, Some(endpoint), None, true).await?;
        // A sidecar that fell back to asking must not pass for one that is told.
        let (listens, told) = (Cell::new(false), Cell::new(trigger == Trigger::VersionPoll));
        line(sidecar.as_mut(), "the front listening and the subscription", scene.deadline, |text| {
            match Status::parse(text).ok()?.event {
                Event::Listening { .. } => listens.set(true),
                Event::Subscribed => told.set(true),
                _ => {}
            }
            (listens.get() && told.get()).then_some(())
        })
        .await?;
        let address = sidecar.outside().context("failed to find the front")?.to_owned();
        let (out, status) = (take_out(sidecar.as_mut()), take_err(sidecar.as_mut()));
        let mut deployment = Deployment::new(out, vec![sidecar]);
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        deployment.address = Some(format!("http://{address}"));
        Ok(deployment)
    }
}
