//! Suite `network`: the surroundings of a running app as its adversary. A check is a row of the table below: what happens, for
//! how long, when values are rotated meanwhile. All are driven alike and judged alike.

mod judge;

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use probe::observation::Event as Observed;
use sidecar::status::Event as Said;
use tokio::time::{Instant, sleep};

use self::judge::{Claim, Saw, Shown, is_trouble, judge};
use super::{About, Check, Question, Spread};
use crate::candidate::{Capability, PROBED_NAME, Trigger};
use crate::cell::{DeliveryId, PlatformId, Reach};
use crate::evidence::millis;
use crate::fault::{Fault, Weather};
use crate::load::Load;
use crate::verdict::Judgement;
use crate::way::{App, HELLO, HOME, Way};

/// When the values are rotated, and when they may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotated {
    /// While the fault lasts; they arrive all the same.
    Despite,
    /// While the fault lasts; nothing can arrive before it is over.
    Meanwhile,
    /// Right after the fault: the backend takes none before.
    Afterwards,
    /// At once: the fault is a moment, and what it hit comes back by itself.
    AtOnce,
}

/// Which processes the fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// None of the deployment's.
    None,
    /// The sidecar.
    Sidecar,
    /// The app.
    App,
}

/// The app under a fault.
pub(super) struct UnderFault {
    about: &'static About,
    fault: Fault,
    lasts: Duration,
    rotated: Rotated,
    ends: Ends,
    /// Whether the sidecar has to say that something is wrong: it has no way to see a backend that takes requests and does
    /// not answer unless it asks.
    says_so: bool,
}

/// More than one, so that one could be lost on the way to the last.
const ROTATIONS: usize = 3;

/// Longer than any time limit in the sidecar, so that each of them runs out once.
const LONG: Duration = Duration::from_secs(7);

/// Long enough for several tries.
const SHORT: Duration = Duration::from_secs(2);

/// How long the last value is watched once it is there.
const SETTLING: Duration = Duration::from_millis(300);

/// How often whoever uses the app asks it.
const PACE: Duration = Duration::from_millis(50);

/// One keeps its connection, one does not.
const CLIENTS: usize = 2;

/// How often to look for what comes without being waited for: what a sidecar says, what a host starts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const fn about(id: &'static str, sentence: &'static str, deliveries: &'static [DeliveryId]) -> About {
    About {
        id,
        sentence,
        answers: &[Question::Rotation, Question::Platform],
        spread: Spread::On(PlatformId::Docker, deliveries),
        needs: &[Capability::OwnServers],
    }
}

const fn on_scratch(id: &'static str, sentence: &'static str) -> About {
    let answers = &[Question::Rotation, Question::Platform];
    About { id, sentence, answers, spread: Spread::OnScratch(BOTH), needs: &[] }
}

const RELOAD: &[DeliveryId] = &[DeliveryId::Reload];
const BOTH: &[DeliveryId] = &[DeliveryId::Reload, DeliveryId::Restart];

