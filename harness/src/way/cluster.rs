//! The cluster that a cell is in, and what a check asks of it.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::{App, Container, HELLO, Way};
use crate::candidate::PROBED_NAME;
use crate::cell::{Place, PlatformId};
use crate::delivery::kubernetes::{controller, look};
use crate::load::{Front, Load};
use crate::platform::kubernetes::{Cluster, Namespace, Rights, has_own};
use crate::target::Targets;

/// The cluster of a place, if it is in one, with all that the place's delivery takes.
///
/// # Errors
/// The cluster cannot be used; [`crate::error::Absent`] where it lacks something, which a few calls have told.
pub(super) async fn find(place: Place, targets: &Targets) -> Result<Option<Cluster>> {
    if place.platform != PlatformId::Kubernetes {
        return Ok(None);
    }
    let cluster = Cluster::reach().await?;
    look(&cluster, place, targets).await?;
    Ok(Some(cluster))
}

impl Way {
    /// Whether the cell is in a cluster.
    pub fn is_in_a_cluster(&self) -> bool {
        self.namespace.is_some()
    }

    fn namespace(&self) -> Result<&Rc<Namespace>> {
        self.namespace.as_ref().context("failed to look at the cluster: this cell is on another platform")
    }

    /// Where whoever uses the app reaches it, as soon as it answers there with `hello`: a node learns of its first pod a
    /// little later than the API server. In a cluster that is a Service, which is made here; elsewhere None where the delivery
    /// gives it no address that stays the same.
    ///
    /// From this machine a Service can be reached in a cluster of our own. In others requests go through the API server, which
    /// sends them to the Service's ready pods.
    ///
    /// # Errors
    /// It does not answer before patience runs out; the error holds how the last request failed.
    pub async fn front(&mut self, app: App) -> Result<Option<Front>> {
        let Container { reader, deployment } = &self.containers[app.0];
        let front = match &self.namespace {
            None => match &deployment.address {
                Some(address) => Front::at(address.clone()),
                None => return Ok(None),
            },
            Some(namespace) => {
                let address = namespace.serve(&reader.container).await?;
                match has_own() {
                    true => Front::at(address),
                    false => {
                        self.record.notes.push("requests go through the API server's proxy to the Service".to_owned());
                        namespace.proxied(&reader.container).await?
                    }
                }
            }
        };
        let address = &front.address;
        let mut first = Load::start(&front, PROBED_NAME, 1)?;
        let answered = first.answered_with(&self.digest(&HELLO.into()), Instant::now() + self.patience.0).await;
        let requests = first.stop().await?;
        let failed: Vec<_> = requests.iter().filter_map(|request| request.outcome.as_ref().err()).collect();
        ensure!(
            answered,
            "failed to reach the app at {address} from this machine: {} of {} requests failed, the last: {}",
            failed.len(),
            requests.len(),
            failed.last().map_or("none", |text| text.as_str())
        );
        Ok(Some(front))
    }

    /// How many revisions the container's Deployment has.
    ///
    /// # Errors
    /// The cluster does not say.
    pub async fn revisions(&self, app: App) -> Result<usize> {
        self.namespace()?.revisions(&self.containers[app.0].reader.container).await
    }

    /// Waits until a rollout of the container's Deployment is over.
    ///
    /// # Errors
    /// It is not before patience runs out.
    pub async fn settle(&self, app: App) -> Result<()> {
        let deadline = Instant::now() + self.patience.0;
        self.namespace()?.settle(&self.containers[app.0].reader.container, deadline).await
    }

    /// Has what delivers to the container start anew, and waits until it says that it delivered.
    ///
    /// # Errors
    /// It does not before patience runs out.
    pub async fn renew_delivery(&mut self, app: App) -> Result<()> {
        let deadline = Instant::now() + self.patience.0;
        let namespace = Rc::clone(self.namespace()?);
        let Container { reader, deployment } = &mut self.containers[app.0];
        let delivery = controller(&reader.container);
        deployment.delivers_again(deadline, async || namespace.renew(&delivery).await).await
    }

    /// Has the container's Deployment rolled as `kubectl rollout restart` does, and says when the request was sent.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn restart_bare(&self, app: App) -> Result<Instant> {
        self.namespace()?.restart(&self.containers[app.0].reader.container).await
    }

    /// Every object of the cell's namespace by kind and name, as the cluster shows it, but for the data of Secrets.
    ///
    /// # Errors
    /// The cluster does not show one.
    pub async fn objects(&self) -> Result<Vec<(String, String)>> {
        self.namespace()?.objects().await
    }

    /// What the service accounts of the cell may do.
    ///
    /// # Errors
    /// The cluster does not say.
    pub async fn rights(&self) -> Result<Vec<Rights>> {
        self.namespace()?.rights().await
    }
}
