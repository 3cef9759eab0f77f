//! The cgroup of a cluster's pods, by which they can be removed to the last one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The name of the cgroup in every hierarchy.
pub(crate) fn name(id: &str) -> String {
    format!("conformance-{id}")
}

/// Every hierarchy that is mounted here: one on version 2, several on version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read /proc/self/mounts")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (place, kind) = (words.nth(1)?, words.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
        })
        .collect())
}

/// Makes it in every hierarchy: the kubelet wants it to be there.
///
/// # Errors
/// The machine does not let us.
pub(crate) fn make(id: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(name(id));
        fs::create_dir(&folder).with_context(|| format!("failed to make the cgroup {}", folder.display()))?;
    }
    Ok(())
}

/// Removes it with all below it, from every hierarchy. Its processes must have been killed: the kernel may need a moment
/// to let go of them, at most `limit`.
///
/// # Errors
/// Something in it still runs.
pub(crate) fn remove(id: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(name(id));
        while let Err(error) = remove_below(&folder) {
            let busy = error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline;
            if !busy {
                return Err(error).with_context(|| format!("failed to remove the cgroup {}", folder.display()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn remove_below(folder: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
