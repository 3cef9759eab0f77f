//! Removes what killed runs left behind: by the run's label alone, and never while the run's owner is alive.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::files::{FOLDER_PREFIX, OWNER_FILE, private_root};
use crate::platform::process::{OWNER_LABEL, RUN_LABEL};
use crate::platform::{docker, kubernetes};
use crate::procfs;
use crate::run::Owner;

/// What was found of runs that ended.
#[derive(Debug, Default, Serialize)]
pub struct Reaped {
    /// Processes that were ended: run and process id.
    pub processes: Vec<(String, u32)>,
    /// Private folders that were removed.
    pub folders: Vec<PathBuf>,
    /// Containers, networks, volumes and namespaces that were removed: run and name.
    pub containers: Vec<(String, String)>,
    /// Images that were removed.
    pub images: Vec<String>,
    /// Runs that are still at work, and were left alone.
    pub alive: Vec<String>,
}

impl Reaped {
    /// Whether nothing was removed.
    pub fn is_empty(&self) -> bool {
        let Self { processes, folders, containers, images, alive: _ } = self;
        processes.is_empty() && folders.is_empty() && containers.is_empty() && images.is_empty()
    }
}

/// Ends the processes and removes the private folders of runs that ended; of `only` this run, where it is given.
///
/// # Errors
/// A process cannot be ended, or a folder cannot be removed.
pub fn reap(only: Option<&str>) -> Result<Reaped> {
    remove(|reaped, run, owner| is_wanted(reaped, only, run, owner))
}

/// Ends and removes what is left of a run whose cells have all ended, though its owner is still there: the caller.
///
/// # Errors
/// See [`reap`].
pub fn sweep(own: &str) -> Result<Reaped> {
    remove(|_, run, _| run == own)
}

/// Removes containers, networks and volumes of runs that ended, of `only` this run where it is given, and says which: run, thing.
/// Where no Docker engine answers there are none.
///
/// # Errors
/// The engine does not remove one.
pub async fn containers(only: Option<&str>) -> Result<Vec<(String, String)>> {
    docker::reap(|run, owner| only.is_none_or(|only| only == run) && !owner.is_alive()).await
}

/// Takes down clusters of our own whose run, or whose starter, has ended; of `only` this run, where it is given. Says
/// which: run, cluster. One that was brought up to stay belongs to nobody and stays.
///
/// # Errors
/// A cluster cannot be taken down.
pub fn clusters(only: Option<&str>) -> Result<Vec<(String, String)>> {
    take_down(&mut |run, owner| {
        let ended = owner.parse::<Owner>().is_ok_and(|owner| !owner.is_alive());
        ended && only.is_none_or(|only| only == run)
    })
}

/// The same for a run whose cells have all ended, though its owner is still there: the caller.
///
/// # Errors
/// See [`clusters`].
pub fn sweep_clusters(own: &str) -> Result<Vec<(String, String)>> {
    take_down(&mut |run, _| run == own)
}

fn take_down(is_wanted: &mut dyn FnMut(&str, &str) -> bool) -> Result<Vec<(String, String)>> {
    let reaped = cluster::reap(&[private_root(), std::env::temp_dir()], is_wanted)?;
    Ok(reaped.into_iter().map(|(run, folder)| (run, format!("the cluster in {}", folder.display()))).collect())
}

/// The same for a run whose cells have all ended, though its owner is still there: the caller.
///
/// # Errors
/// See [`containers`].
pub async fn sweep_containers(own: &str) -> Result<Vec<(String, String)>> {
    docker::reap(|run, _| run == own).await
}

/// Removes the images of the suite that no container is made of, whichever run made them, and names them.
///
/// # Errors
/// No engine answers, or it does not remove one.
pub async fn images() -> Result<Vec<String>> {
    docker::reap_images().await
}

/// How long the cluster may take to remove namespaces whose pods are gone.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(120);

/// Has namespaces of runs that ended removed, of `only` this run where it is given, and says which: run, thing. Those of a
/// run on another machine are removed when it is named: from here nobody knows whether it is at work.
///
/// # Errors
/// The cluster does not answer, or does not remove one.
pub async fn namespaces(only: Option<&str>) -> Result<Vec<(String, String)>> {
    kubernetes::reap(|run, owner| match owner {
        Some(owner) => only.is_none_or(|only| only == run) && !owner.is_alive(),
        None => only == Some(run),
    })
    .await
}

