//! Faults on the way of a cell.

use anyhow::{Context, Result};
use sidecar::status::Event;
use tokio::time::Instant;

use super::{App, CONTAINER, Way};
use crate::candidate::PROBED_NAME;
use crate::fault::{Fault, Faults};
use crate::observations::{Awaited, Recorded};

impl Way {
    fn faults(&mut self) -> Result<&mut dyn Faults> {
        self.platform.faults().context("failed to make a fault: this platform makes none")
    }

    /// Makes ready what a fault needs; nothing may be deployed yet.
    ///
    /// # Errors
    /// The platform has no faults, or broke.
    pub async fn prepare(&mut self, fault: Fault) -> Result<()> {
        self.faults()?.prepare(fault).await.context("failed to prepare for the fault")
    }

    /// Lets a fault happen to the backend and the container that a check deploys when it needs only one.
    ///
    /// # Errors
    /// See [`Self::prepare`].
    pub async fn inflict(&mut self, fault: Fault) -> Result<()> {
        tracing::info!(?fault, "the fault begins");
        self.faults()?.inflict(fault, CONTAINER).await.context("failed to make the fault")
    }

    /// Ends it, and has the backend's operator do what is theirs to do then. Returns how often the fault struck.
    ///
    /// # Errors
    /// See [`Self::prepare`].
    pub async fn heal(&mut self, fault: Fault) -> Result<u64> {
        let strikes = self.faults()?.heal(fault, CONTAINER).await.context("failed to end the fault")?;
        if fault == Fault::BackendRestarted {
            self.candidate.revive().await.context("failed to see the backend serve again")?;
        }
        tracing::info!(?fault, strikes, "the fault is over");
        Ok(strikes)
    }

    /// Has the app read its values again.
    ///
    /// # Errors
    /// See [`Self::prepare`].
    pub async fn reread(&mut self) -> Result<()> {
        self.faults()?.reread(CONTAINER).await
    }

    /// What the container's sidecar has said since it was asked last.
    pub fn said(&mut self, app: App) -> Vec<Event> {
        self.containers[app.0].deployment.said()
    }

    /// When the container first showed the value with this digest; none if it did not before the deadline, or if it ended
    /// and nobody started it anew.
    pub async fn observe_digest(&mut self, app: App, digest: &str, deadline: Instant) -> Option<Instant> {
        let observations = &mut self.containers[app.0].deployment.observations;
        match observations.wait(0, deadline, |recorded| recorded.digest(PROBED_NAME) == Some(digest)).await {
            Awaited::Seen(index) => Some(observations.seen()[index].at),
            Awaited::Late | Awaited::Ended => None,
        }
    }

    /// Looks until the deadline whether the container shows, from this observation on, anything but the value with this
    /// digest.
    pub async fn shows_another(&mut self, app: App, from: usize, digest: &str, deadline: Instant) -> bool {
        let another = |recorded: &Recorded| {
            recorded.observation.event != probe::observation::Event::Stopping
                && recorded.digest(PROBED_NAME) != Some(digest)
        };
        let observations = &mut self.containers[app.0].deployment.observations;
        matches!(observations.wait(from, deadline, another).await, Awaited::Seen(_))
    }
}
