//! Faults as data: what a run does to its own network, servers and containers, and what a platform needs for it.
//! The next fault is a variant here, how to inflict it in the platform, and a row in the table of `check::network`.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

/// Something that goes wrong around a running app. Nothing of it touches what the run did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sidecar's network is taken from it: whatever it sends goes nowhere.
    BackendUnreachable,
    /// The way to the backend has other weather than usual.
    Weather(Weather),
    /// The backend's names cannot be looked up, and a sidecar that has just been started anew has no connection yet.
    NamesGone,
    /// The backend's servers are stopped and started again, with their state.
    BackendRestarted,
    /// The backend's processes get no time: connections stand, and nobody answers.
    BackendPaused,
    /// The sidecar's process is killed.
    SidecarKilled,
    /// The app's process is killed.
    ProbeKilled,
    /// The volume that holds the env file is full.
    VolumeFull,
    /// The cluster's node has no agent: nothing on it is started, ended or looked at.
    NodeAway,
    /// Nobody answers for the cluster.
    ApiServerAway,
}

/// What the way between sidecar and backend does to what passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// Every piece is late by this much, in both directions.
    Slow(Duration),
    /// Every third piece is lost. Whoever uses TCP sees no gap but a wait: the time until it is sent again, which doubles
    /// with each further loss.
    Lossy(Duration),
    /// Every connection is reset, and so is each new one.
    Resets,
}

/// A platform that can inflict faults on the cell that it holds.
#[async_trait(?Send)]
pub trait Faults {
    /// Makes ready what the fault needs; nothing is deployed yet.
    async fn prepare(&mut self, fault: Fault) -> Result<()>;

    /// Lets it happen to the backend and to what is deployed as `container`.
    async fn inflict(&mut self, fault: Fault, container: &str) -> Result<()>;

    /// Ends it. Returns how often it struck, where that can be counted, else 1.
    async fn heal(&mut self, fault: Fault, container: &str) -> Result<u64>;

    /// Asks the app of `container` to read its values again, as anybody may at any time who sees its process.
    async fn reread(&mut self, container: &str) -> Result<()> {
        let _ = container;
        Ok(())
    }
}
