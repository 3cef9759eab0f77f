//! Images from nothing: static binaries as the whole root filesystem, without a builder, a pull or a registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_tar::{Builder, Header};

use crate::error::Unusable;

/// An image as an archive that `docker load` and `ctr images import` take: the same bytes for the same binaries.
#[derive(Clone, Debug)]
pub struct ImageTar {
    name: String,
    bytes: Vec<u8>,
}

impl ImageTar {
    /// The image `name`, a repository with a tag, of binaries: each lies in `/bin` under its name, and the first is what
    /// the image starts.
    ///
    /// # Errors
    /// There is no binary, or one cannot be read.
    pub async fn of(name: &str, binaries: &[(&str, &Path)]) -> Result<Self> {
        let (first, _) = binaries.first().context("failed to make an image: it has no binary")?;
        let mut layer = Builder::new(Vec::new());
        for (name, path) in binaries {
            let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            append(&mut layer, &format!("bin/{name}"), &content).await?;
        }
        let layer = layer.into_inner().await.context("failed to make the layer of an image")?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [format!("/bin/{first}")], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
        let mut archive = Builder::new(Vec::new());
        append(&mut archive, "config.json", config.to_string().as_bytes()).await?;
        append(&mut archive, "layer.tar", &layer).await?;
        append(&mut archive, "manifest.json", manifest.to_string().as_bytes()).await?;
        let bytes = archive.into_inner().await.context("failed to make the archive of an image")?;
        Ok(Self { name: name.to_owned(), bytes })
    }

    /// The archive of an image that somebody else made; it goes by the file's name until it is loaded.
    ///
    /// # Errors
    /// [`Unusable`]: it cannot be read.
    pub fn read(file: &Path) -> Result<Self> {
        let name = file.display().to_string();
        let bytes = fs::read(file).map_err(|error| {
            let remedy = "name an archive as `docker save` writes it";
            Unusable::new(name.clone(), format!("failed to read it: {error}"), remedy)
        })?;
        Ok(Self { name, bytes })
    }

    /// Its repository and tag, as a pod names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The archive.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

async fn append(archive: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len().try_into()?);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, name, content).await.context("failed to make the archive of an image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_binaries_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        fs::write(&file, "content").unwrap();
        let made = ImageTar::of("example.local/a:1", &[("program", &file)]).await.unwrap();
        let again = ImageTar::of("example.local/a:1", &[("program", &file)]).await.unwrap();
        assert_eq!(made.bytes(), again.bytes());
        fs::write(&file, "another").unwrap();
        let other = ImageTar::of("example.local/a:1", &[("program", &file)]).await.unwrap();
        assert_ne!(made.bytes(), other.bytes());
    }
}
