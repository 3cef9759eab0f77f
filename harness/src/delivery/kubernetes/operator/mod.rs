//! `native` by an operator of the cluster: it writes the Secret that the app has in its environment, and rolls the app,
//! or leaves that to Stakater's Reloader.
//!
//! An operator is the cluster's, and this suite installs none: where one is missing, the cells are `not-run` and say
//! what is missing. The same goes for a backend that an operator cannot be pointed at, which is told before any is started.

mod facts;
mod objects;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;

use self::facts::{Operator, Rolls};
use self::objects::{Order, credentials};
use super::probe;
use crate::cell::{DeliveryId, Place, PlatformId};
use crate::delivery::{Delivery, Deployment, Scene};
use crate::error::Absent;
use crate::platform::kubernetes::{Cluster, Namespace, Plan, reason};
use crate::platform::take_out;
use crate::ready::until;
use crate::target::Targets;

/// How often operators are told to ask the backend. Their own defaults are a minute and more, which no SLA of seconds
/// survives; faster, and the cells of a run come near the rate limits of the hosted backends.
const EVERY: Duration = Duration::from_secs(2);

/// How much of the time for a deployment is the app's own, once the Secret is there.
const FOR_THE_APP: Duration = Duration::from_secs(25);

/// Looks whether the cluster has what the delivery of a place takes, and whether that can be pointed at the target.
///
/// # Errors
/// [`Absent`], or the cluster does not answer.
pub async fn look(cluster: &Cluster, place: Place, targets: &Targets) -> Result<()> {
    let Some(operator) = operator(place) else { return Ok(()) };
    let kinds = cluster.kinds(operator.version()).await?;
    let images = match operator.rolls {
        Rolls::Reloader if operator.missing(&kinds).is_none() => cluster.deployed_images().await?,
        _ => Vec::new(),
    };
    match absent(&operator, place, targets, &kinds, &images) {
        Some(reason) => Err(Absent(reason).into()),
        None => Ok(()),
    }
}

/// The operator of a place, if its delivery is by one.
fn operator(place: Place) -> Option<Operator> {
    match place.platform {
        PlatformId::Kubernetes => facts::of(place.delivery, place.candidate),
        PlatformId::Process | PlatformId::Docker => None,
    }
}

/// Why a cluster with these kinds, whose Deployments run these images, cannot deliver from the target.
fn absent(operator: &Operator, place: Place, targets: &Targets, kinds: &[String], images: &[String]) -> Option<String> {
    let (title, version) = (operator.title, operator.version());
    if let Some(kind) = operator.missing(kinds) {
        return Some(format!(
            "{title} is not in the cluster: it has no {kind} of {version} (source: {})",
            operator.source
        ));
    }
    if let Some((gap, source)) = facts::out_of_reach(place, targets) {
        return Some(format!("{title} {gap} (source: {source})"));
    }
    match operator.rolls {
        Rolls::Reloader if !images.iter().any(|image| facts::is_reloader(image)) => Some(format!(
            "{title} leaves the app as it is, and Stakater's Reloader, which would roll it, is not in the cluster \
             (source: {})",
            facts::RELOADER
        )),
        _ => None,
    }
}

/// The delivery by an operator.
pub(super) struct ByOperator(pub(super) Rc<Namespace>, pub(super) DeliveryId);

#[async_trait(?Send)]
impl Delivery for ByOperator {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let source = scene.candidate.source(scene.reader)?;
        let name = scene.reader.container.clone();
        let candidate = objects::candidate(&source);
        let operator = facts::of(self.1, candidate)
            .ok_or_else(|| anyhow!("failed to deliver by {}: it is not offered for {candidate}", self.1))?;
        let (identity, secret) = (format!("{name}-backend"), format!("{name}-env"));
        let order = Order {
            delivery: self.1,
            source: &source,
            identity: &identity,
            secret: &secret,
            names: scene.names,
            every: EVERY,
        };
        let wanted = order.objects()?;
        if operator.reads_as_reader {
            self.0.secret(&identity, credentials(&source)?).await?;
        }
        for (kind, object) in &wanted {
            self.0.custom(*kind, object).await?;
        }
        let written = self.written(&operator, &secret, scene.names, scene.deadline - FOR_THE_APP);
        let written = match written.await {
            Ok(written) => written,
            Err(error) => {
                let mut said = Vec::new();
                for (kind, object) in &wanted {
                    said.push(self.0.conditions(*kind, object["metadata"]["name"].as_str().unwrap_or_default()).await);
                }
                return Err(anyhow!("{error:#}: {}", said.join("; ")));
            }
        };
        let seen = operator.rolls.seen(&secret, &written);
        let (mark, marked) = operator.rolls.mark(&secret);
        let plan = Plan {
            name,
            files: vec![scene.key_file.to_owned()],
            containers: vec![probe(scene)],
            app: Some(0),
            annotations: seen.clone(),
            marks: seen.into_iter().chain([(mark.to_owned(), marked)]).collect(),
            env_from: Some((secret, scene.names.to_vec())),
            ..Plan::default()
        };
        let mut app = self.0.deploy(&plan).await?;
        app.available(scene.deadline).await?;
        app.rolls();
        let mut deployment = Deployment::new(take_out(&mut app), vec![Box::new(app)]);
        deployment.unavoidable = operator.asks_every.unwrap_or(EVERY);
        Ok(deployment)
    }
}

impl ByOperator {
    /// Waits until the operator has written the Secret with all of these names, and returns the Secret's annotations.
    async fn written(
        &self,
        operator: &Operator,
        secret: &str,
        names: &[String],
        deadline: Instant,
    ) -> Result<BTreeMap<String, String>> {
        let secrets = self.0.api::<Secret>();
        let what = format!("{} to write {secret} with {}", operator.title, names.join(", "));
        // Whole seconds: the limit stands in the error.
        let limit = Duration::from_secs(deadline.saturating_duration_since(Instant::now()).as_secs());
        until(&what, limit, async || {
            let found = secrets.get_opt(secret).await;
            let found = found.map_err(|error| anyhow!("failed to look at {secret}: {}", reason(&error)))?;
            let complete = found.filter(|found| {
                names.iter().all(|name| found.data.as_ref().is_some_and(|data| data.contains_key(name)))
            });
            Ok(complete.map(|found| found.metadata.annotations.unwrap_or_default()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
