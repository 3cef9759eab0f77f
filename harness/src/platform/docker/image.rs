//! Images from nothing: static binaries as the whole root filesystem, imported without a builder, a pull or a registry.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use testcontainers::GenericImage;
use testcontainers::bollard::query_parameters::CreateImageOptionsBuilder;
use testcontainers::bollard::{Docker, body_full};
use tokio_tar::{Builder, Header};

use super::IMAGE_LABEL;
use crate::platform::Program;
use crate::tools::{Tools, cache_folder};

/// How much of the digest the tag shows.
pub(in crate::platform) const TAG: usize = 16;

/// Name of an image and the binaries in it, the one that it starts first.
pub(in crate::platform) fn contents<'a>(
    program: &Program,
    tools: &'a Tools,
) -> Result<(&'static str, Vec<(&'static str, &'a Path)>)> {
    let (probe, sidecar) = (("probe", tools.probe.as_path()), ("sidecar", tools.sidecar.as_path()));
    Ok(match program {
        Program::Probe => ("probe", vec![probe]),
        Program::Sidecar => ("sidecar", vec![sidecar, probe]),
        Program::Standin => ("standin", vec![("standin", tools.standin.as_path())]),
        Program::Bao => ("bao", vec![("bao", tools.bao.path.as_path()), sidecar, probe]),
        Program::Other(path) => anyhow::bail!("failed to make an image: {} is no program of the suite", path.display()),
    })
}

/// The image of a program, made if its content is new. Cells that need it at once wait for each other.
///
/// # Errors
/// A binary cannot be read, or the engine takes no image.
pub(super) async fn of(docker: &Docker, program: &Program, tools: &Tools) -> Result<GenericImage> {
    let (name, binaries) = contents(program, tools)?;
    let mut digest = Sha256::new();
    for (name, path) in &binaries {
        digest.update(format!("{name} {}\n", remembered_digest(path)?));
    }
    let tag = hex::encode(digest.finalize())[..TAG].to_owned();
    let repository = format!("conformance/{name}");
    let image = GenericImage::new(&repository, &tag);
    if docker.inspect_image(&format!("{repository}:{tag}")).await.is_ok() {
        return Ok(image);
    }
    let lock = lock(&format!("image-{name}"))?;
    if docker.inspect_image(&format!("{repository}:{tag}")).await.is_err() {
        let changes = [format!("ENTRYPOINT [\"/bin/{}\"]", binaries[0].0), format!("LABEL {IMAGE_LABEL}={name}")];
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(&repository).tag(&tag);
        let options = options.changes(changes.to_vec()).build();
        let root = root(&binaries).await?;
        let made = docker.create_image(Some(options), Some(body_full(root.into())), None);
        made.try_collect::<Vec<_>>().await.with_context(|| format!("failed to make the image {repository}:{tag}"))?;
    }
    drop(lock);
    Ok(image)
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

pub(in crate::platform) fn lock(name: &str) -> Result<File> {
    let file = cache_folder()?.join(format!("{name}.lock"));
    let lock = File::create(&file).with_context(|| format!("failed to make the lock {}", file.display()))?;
    lock.lock().context("failed to lock the cache")?;
    Ok(lock)
}