/// The app's network is taken away: what is sent goes nowhere, and no connection ends.
pub(super) const BACKEND_UNREACHABLE: UnderFault = UnderFault {
    about: &about(
        "network.backend-unreachable",
        "While the backend cannot be reached the app keeps its value; once it can, the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::BackendUnreachable,
    lasts: LONG,
    rotated: Rotated::Meanwhile,
    ends: Ends::None,
    says_so: true,
};

/// Half a second each way.
pub(super) const BACKEND_SLOW: UnderFault = UnderFault {
    about: &about(
        "network.backend-slow",
        "With half a second of latency each way to the backend, the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::Weather(Weather::Slow(Duration::from_millis(500))),
    lasts: Duration::ZERO,
    rotated: Rotated::Despite,
    ends: Ends::None,
    says_so: false,
};

/// A third of what is sent has to be sent again, after Linux' shortest wait.
pub(super) const LOSSY: UnderFault = UnderFault {
    about: &about(
        "network.lossy",
        "While every third piece on the way to the backend has to be sent again, the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::Weather(Weather::Lossy(Duration::from_millis(200))),
    lasts: Duration::ZERO,
    rotated: Rotated::Despite,
    ends: Ends::None,
    says_so: false,
};

/// Whatever connects is reset.
pub(super) const RESET: UnderFault = UnderFault {
    about: &about(
        "network.reset",
        "While every connection to the backend is reset the app keeps its value; then the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::Weather(Weather::Resets),
    lasts: SHORT,
    rotated: Rotated::Meanwhile,
    ends: Ends::None,
    says_so: true,
};

/// Open connections need no names, so the sidecar has to begin anew.
pub(super) const DNS_GONE: UnderFault = UnderFault {
    about: &about(
        "network.dns-gone",
        "While a sidecar that starts anew cannot look up the backend the app keeps its value; once it can, the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::NamesGone,
    lasts: SHORT,
    rotated: Rotated::Meanwhile,
    ends: Ends::Sidecar,
    says_so: true,
};

/// As an operator's upgrade does.
pub(super) const BACKEND_RESTARTED: UnderFault = UnderFault {
    about: &About {
        needs: &[Capability::OwnServers, Capability::KeepsState],
        ..about(
            "network.backend-restarted",
            "While the backend restarts the app keeps its value; the last of three rotations after it arrives within the SLA",
            BOTH,
        )
    },
    fault: Fault::BackendRestarted,
    lasts: SHORT,
    rotated: Rotated::Afterwards,
    ends: Ends::None,
    says_so: true,
};

/// Connections stand, requests are taken, nothing answers.
pub(super) const BACKEND_PAUSED: UnderFault = UnderFault {
    about: &about(
        "network.backend-paused",
        "While the backend hangs the app keeps its value; the last of three rotations after it arrives within the SLA",
        BOTH,
    ),
    fault: Fault::BackendPaused,
    lasts: LONG,
    rotated: Rotated::Afterwards,
    ends: Ends::None,
    says_so: false,
};

/// Where the sidecar starts the app, both go; the host starts them anew.
pub(super) const SIDECAR_KILLED: UnderFault = UnderFault {
    about: &about(
        "network.sidecar-killed",
        "A sidecar that is killed comes back by itself, and the last of three rotations meanwhile arrives within the SLA",
        BOTH,
    ),
    fault: Fault::SidecarKilled,
    lasts: Duration::ZERO,
    rotated: Rotated::AtOnce,
    ends: Ends::Sidecar,
    says_so: false,
};

/// The sidecar sees its process, but does not go with it.
pub(super) const PROBE_KILLED: UnderFault = UnderFault {
    about: &about(
        "network.probe-killed",
        "An app that is killed comes back with a value, and the last of three rotations meanwhile arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::ProbeKilled,
    lasts: Duration::ZERO,
    rotated: Rotated::AtOnce,
    ends: Ends::App,
    says_so: false,
};

/// The env file cannot be replaced.
pub(super) const DISK_FULL: UnderFault = UnderFault {
    about: &about(
        "network.disk-full",
        "While the volume of the env file is full the app keeps its value; once there is room, the last of three rotations arrives within the SLA",
        RELOAD,
    ),
    fault: Fault::VolumeFull,
    lasts: SHORT,
    rotated: Rotated::Meanwhile,
    ends: Ends::None,
    says_so: true,
};

/// What was seen comes late: a node's agent is also who hands out logs.
pub(super) const NODE_RESTART: UnderFault = UnderFault {
    about: &on_scratch(
        "cluster.node-restart",
        "While the kubelet is away the app goes on; once it is back, the last of three rotations meanwhile shows within the SLA",
    ),
    fault: Fault::NodeAway,
    lasts: SHORT,
    rotated: Rotated::Meanwhile,
    ends: Ends::None,
    says_so: false,
};

/// The same: logs come by way of the API server.
pub(super) const APISERVER_AWAY: UnderFault = UnderFault {
    about: &on_scratch(
        "cluster.apiserver-away",
        "While the API server is away the app goes on; once the cluster rolls Deployments again, the last of three rotations meanwhile shows within the SLA",
    ),
    fault: Fault::ApiServerAway,
    lasts: SHORT,
    rotated: Rotated::Meanwhile,
    ends: Ends::None,
    says_so: false,
};

#[async_trait(?Send)]
impl Check for UnderFault {
    fn about(&self) -> &'static About {
        self.about
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        way.prepare(self.fault).await?;
        let (app, Some(first)) = way.hello().await? else {
            return Ok(Judgement::fail("the first value never arrived, so no rotation could"));
        };
        let deployed = way.deployment(app).identity();
        // A kubelet that starts anew calls its pods unready until it has probed them, and their Service sends them nothing:
        // that is the cluster's, not the delivery's.
        let asks = self.fault != Fault::NodeAway;
        let front = if asks { way.front(app).await? } else { None };
        let asking = front.map(|front| Load::at_pace(&front, PROBED_NAME, CLIENTS, PACE)).transpose()?;
        way.said(app);
        let mut saw = Saw { order: vec![way.digest(&HELLO.into())], ..Saw::default() };
        let begun = Instant::now();
        way.inflict(self.fault).await?;
        let mut since = begun;
        if self.rotated != Rotated::Afterwards {
            since = rotate(way, &mut saw.order).await?;
        }
        if self.stays(way) && way.delivery_id.reach() == Reach::SameInstance {
            // Whatever makes the app read its file in the middle of it, it finds a value there.
            way.reread().await?;
        }
        if matches!(self.rotated, Rotated::Meanwhile | Rotated::Afterwards) {
            let held = saw.order[0].clone();
            saw.early = way.shows_another(app, first, &held, begun + self.lasts).await;
            if self.says_so {
                // On a machine in trouble it gets longer to notice.
                gather(way, app, &mut saw.said, begun + way.patience.0, |said| said.iter().any(is_trouble)).await;
            }
            way.waited(begun.elapsed());
        }
        let mut arrival = None;
        if self.rotated == Rotated::Despite {
            arrival = observed(way, app, &saw.order, since).await;
        }
        saw.strikes = way.heal(self.fault).await?;
        match self.rotated {
            Rotated::Meanwhile => since = Instant::now(),
            Rotated::Afterwards => since = rotate(way, &mut saw.order).await?,
            Rotated::Despite | Rotated::AtOnce => {}
        }
        if self.rotated != Rotated::Despite {
            arrival = observed(way, app, &saw.order, since).await;
        }
        saw.arrived_ms = arrival.map(|at| millis(at.saturating_duration_since(since)));
        let told = way.record.trigger.as_ref().is_some_and(|used| used.trigger != Trigger::VersionPoll);
        saw.told_again = self.told_again(way, app, told, since, &mut saw.said).await;
        saw.came_back = self.ends == Ends::None || changes(way, app, &deployed, since + way.patience.0).await;
        let (expected, from) =
            (saw.order.last().cloned().unwrap_or_default(), way.deployment(app).observations.drain().len());
        way.shows_another(app, from, &expected, Instant::now() + SETTLING).await;
        way.waited(SETTLING);
        if let Some(asking) = asking {
            saw.requests = asking.stop().await?;
        }
        way.record.notes.push(format!(
            "{} requests were sent; the fault struck {} times",
            saw.requests.len(),
            saw.strikes
        ));
        way.record.notes.push(format!("the sidecar said: {}", names(&saw.said)));
        let same_instance = self.stays(way) && way.delivery_id.reach() == Reach::SameInstance;
        let claim = Claim {
            sla: way.sla,
            held: self.holds(),
            says_so: self.says_so,
            stays: asks && self.stays(way),
            same_instance,
            in_order: same_instance || !way.is_in_a_cluster(),
        };
        way.stop_containers().await?;
        let seen = &way.deployment(app).observations.seen()[first..];
        // An instance that is replaced says so with the value that it had: no step back.
        let shown = seen.iter().map(|recorded| &recorded.observation).filter(|o| o.event != Observed::Stopping);
        saw.shown = shown
            .map(|o| Shown {
                instance: o.instance.clone(),
                digest: o.values.get(PROBED_NAME).and_then(|seen| seen.as_ref().map(|seen| seen.digest.clone())),
            })
            .collect();
        Ok(judge(&claim, &saw))
    }
}

impl UnderFault {
    /// Whether no value can arrive before the fault is over.
    fn holds(&self) -> bool {
        matches!(self.rotated, Rotated::Meanwhile | Rotated::Afterwards)
    }

    /// Whether the app goes on through it: where the sidecar starts the app, it goes with it.
    fn stays(&self, way: &Way) -> bool {
        match self.ends {
            Ends::None => true,
            Ends::Sidecar => way.delivery_id.reach() == Reach::SameInstance,
            Ends::App => false,
        }
    }

    /// Gathers what the sidecar says until it is told of rotations again, if it ever was.
    async fn told_again(&self, way: &mut Way, app: App, told: bool, since: Instant, said: &mut Vec<Said>) -> bool {
        let deadline = since + way.patience.0;
        gather(way, app, said, deadline, |said| {
            let last = said.iter().rev().find(|event| matches!(event, Said::Subscribed | Said::Unsubscribed { .. }));
            // One that was started anew subscribes anew.
            let again = last.map_or(self.ends != Ends::Sidecar, |event| *event == Said::Subscribed);
            again || !told
        })
        .await
    }
}

/// Gathers what the sidecar says until it is enough, or the deadline; returns whether it was.
async fn gather(
    way: &mut Way,
    app: App,
    said: &mut Vec<Said>,
    deadline: Instant,
    enough: impl Fn(&[Said]) -> bool,
) -> bool {
    loop {
        said.extend(way.said(app));
        if enough(said) || Instant::now() >= deadline {
            return enough(said);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether the deployment becomes another than this one before the deadline.
async fn changes(way: &mut Way, app: App, deployed: &str, deadline: Instant) -> bool {
    while way.deployment(app).identity() == deployed && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
    way.deployment(app).identity() != deployed
}

/// Rotates a few times in a row, and says when the last was sent.
async fn rotate(way: &mut Way, order: &mut Vec<String>) -> Result<Instant> {
    let mut sent = Instant::now();
    for _ in 0..ROTATIONS {
        let values = way.fresh_values()?;
        order.push(way.digest(&values[PROBED_NAME]));
        sent = way.write(HOME, &values).await?.sent;
    }
    Ok(sent)
}

/// When the last value was observed, if patience lasted.
async fn observed(way: &mut Way, app: App, order: &[String], since: Instant) -> Option<Instant> {
    let last = order.last()?;
    way.observe_digest(app, last, since + way.patience.0).await
}

/// What was said, without its reasons.
fn names(said: &[Said]) -> String {
    let name = |event: &Said| Some(serde_json::to_value(event).ok()?.get("event")?.as_str()?.to_owned());
    said.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}
