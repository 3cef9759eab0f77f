//! Namespaces that killed runs left: found by label alone, removed by their UID.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::{BOOT_ANNOTATION, OWNER_ANNOTATION, RUN_LABEL, boot, failed, namespace};
use crate::run::Owner;

/// Between two looks whether namespaces are gone.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Has namespaces of the runs that `is_wanted` names removed, and says which: run, thing. The owner of a run on another
/// machine, or before this one was started anew, cannot be asked: none is given then.
///
/// # Errors
/// The cluster does not answer, or does not remove one.
pub async fn reap(mut is_wanted: impl FnMut(&str, Option<Owner>) -> bool) -> Result<Vec<(String, String)>> {
    let cluster = Cluster::reach().await?;
    let mut removed = Vec::new();
    for found in labelled(&cluster, RUN_LABEL).await? {
        let metadata = found.metadata;
        let text = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default();
        let Some(run) = metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL)) else { continue };
        let owner = text(OWNER_ANNOTATION).parse().ok().filter(|_| text(BOOT_ANNOTATION) == boot());
        let (Some(name), Some(uid)) = (&metadata.name, &metadata.uid) else { continue };
        if metadata.deletion_timestamp.is_none() && is_wanted(run, owner) {
            namespace::remove(&cluster.client, name, uid).await?;
            removed.push((run.clone(), format!("namespace {name}")));
        }
    }
    Ok(removed)
}

/// Waits until no namespace of a run is left.
///
/// # Errors
/// One is after `limit`.
pub async fn await_gone(run: &str, limit: Duration) -> Result<()> {
    let cluster = Cluster::reach().await?;
    let deadline = Instant::now() + limit;
    loop {
        let left = labelled(&cluster, &format!("{RUN_LABEL}={run}")).await?;
        let Some(first) = left.first() else { return Ok(()) };
        if Instant::now() >= deadline {
            let name = first.metadata.name.as_deref().unwrap_or_default();
            bail!("failed to see {} namespaces of the run gone after {limit:?}, among them {name}", left.len());
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn labelled(cluster: &Cluster, selector: &str) -> Result<Vec<Namespace>> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = namespaces.list(&ListParams::default().labels(selector)).await;
    Ok(found.map_err(|error| failed("list namespaces", &error))?.items)
}
