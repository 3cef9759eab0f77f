//! Takes clusters down: from the folder alone, whatever became of the starter, and to the last trace.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::Timespec;

use crate::procfs::{self, Process};
use crate::record::{self, LABEL, Record};
use crate::{cgroup, network};

/// How long the kernel may take to let go of what was killed.
const LIMIT: Duration = Duration::from_secs(10);

/// Takes down the cluster in `folder`: its processes, mounts, links, rules, cgroups, and the folder.
///
/// # Errors
/// [`crate::Unusable`]: there is none. Or something of it cannot be removed.
pub fn down(folder: &Path) -> Result<()> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let record = Record::read(&folder)?;
    end(&record.id)?;
    // The namespace goes a moment after its last process, and the link with it; by hand it goes at once.
    network::disconnect(&record.id)?;
    cgroup::remove(&record.id, LIMIT)?;
    remove_folder(&folder)
}

/// The record goes last: as long as anything is left, there is something to go by.
fn remove_folder(folder: &Path) -> Result<()> {
    let last = record::file(folder);
    let remove = || -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.path() == last {
                continue;
            }
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        fs::remove_file(&last)?;
        fs::remove_dir(folder)
    };
    match remove() {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Every process of a cluster that carries its label: all but the pods' own, which go with the first one.
fn processes(id: &str) -> Vec<Process> {
    let of = |pid: &u32| procfs::variable(*pid, LABEL).is_some_and(|label| label.split(':').next() == Some(id));
    procfs::pids().into_iter().filter(of).filter_map(Process::of).filter(|process| process.is_alive()).collect()
}

/// Kills until none is left: a starter that still runs may start another.
fn end(id: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let processes = processes(id);
        if processes.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "failed to end the processes of cluster {id}: new ones come");
        // The first one of the namespace takes all the others with it, pods included.
        let (first, others): (Vec<_>, Vec<_>) =
            processes.into_iter().partition(|process| procfs::is_first(process.pid));
        for process in [first, others].concat() {
            let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
            process.end(limit).with_context(|| format!("failed to end process {} of cluster {id}", process.pid))?;
        }
        thread::yield_now();
    }
}

/// Takes down clusters that `is_wanted` names by run and owner, both as they were given to `up`: those whose processes
/// are found by their label, and those whose folders lie in `roots`. A cluster whose folder is gone is wanted by nobody
/// and taken down. Returns run and folder of each.
///
/// # Errors
/// One cannot be taken down.
pub fn reap(roots: &[PathBuf], is_wanted: &mut dyn FnMut(&str, &str) -> bool) -> Result<Vec<(String, PathBuf)>> {
    let mut reaped = Vec::new();
    let labels: BTreeSet<_> = procfs::pids().into_iter().filter_map(|pid| procfs::variable(pid, LABEL)).collect();
    let labelled = labels.iter().filter_map(|label| label.split_once(':'));
    let mut folders: BTreeSet<_> = labelled.clone().map(|(_, folder)| PathBuf::from(folder)).collect();
    for root in roots {
        folders.extend(fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    for folder in folders {
        let Ok(record) = Record::read(&folder) else { continue };
        if is_wanted(&record.run, &record.owner) {
            match down(&folder) {
                Ok(()) => reaped.push((record.run, folder)),
                // Its own starter, or another reaper, was faster.
                Err(_) if !record::file(&folder).exists() => {}
                Err(error) => return Err(error),
            }
        }
    }
    for (id, folder) in labelled {
        // Its folder was removed under it, perhaps for another cluster.
        let known = Record::read(Path::new(folder)).is_ok_and(|record| record.id == id);
        if !known && !processes(id).is_empty() {
            end(id)?;
            network::disconnect(id)?;
            cgroup::remove(id, LIMIT)?;
            reaped.push((String::new(), PathBuf::from(folder)));
        }
    }
    Ok(reaped)
}