/// The same for a run whose cells have all ended, though its owner is still there: the caller. Waits until they are gone,
/// but for those that somebody wants to look at.
///
/// # Errors
/// See [`namespaces`]; or one is still there after two minutes.
pub async fn sweep_namespaces(own: &str) -> Result<Vec<(String, String)>> {
    if kubernetes::Namespace::keeps_failed() {
        return Ok(Vec::new());
    }
    let removed = kubernetes::reap(|run, _| run == own).await?;
    kubernetes::await_gone(own, NAMESPACE_LIMIT).await?;
    Ok(removed)
}

fn remove(is_wanted: impl Fn(&mut Reaped, &str, Owner) -> bool) -> Result<Reaped> {
    let mut reaped = Reaped::default();
    for pid in procfs::pids() {
        let Some((run, owner)) = label(pid) else { continue };
        if is_wanted(&mut reaped, &run, owner) && end(pid, &run)? {
            reaped.processes.push((run, pid));
        }
    }
    let root = private_root();
    let entries = fs::read_dir(&root).with_context(|| format!("failed to list {}", root.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split('.').next()) else { continue };
        let owner = fs::read_to_string(entry.path().join(OWNER_FILE)).ok().and_then(|text| text.parse::<Owner>().ok());
        // Without a readable owner the folder is not one of ours, or not yet: left alone.
        let Some(owner) = owner else { continue };
        if is_wanted(&mut reaped, run, owner) {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => reaped.folders.push(entry.path()),
                // Its own cell, or another reaper, was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to remove {}", entry.path().display()));
                }
            }
        }
    }
    Ok(reaped)
}

fn is_wanted(reaped: &mut Reaped, only: Option<&str>, run: &str, owner: Owner) -> bool {
    if only.is_some_and(|only| only != run) {
        return false;
    }
    if owner.is_alive() {
        if !reaped.alive.iter().any(|alive| alive == run) {
            reaped.alive.push(run.to_owned());
        }
        return false;
    }
    true
}

fn label(pid: u32) -> Option<(String, Owner)> {
    Some((procfs::variable(pid, RUN_LABEL)?, procfs::variable(pid, OWNER_LABEL)?.parse().ok()?))
}

/// Ends a process, unless its id has gone to another since its label was read.
fn end(pid: u32, run: &str) -> Result<bool> {
    let Some(id) = Pid::from_raw(pid.cast_signed()) else { return Ok(false) };
    let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty()) else { return Ok(false) };
    if label(pid).is_none_or(|(labelled, _)| labelled != run) {
        return Ok(false);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("failed to end process {pid} of run {run}")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rstest::rstest;

    use super::*;
    use crate::files::PrivateFolder;

    fn labelled(run: &str, owner: Owner) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").env(RUN_LABEL, run).env(OWNER_LABEL, owner.to_string());
        command.spawn().unwrap()
    }

    /// A process that has ended: nobody has this id with that start.
    fn gone() -> Owner {
        Owner { pid: std::process::id(), ticks: 1 }
    }

    #[rstest]
    #[case::ended(true)]
    #[case::at_work(false)]
    fn only_what_an_ended_run_left_is_removed(#[case] ended: bool) {
        let me = std::process::id();
        let run = format!("unit-reap-{me}-{ended}");
        let owner = if ended { gone() } else { Owner::of(me) };
        let mut child = labelled(&run, owner);
        let folder = PrivateFolder::new(&run, owner, "cell").unwrap();
        let reaped = reap(Some(&run)).unwrap();
        assert_eq!(reaped.alive, if ended { vec![] } else { vec![run] });
        assert_eq!(folder.path().exists(), !ended);
        // Another reaper of this machine may have been faster: what counts is that it is gone.
        if !ended {
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_foreign_process_is_left_alone_whatever_it_is_called() {
        let mut child = labelled("unit-reap-other", Owner::of(std::process::id()));
        assert!(reap(Some("unit-reap")).unwrap().processes.is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
