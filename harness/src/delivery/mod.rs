//! Deliveries: how values reach the probe, and how a rotation does. A delivery knows nothing of vendors.

mod compose;
pub mod kubernetes;
mod native;
mod redeploy;
mod reload;
mod restart;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use probe::observation::Observation;
use sidecar::config::TriggerConfig;
use sidecar::status::{Event, Status};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use crate::candidate::{Candidate, Reader, Trigger};
use crate::cell::DeliveryId;
use crate::evidence::TriggerUse;
use crate::observations::{Observations, Recorded};
use crate::platform::{Line, Member, Platform, Program, Workload};
use crate::tools::Tools;

/// How long a member of a deployment may take to stop by itself.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Everything that a delivery has at hand when it deploys the probe.
pub struct Scene<'a> {
    /// Where it deploys to.
    pub platform: &'a mut dyn Platform,
    /// The backend.
    pub candidate: &'a mut dyn Candidate,
    /// The identity of the container that is to be deployed.
    pub reader: &'a Reader,
    /// The names that the probe reads.
    pub names: &'a [String],
    /// The programs.
    pub tools: &'a Tools,
    /// The file with the key of the digests.
    pub key_file: &'a Path,
    /// Until when the deployment must stand.
    pub deadline: Instant,
}

impl Scene<'_> {
    /// A file of this container in the platform's folder.
    fn file(&self, ending: &str) -> PathBuf {
        self.platform.folder().join(format!("{}.{ending}", self.reader.container))
    }

    /// A file of this container where its values are.
    fn value_file(&self, ending: &str) -> PathBuf {
        self.platform.values().join(format!("{}.{ending}", self.reader.container))
    }

    /// The name of the sidecar.
    fn sidecar(&self) -> String {
        format!("{}.sidecar", self.reader.container)
    }

    /// The probe, still without a way to its values.
    fn probe(&self) -> Workload {
        Workload {
            name: format!("{}.probe", self.reader.container),
            program: Program::Probe,
            env: self.probe_settings(),
            ..Workload::default()
        }
    }

    /// Sets up the trigger of this choice.
    async fn trigger(&mut self, choice: Choice) -> Result<(Trigger, TriggerConfig)> {
        let there = self.candidate.triggers();
        let trigger = match choice {
            Choice::Best => *there.first().context("failed to choose a trigger: the candidate has none")?,
            Choice::Only(only) => only,
        };
        ensure!(there.contains(&trigger), "failed to set up the trigger {trigger}: the candidate does not have it");
        Ok((trigger, self.candidate.trigger(trigger, self.reader).await?))
    }

    fn probe_settings(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("PROBE_NAMES".to_owned(), self.names.join(",")),
            ("PROBE_KEY_FILE".to_owned(), self.key_file.display().to_string()),
        ])
    }
}

/// Which of a candidate's triggers a delivery takes.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// The best.
    Best,
    /// This one.
    Only(Trigger),
}

/// The probe under delivery.
pub struct Deployment {
    /// What the probes say.
    pub observations: Observations,
    /// One address that stays the same through rotations, where the delivery has one.
    pub address: Option<String>,
    /// Files in which the delivery keeps values by design.
    pub secret_files: Vec<PathBuf>,
    /// Members into whose environment it puts values by design.
    pub secret_environments: Vec<String>,
    /// The longest time that a vendor's mechanism itself holds a rotation back; no code of ours can shorten it.
    pub unavoidable: Duration,
    /// By what it learns of a rotation, where it does.
    pub trigger: Option<TriggerUse>,
    /// What the sidecar said of the trigger since it was told first, where there is one.
    status: Option<UnboundedReceiver<Line>>,
    /// What of that was taken already, and not looked at for a lost trigger yet.
    told: Vec<Line>,
    members: Vec<Box<dyn Member>>,
}

impl Deployment {
    fn new(out: UnboundedReceiver<Line>, members: Vec<Box<dyn Member>>) -> Self {
        Self {
            observations: Observations::new(observations(out)),
            address: None,
            secret_files: Vec::new(),
            secret_environments: Vec::new(),
            unavoidable: Duration::ZERO,
            trigger: None,
            status: None,
            told: Vec::new(),
            members,
        }
    }

    /// What identifies this deployment: it changes when any part of it is deployed anew.
    pub fn identity(&self) -> String {
        let members: Vec<_> = self.members.iter().map(|m| format!("{} {}", m.name(), m.identity())).collect();
        members.join(", ")
    }

