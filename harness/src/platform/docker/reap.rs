//! Removes what killed runs left on the engine, by their labels alone, and images of the suite that nobody uses.

use std::collections::HashMap;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
};
use testcontainers::core::client::docker_client_instance;

use super::{IMAGE_LABEL, OWNER_LABEL, RUN_LABEL, is_gone};
use crate::run::Owner;

/// Removes containers, networks and volumes of the runs that `is_wanted` names, and says which: run, thing. Where no
/// engine answers there are none.
///
/// # Errors
/// The engine does not say what it has, or does not remove one.
pub async fn reap(mut is_wanted: impl FnMut(&str, Owner) -> bool) -> Result<Vec<(String, String)>> {
    let Ok(docker) = docker_client_instance().await else { return Ok(Vec::new()) };
    if let Err(error) = docker.ping().await {
        tracing::debug!(%error, "looked for no containers");
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    loop {
        let before = removed.len();
        pass(&docker, &mut is_wanted, &mut removed).await?;
        // The engine may still be at work on what a run asked for last before it was killed: it is looked at again until
        // nothing more turns up.
        if removed.len() == before {
            return Ok(removed);
        }
    }
}

async fn pass(
    docker: &Docker,
    is_wanted: &mut impl FnMut(&str, Owner) -> bool,
    removed: &mut Vec<(String, String)>,
) -> Result<()> {
    let labelled = HashMap::from([("label", vec![RUN_LABEL])]);
    let mut wanted = |labels: Option<HashMap<String, String>>| {
        let labels = labels?;
        let (run, owner) = (labels.get(RUN_LABEL)?, labels.get(OWNER_LABEL)?.parse().ok()?);
        is_wanted(run, owner).then(|| run.clone())
    };
    let all = ListContainersOptionsBuilder::new().all(true).filters(&labelled).build();
    for container in docker.list_containers(Some(all)).await.context("failed to list containers")? {
        let (Some(id), Some(run)) = (container.id, wanted(container.labels)) else { continue };
        let name = container.names.into_iter().flatten().next().unwrap_or_else(|| id.clone());
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let answer = docker.remove_container(&id, Some(options)).await;
        note(answer, run, format!("container {}", name.trim_start_matches('/')), removed)?;
    }
    let all = ListNetworksOptionsBuilder::new().filters(&labelled).build();
    for network in docker.list_networks(Some(all)).await.context("failed to list networks")? {
        let (Some(name), Some(run)) = (network.name, wanted(network.labels)) else { continue };
        note(docker.remove_network(&name).await, run, format!("network {name}"), removed)?;
    }
    let all = ListVolumesOptionsBuilder::new().filters(&labelled).build();
    let volumes = docker.list_volumes(Some(all)).await.context("failed to list volumes")?.volumes;
    for volume in volumes.into_iter().flatten() {
        let Some(run) = wanted(Some(volume.labels)) else { continue };
        let answer = docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await;
        note(answer, run, format!("volume {}", volume.name), removed)?;
    }
    Ok(())
}

/// Removes every image of the suite that no container is made of, and names them. They are kept between runs on purpose,
/// so this is for whoever wants the room.
///
/// # Errors
/// The engine does not answer, or does not remove one.
pub async fn images() -> Result<Vec<String>> {
    let docker = docker_client_instance().await.context("failed to find a Docker engine")?;
    let labelled = HashMap::from([("label", vec![IMAGE_LABEL])]);
    let all = ListImagesOptionsBuilder::new().filters(&labelled).build();
    let mut removed = Vec::new();
    for image in docker.list_images(Some(all)).await.context("failed to list images")? {
        for tag in image.repo_tags {
            // Without force: one that somebody uses stays.
            match docker.remove_image(&tag, None::<RemoveImageOptions>, None).await {
                Ok(_) => removed.push(tag),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("failed to remove the image {tag}")),
            }
        }
    }
    Ok(removed)
}

/// Notes what was removed, unless its own cell, or another reaper, was faster.
fn note(answer: Result<(), DockerError>, run: String, what: String, removed: &mut Vec<(String, String)>) -> Result<()> {
    match answer {
        Ok(()) => removed.push((run, what)),
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error).with_context(|| format!("failed to remove the {what}")),
    }
    Ok(())
}
