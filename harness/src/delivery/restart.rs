//! `restart`: the sidecar starts a new instance behind one stable address, waits until it is ready, drains the old one.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::Result;
use async_trait::async_trait;
use sidecar::config::{DeliverConfig, DeliveryConfig, RestartConfig};
use sidecar::status::{Event, Status};

use super::reload::start_sidecar;
use super::{Choice, Delivery, Deployment, Scene};
use crate::candidate::Trigger;
use crate::evidence::TriggerUse;
use crate::net;
use crate::platform::{line, take_err, take_out};

/// How long an instance may take to be ready, and to drain.
const LIMIT_MS: u64 = 10_000;

/// The sidecar above the app.
pub(super) struct Restart;

#[async_trait(?Send)]
impl Delivery for Restart {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (trigger, config) = scene.trigger(Choice::Best).await?;
        let deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source: scene.candidate.source(scene.reader)?,
            trigger: config,
            delivery: DeliveryConfig::Restart(RestartConfig {
                listen: SocketAddr::new(net::own_loopback(), 0),
                command: vec![scene.tools.probe.display().to_string()],
                env: scene.probe_settings(),
                ready_path: "/readyz".into(),
                ready_timeout_ms: LIMIT_MS,
                drain_timeout_ms: LIMIT_MS,
            }),
        };
        let mut sidecar = start_sidecar(scene, &deliver).await?;
        // A sidecar that fell back to asking must not pass for one that is told.
        let (address, told) = (Cell::new(None), Cell::new(trigger == Trigger::VersionPoll));
        let address = line(sidecar.as_mut(), "the address of the front and the subscription", scene.deadline, |text| {
            match Status::parse(text).ok()?.event {
                Event::Listening { address: listening } => address.set(Some(listening)),
                Event::Subscribed => told.set(true),
                _ => {}
            }
            address.get().filter(|_| told.get())
        })
        .await?;
        let (out, status) = (take_out(sidecar.as_mut()), take_err(sidecar.as_mut()));
        let mut deployment = Deployment::new(out, vec![sidecar]);
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        deployment.address = Some(format!("http://{address}"));
        Ok(deployment)
    }
}