    /// Follows a sidecar whose trigger is at work.
    fn follow(&mut self, used: TriggerUse, status: UnboundedReceiver<Line>) {
        self.trigger = Some(used);
        self.status = Some(status);
    }

    /// What the sidecar has said since it was asked last, where there is one. What is taken here does not count for
    /// [`Self::lost_trigger`].
    pub fn said(&mut self) -> Vec<Event> {
        let status = self.status.as_mut();
        let lines = status.into_iter().flat_map(|status| std::iter::from_fn(|| status.try_recv().ok()));
        lines.filter_map(|line| Some(Status::parse(&line.text).ok()?.event)).collect()
    }

    /// Waits until the sidecar says once more that it delivered, after `provoke` made it start anew.
    ///
    /// # Errors
    /// That of `provoke`; or there is no sidecar, or it does not say so before the deadline.
    pub async fn delivers_again(&mut self, deadline: Instant, provoke: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let status = self.status.as_mut().context("failed to wait for a delivery: there is no sidecar")?;
        self.told.extend(std::iter::from_fn(|| status.try_recv().ok()));
        provoke().await?;
        while let Some(line) = timeout_at(deadline, status.recv()).await.context("failed to see a delivery in time")? {
            let delivered = Status::parse(&line.text).is_ok_and(|said| matches!(said.event, Event::Delivered { .. }));
            self.told.push(line);
            if delivered {
                return Ok(());
            }
        }
        bail!("failed to see a delivery: the sidecar ended")
    }

    /// Why the trigger was lost, if it was: a sidecar without one asks again and again, and would pass for one that is told.
    pub fn lost_trigger(&mut self) -> Option<String> {
        let status = self.status.as_mut()?;
        self.told.extend(std::iter::from_fn(|| status.try_recv().ok()));
        self.told.drain(..).find_map(|line| match Status::parse(&line.text).ok()?.event {
            Event::Unsubscribed { reason } => Some(reason),
            _ => None,
        })
    }

    /// Puts a further member beside the others: it is stopped with them.
    pub fn accompany(&mut self, member: Box<dyn Member>) {
        self.members.push(member);
    }

    /// Takes over the members of another deployment: they are stopped with these.
    pub fn join(&mut self, other: Self) {
        self.members.extend(other.members);
    }

    /// Stops every member, the app first.
    ///
    /// # Errors
    /// A member cannot be stopped.
    pub async fn stop(&mut self) -> Result<()> {
        for member in self.members.iter_mut().rev() {
            member.stop(STOP_GRACE).await?;
        }
        Ok(())
    }
}

/// Observations among the lines of a stream; a vendor's agent may mix its own lines in.
fn observations(mut lines: UnboundedReceiver<Line>) -> UnboundedReceiver<Recorded> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Line { at, text }) = lines.recv().await {
            if let Some(observation) = Observation::parse(&text)
                && sender.send(Recorded { at, observation }).is_err()
            {
                break;
            }
        }
    });
    receiver
}

/// A way to bring values to the probe.
#[async_trait(?Send)]
pub trait Delivery {
    /// Deploys the probe.
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment>;
}

/// The delivery `compose` with templates from elsewhere: a folder for each candidate.
pub fn composed(templates: PathBuf) -> Box<dyn Delivery> {
    Box::new(compose::Compose(templates))
}

/// The delivery of this name.
///
/// # Errors
/// There is none outside of a cluster.
pub fn by_id(id: DeliveryId) -> Result<Box<dyn Delivery>> {
    Ok(match id {
        DeliveryId::Reload => Box::new(reload::Reload(Choice::Best)),
        DeliveryId::ReloadPoll => Box::new(reload::Reload(Choice::Only(Trigger::VersionPoll))),
        DeliveryId::ReloadWebhook => Box::new(reload::Reload(Choice::Only(Trigger::Webhook))),
        DeliveryId::ReloadServiceAccount
        | DeliveryId::NativeEso
        | DeliveryId::NativeCsi
        | DeliveryId::NativeOperator => {
            bail!("failed to deliver by {id}: there are service accounts and operators in clusters alone")
        }
        DeliveryId::Restart => Box::new(restart::Restart),
        DeliveryId::NativeTemplate | DeliveryId::NativeExec => Box::new(native::Native(id)),
        DeliveryId::Compose => Box::new(compose::Compose::default()),
        DeliveryId::Redeploy => Box::new(redeploy::Redeploy),
    })
}
