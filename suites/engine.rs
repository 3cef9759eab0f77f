//! The engine itself as what goes wrong: it is the suite's surroundings. A slow one costs time and no verdict; one that is gone
//! makes an error, never a failure of the candidate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::evidence::Evidence;
use harness::reap;
use harness::run::{Owner, RUN_FOLDER, Run};
use harness::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

/// How the name of the cell's case ends.
const PLACE: &str = "_doppler_docker_reload";

/// How late every answer is: a cell asks its engine some forty times.
const LATE: Duration = Duration::from_millis(150);

/// What is between the suite and the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Every piece of an answer is late.
    Slow,
    /// From the first container on nobody answers any more.
    Gone,
}

/// The socket of the engine that the tests use.
fn engine() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    host.strip_prefix("unix://").expect("an engine on this machine, by its socket").into()
}

/// Listens on `socket`, passes on to the engine, and counts the pieces that were late.
fn troubled(socket: &Path, trouble: Trouble) -> Arc<AtomicU64> {
    let listener = UnixListener::bind(socket).unwrap();
    let (late, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let counted = Arc::clone(&late);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (late, gone) = (Arc::clone(&late), Arc::clone(&gone));
            tokio::spawn(async move {
                let Ok(mut far) = UnixStream::connect(engine()).await else { return };
                let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
                loop {
                    tokio::select! {
                        Ok(length @ 1..) = near.read(&mut asked) => {
                            let creates = asked[..length].windows(17).any(|word| word == b"/containers/creat");
                            if trouble == Trouble::Gone && (creates || gone.load(Ordering::Relaxed)) {
                                gone.store(true, Ordering::Relaxed);
                                return;
                            }
                            if far.write_all(&asked[..length]).await.is_err() { return }
                        }
                        Ok(length @ 1..) = far.read(&mut answered) => {
                            if trouble == Trouble::Slow {
                                late.fetch_add(1, Ordering::Relaxed);
                                tokio::time::sleep(LATE).await;
                            }
                            if near.write_all(&answered[..length]).await.is_err() { return }
                        }
                        else => return,
                    }
                }
            });
        }
    });
    counted
}

/// Holds one cell through a troubled engine: its case, in a process and a run of its own, because a process has one engine.
async fn held_through(trouble: Trouble) -> (Evidence, u64) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let late = troubled(&socket, trouble);
    let tools = Run::current().unwrap().tools;
    let run = Run::begin(folder.path(), Owner::of(std::process::id()), tools, None, Vec::new()).unwrap();
    let this = std::env::current_exe().unwrap();
    let listed = Command::new(&this).args(["--list", "--format", "terse"]).output().await.unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let cases = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let case = cases.filter(|name| name.starts_with("rotation::propagates::")).find(|name| name.ends_with(PLACE));
    let held = Command::new(&this)
        .args(["--exact", case.expect("the case of the cell")])
        .env(RUN_FOLDER, &run.folder)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .output()
        .await
        .unwrap();
    // What it could not remove any more is for somebody who has an engine.
    for (_, left) in reap::sweep_containers(&run.id).await.unwrap() {
        println!("removed {left}");
    }
    let evidence = Evidence::read_all(&run.evidence_folder()).unwrap().pop();
    let said = [held.stdout, held.stderr].concat();
    let evidence = evidence.unwrap_or_else(|| panic!("no evidence: {}", String::from_utf8_lossy(&said)));
    println!("{:.0} ms, {}: {}", evidence.took_ms, evidence.judgement.verdict, evidence.judgement.reason);
    (evidence, late.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_slow_docker_engine_costs_no_verdict() {
    let (evidence, late) = held_through(Trouble::Slow).await;
    println!("{late} answers were late");
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
    assert!(late >= 10, "only {late} answers were late");
}

#[tokio::test]
async fn a_docker_engine_that_is_gone_is_an_error() {
    let (evidence, _) = held_through(Trouble::Gone).await;
    assert_eq!(evidence.judgement.verdict, Verdict::Error, "{}", evidence.judgement.reason);
}
