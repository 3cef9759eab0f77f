//! Interruptions: nothing stays behind, or `reap` finds it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use harness::files::{FOLDER_PREFIX, private_root};
use harness::platform::process::RUN_LABEL;
use harness::procfs;
use harness::ready;
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{conformance, kept_in};

/// A run that would take half a minute, and its id.
fn long_run(folder: &Path) -> (Child, String) {
    let mut command = conformance(&["run", "--check", "rotation.propagates", "--delivery", "native-exec"]);
    let mut child = command.args(kept_in(folder)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let id = said.find_map(|line| Some(line.unwrap().strip_prefix("run ")?.split(':').next()?.to_owned()));
    // Whoever writes to a pipe that nobody reads would end by that and not by the signal.
    std::thread::spawn(move || said.for_each(drop));
    (child, id.expect("the run says its id before it begins"))
}

/// What there is of a run: processes by their label, private folders by their name.
fn traces(run: &str) -> (Vec<u32>, Vec<String>) {
    let labelled = |pid: &u32| procfs::variable(*pid, RUN_LABEL).as_deref() == Some(run);
    let processes = procfs::pids().into_iter().filter(labelled).collect();
    let names =
        std::fs::read_dir(private_root()).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    (processes, names.filter(|name| name.starts_with(&format!("{FOLDER_PREFIX}{run}."))).collect())
}

/// In the middle of it: the server, the agent and the probe are all there.
async fn until_under_way(run: &str) {
    ready::until("the cell to be under way", Duration::from_secs(60), async || {
        Ok((traces(run).0.len() >= 4).then_some(()))
    })
    .await
    .unwrap();
}

async fn until_gone(run: &str) {
    ready::until("the run's traces to go", Duration::from_secs(30), async || {
        let (processes, folders) = traces(run);
        Ok((processes.is_empty() && folders.is_empty()).then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", traces(run)));
}

#[rstest]
#[case::sigint(Signal::INT, 130)]
#[case::sigterm(Signal::TERM, 143)]
#[case::sigkill(Signal::KILL, 137)]
#[tokio::test]
async fn a_run_that_is_ended_leaves_nothing(#[case] signal: Signal, #[case] code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, run) = long_run(folder.path());
    until_under_way(&run).await;
    let began = Instant::now();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = child.wait().unwrap();
    let ended = status.code().or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s));
    assert_eq!(ended, Some(code));
    // Even when the command itself is killed, its cells notice that their run is over, and clean up.
    until_gone(&run).await;
    println!("gone {:?} after the signal", began.elapsed());
}

#[tokio::test]
async fn what_killed_cells_leave_is_reaped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, run) = long_run(folder.path());
    until_under_way(&run).await;
    // The command and its cell, so that nobody is left to clean up: the cell is the one that works for this run's folder.
    let works_for = |pid: &u32| {
        let folder = procfs::variable(*pid, harness::run::RUN_FOLDER);
        folder.is_some_and(|folder| folder.ends_with(&run)) && *pid != child.id()
    };
    let cells: Vec<_> = procfs::pids().into_iter().filter(works_for).collect();
    child.kill().unwrap();
    for pid in cells {
        // Some may have noticed already.
        let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
    }
    child.wait().unwrap();
    // The kernel ends what was tethered; the private folder stays for `reap`.
    ready::until("the tethered processes to end", Duration::from_secs(10), async || {
        Ok(traces(&run).0.is_empty().then_some(()))
    })
    .await
    .unwrap();
    assert!(conformance(&["reap", &run]).status().unwrap().success());
    assert_eq!(traces(&run), (Vec::new(), Vec::new()));
}
