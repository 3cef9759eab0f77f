//! Images for a cluster: the same binaries as on `docker`, as archives that every container runtime takes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio_tar::{Builder, Header};

use super::cluster::{Cluster, LOAD, loader, registry};
use crate::platform::Program;
use crate::platform::docker::image::{TAG, contents, locked, remembered_digest, root};
use crate::tools::{Tools, cache_folder};

/// Where images are named after when no registry holds them: nothing is ever pulled from there.
const LOCAL: &str = "localhost/conformance";

/// An image as a pod names it.
pub(super) struct Image {
    /// `repository:tag`.
    pub(super) name: String,
    /// Whether the cluster may pull it.
    pub(super) policy: &'static str,
}

/// Name and tag of the image of a program.
fn name(program: &Program, tools: &Tools) -> Result<(&'static str, String)> {
    let (_, binaries) = contents(program, tools)?;
    let mut digest = Sha256::new();
    for (name, path) in &binaries {
        digest.update(format!("{name} {}\n", remembered_digest(path)?));
    }
    Ok((binaries[0].0, hex::encode(digest.finalize())[..TAG].to_owned()))
}

/// The image of a program, brought to the cluster first where the user says how. Cells that need it at once wait for each
/// other.
///
/// # Errors
/// A binary cannot be read, or the image not be brought.
pub(super) async fn of(cluster: &Cluster, program: &Program, tools: &Tools) -> Result<Image> {
    let (name, tag) = name(program, tools)?;
    if let Some(registry) = registry() {
        return Ok(Image { name: format!("{registry}/{name}:{tag}"), policy: "IfNotPresent" });
    }
    let image = format!("{LOCAL}/{name}:{tag}");
    if let Some(loader) = loader() {
        let loaded = cache_folder()?.join("cluster-images").join(&cluster.fingerprint).join(format!("{name}-{tag}"));
        if !loaded.exists() {
            load(program, tools, &image, &loader, &loaded).await?;
        }
    }
    Ok(Image { name: image, policy: "Never" })
}

async fn load(program: &Program, tools: &Tools, image: &str, loader: &[String], loaded: &Path) -> Result<()> {
    let folder = loaded.parent().context("failed to name the folder of what was loaded")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let name = loaded.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lock = locked(&format!("cluster-image-{name}"))?;
    if !loaded.exists() {
        let mut file = tempfile::NamedTempFile::new_in(folder).context("failed to make the archive of an image")?;
        file.write_all(&archive(program, tools, image).await?).context("failed to write the archive of an image")?;
        let (command, args) = loader.split_first().context("failed to load an image: the command is empty")?;
        let output = Command::new(command).args(args).arg(file.path()).output().await;
        let output = output.with_context(|| format!("failed to load {image}: {LOAD} names `{command}`"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "failed to load {image}: `{command}` says: {}", said.trim());
        fs::write(loaded, "").with_context(|| format!("failed to write {}", loaded.display()))?;
    }
    drop(lock);
    Ok(())
}

/// Writes the image of every program into `folder`, one archive each, and says which image is in which file.
///
/// # Errors
/// A binary cannot be read, or an archive not be written.
pub async fn write_all(tools: &Tools, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let prefix = registry().unwrap_or_else(|| LOCAL.to_owned());
    let mut written = Vec::new();
    for program in [Program::Probe, Program::Sidecar, Program::Bao] {
        let (name, tag) = name(&program, tools)?;
        let image = format!("{prefix}/{name}:{tag}");
        let file = folder.join(format!("{name}-{tag}.tar"));
        let archive = archive(&program, tools, &image).await?;
        fs::write(&file, archive).with_context(|| format!("failed to write {}", file.display()))?;
        written.push((image, file));
    }
    Ok(written)
}

/// The archive as `docker save` would write it, with one layer (github.com/moby/docker-image-spec, v1.2, "Combined Image
/// JSON + Filesystem Changeset Format").
async fn archive(program: &Program, tools: &Tools, image: &str) -> Result<Vec<u8>> {
    let (_, binaries) = contents(program, tools)?;
    let layer = root(&binaries).await?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": [format!("/bin/{}", binaries[0].0)] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"] }]);
    let mut archive = Builder::new(Vec::new());
    let files = [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().into_bytes()),
    ];
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len().try_into()?);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, content.as_slice()).await?;
    }
    archive.into_inner().await.context("failed to make the archive of an image")
}
