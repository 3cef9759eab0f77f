//! Images for a cluster that lives in a container.

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt;
use testcontainers::bollard::body_full;
use testcontainers::bollard::exec::StartExecResults;
use testcontainers::bollard::models::ExecConfig;
use testcontainers::bollard::query_parameters::UploadToContainerOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use tokio_tar::{Builder, Header};

/// Where the archive waits in the container: a folder that the image of k3s has.
const FOLDER: &str = "/tmp";
const FILE: &str = "conformance-image.tar";

/// Has the containerd in a container take an image archive, as `docker save` writes it.
///
/// # Errors
/// There is no such container, or `ctr` in it does not take the archive; the error holds what it says.
pub async fn import(container: &str, image: &[u8]) -> Result<()> {
    let docker =
        docker_client_instance().await.context("failed to find a Docker engine: `cargo conformance doctor`")?;
    let mut header = Header::new_gnu();
    header.set_size(image.len().try_into()?);
    header.set_mode(0o600);
    header.set_cksum();
    let mut archive = Builder::new(Vec::new());
    archive.append_data(&mut header, FILE, image).await?;
    let archive = body_full(archive.into_inner().await?.into());
    let there = UploadToContainerOptionsBuilder::new().path(FOLDER).build();
    let uploaded = docker.upload_to_container(container, Some(there), archive).await;
    uploaded.with_context(|| format!("failed to copy an image to the container {container}"))?;
    let file = format!("{FOLDER}/{FILE}");
    let script = format!("ctr --namespace k8s.io images import {file}; code=$?; rm -f {file}; exit $code");
    let config = ExecConfig {
        cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), script]),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let what = || format!("failed to load an image in the container {container}");
    let exec = docker.create_exec(container, config).await.with_context(what)?;
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec.id, None).await.with_context(what)? else {
        bail!("{}: its output was not attached", what());
    };
    let said: Vec<_> = output.try_collect().await.with_context(what)?;
    let said: String = said.iter().map(ToString::to_string).collect();
    let code = docker.inspect_exec(&exec.id).await.with_context(what)?.exit_code;
    ensure!(code == Some(0), "{}: ctr says: {}", what(), said.trim());
    Ok(())
}
