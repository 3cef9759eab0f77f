//! Images from nothing: static binaries as the whole root filesystem, imported without a builder, a pull or a registry.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use testcontainers::bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use testcontainers::bollard::{Docker, body_full};
use tokio::task::spawn_blocking;
use tokio_tar::{Builder, Header};

use super::images::{BAO, NEWEST, PROBE, SIDECAR, STANDIN};
use super::{IMAGE_LABEL, is_gone};
use crate::platform::Program;
use crate::tools::{Tools, cache_folder};

/// How much of the digest the tag shows.
pub(in crate::platform) const TAG: usize = 16;

/// Raised when what surrounds the binaries changes: the same binaries then make another image.
const RECIPE: &str = "1";

/// Whom a container runs as unless it is told otherwise.
const USER: &str = "65532:65532";

/// The name of a program's image, and the binaries in it, the one that it starts first.
pub(in crate::platform) fn contents<'a>(
    program: &Program,
    tools: &'a Tools,
) -> Result<(&'static str, Vec<(&'static str, &'a Path)>)> {
    let (probe, sidecar) = (("probe", tools.probe.as_path()), ("sidecar", tools.sidecar.as_path()));
    Ok(match program {
        Program::Probe => (PROBE, vec![probe]),
        Program::Sidecar => (SIDECAR, vec![sidecar, probe]),
        Program::Standin => (STANDIN, vec![("standin", tools.standin.as_path())]),
        Program::Bao => (BAO, vec![("bao", tools.bao.path.as_path()), sidecar, probe]),
        Program::Other(path) => {
            bail!("failed to start {}: the platform `docker` has no image with it", path.display())
        }
    })
}

/// The name of a program's image.
///
/// # Errors
/// It is a program of this machine alone.
pub(super) fn repository(program: &Program, tools: &Tools) -> Result<&'static str> {
    Ok(contents(program, tools)?.0)
}

/// The tag of a program's image as its binaries are now. The image is made if the engine has none with this content, and
/// then carries `labels`; whoever needs it meanwhile, in this process or another, waits for it.
///
/// # Errors
/// It is a program of this machine alone, a binary cannot be read, or the engine takes no image.
pub async fn built(
    docker: &Docker,
    program: &Program,
    tools: &Tools,
    labels: &HashMap<String, String>,
) -> Result<String> {
    let (name, binaries) = contents(program, tools)?;
    let mut digest = Sha256::new_with_prefix(RECIPE);
    for (binary, path) in &binaries {
        digest.update(format!("{binary} {}\n", remembered_digest(path)?));
    }
    let tag = hex::encode(digest.finalize())[..TAG].to_owned();
    let descriptor = format!("{name}:{tag}");
    if is_there(docker, &descriptor).await? {
        return Ok(tag);
    }
    let lock = format!("image-{}", binaries[0].0);
    // Another task of this very process may hold it: its thread must go on.
    let _lock = spawn_blocking(move || locked(&lock)).await.context("failed to lock the cache")??;
    if !is_there(docker, &descriptor).await? {
        let mut changes = vec![
            format!("ENTRYPOINT [\"/bin/{}\"]", binaries[0].0),
            "ENV PATH=/bin".to_owned(),
            format!("USER {USER}"),
            format!("LABEL {IMAGE_LABEL}={}", binaries[0].0),
        ];
        changes.extend(labels.iter().map(|(label, value)| format!("LABEL {label}=\"{value}\"")));
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(name).tag(&tag).changes(changes).build();
        let root = root(&binaries).await?;
        let made = docker.create_image(Some(options), Some(body_full(root.into())), None);
        made.try_collect::<Vec<_>>().await.with_context(|| format!("failed to make the image {descriptor}"))?;
        let newest = TagImageOptionsBuilder::new().repo(name).tag(NEWEST).build();
        docker.tag_image(&descriptor, Some(newest)).await.with_context(|| format!("failed to tag {descriptor}"))?;
    }
    Ok(tag)
}

async fn is_there(docker: &Docker, descriptor: &str) -> Result<bool> {
    match docker.inspect_image(descriptor).await {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("failed to look for the image {descriptor}")),
    }
}

/// The root filesystem as a tar archive: the same bytes for the same binaries.
pub(in crate::platform) async fn root(binaries: &[(&str, &Path)]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (name, path) in binaries {
        let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut header = Header::new_gnu();
        header.set_size(content.len().try_into()?);
        header.set_mode(0o755);
        header.set_cksum();
        archive.append_data(&mut header, format!("bin/{name}"), content.as_slice()).await?;
    }
    archive.into_inner().await.context("failed to make the archive of an image")
}

/// The SHA-256 of a binary, kept beside its size and time: reading ninety megabytes for every cell would take too long.
pub(in crate::platform) fn remembered_digest(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).with_context(|| format!("failed to look at {}", path.display()))?;
    let key = format!("{} {} {} {}", path.display(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    let folder = cache_folder()?.join("digests");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let file = folder.join(&hex::encode(Sha256::digest(&key))[..TAG]);
    if let Ok(known) = fs::read_to_string(&file) {
        return Ok(known);
    }
    let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let digest = hex::encode(Sha256::digest(content));
    let write = || -> Result<()> {
        let mut whole = tempfile::NamedTempFile::new_in(&folder)?;
        std::io::Write::write_all(&mut whole, digest.as_bytes())?;
        whole.persist(&file)?;
        Ok(())
    };
    write().with_context(|| format!("failed to write {}", file.display()))?;
    Ok(digest)
}

pub(in crate::platform) fn locked(name: &str) -> Result<File> {
    let file = cache_folder()?.join(format!("{name}.lock"));
    let lock = File::create(&file).with_context(|| format!("failed to make the lock {}", file.display()))?;
    lock.lock().context("failed to lock the cache")?;
    Ok(lock)
}
