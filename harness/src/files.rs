//! Files that only their owner may read, and the private folder of a cell.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::Owner;

/// Writes a file that only its owner may read.
///
/// # Errors
/// The file cannot be written; the error names it.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

/// Every private folder starts with this; the run's id follows, so that `reap` finds it.
pub const FOLDER_PREFIX: &str = "conformance.";

/// In each private folder: the process whose end is the end of the run.
pub const OWNER_FILE: &str = "owner";

/// Where private folders lie: in memory where the machine has such a place, so that no value reaches a disk.
pub fn private_root() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A folder that only its owner may enter, removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes the folder of a cell of a run.
    ///
    /// # Errors
    /// It cannot be made, or is there already.
    pub fn new(run: &str, owner: Owner, cell: &str) -> Result<Self> {
        let path = private_root().join(format!("{FOLDER_PREFIX}{run}.{cell}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("failed to make the private folder {}", path.display()))?;
        let folder = Self(path);
        write_private(&folder.0.join(OWNER_FILE), &owner.to_string())?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it now, and says if it cannot.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "left a private folder behind: `cargo conformance reap` removes it");
        }
    }
}

/// Every file below a folder, links not followed.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_folder_and_its_files_are_for_their_owner_alone() {
        let me = std::process::id();
        let folder = PrivateFolder::new("unit-test", Owner::of(me), &me.to_string()).unwrap();
        let file = folder.path().join("secret");
        write_private(&file, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&file), 0o600);
        let mut inside = below(folder.path());
        inside.sort();
        assert_eq!(inside, [folder.path().join(OWNER_FILE), file]);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
