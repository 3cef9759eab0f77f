//! The output of a container that the engine starts anew when it ends: one stream, without a gap and without repetition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::platform::Line;
use crate::platform::log::LogStream;

/// How often to look whether the engine has started the container anew. It waits for a tenth of a second itself before.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which of a container's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How often the engine has started a container anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts(Arc<AtomicU64>);

impl fmt::Display for Starts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            times => write!(f, ", started anew {times} times"),
        }
    }
}

/// Follows one stream of a container through all its starts, until the engine starts it no more.
pub(super) fn follow(
    docker: Docker,
    id: String,
    output: Output,
    log: LogStream,
    starts: Starts,
) -> (UnboundedReceiver<Line>, JoinHandle<()>) {
    let (sender, lines) = unbounded_channel();
    let follower = tokio::spawn(async move {
        let mut known = started_at(&docker, &id).await;
        let mut seen = 0;
        loop {
            seen = follow_once(&docker, &id, output, seen, &sender, &log).await;
            let Some(started) = running_since(&docker, &id).await else { break };
            // The engine may end a stream though the container goes on: it is then taken up where it was.
            if known.as_ref() != Some(&started) && output == Output::Stdout {
                starts.0.fetch_add(1, Ordering::Relaxed);
            }
            known = Some(started);
            sleep(LOOK_EVERY).await;
        }
    });
    (lines, follower)
}

/// Passes on what is new in a stream until it ends. The engine keeps what was said before, so the first `seen` lines are
/// known. Returns how many are now.
async fn follow_once(
    docker: &Docker,
    id: &str,
    output: Output,
    seen: u64,
    sender: &UnboundedSender<Line>,
    log: &LogStream,
) -> u64 {
    let options = LogsOptionsBuilder::new().follow(true);
    let options = options.stdout(output == Output::Stdout).stderr(output == Output::Stderr).build();
    let mut pieces = docker.logs(id, Some(options));
    let (mut number, mut bytes) = (0, Vec::new());
    while let Some(Ok(piece)) = pieces.next().await {
        let at = Instant::now();
        bytes.extend_from_slice(&piece.into_bytes());
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = bytes.drain(..=end).collect();
            number += 1;
            if number > seen {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                // The listener may have gone; the log is kept all the same.
                let _ = sender.send(Line { at, text: text.clone() });
                log.write(text);
            }
        }
    }
    number.max(seen)
}

async fn started_at(docker: &Docker, id: &str) -> Option<String> {
    docker.inspect_container(id, None::<InspectContainerOptions>).await.ok()?.state?.started_at
}

/// Waits while the engine is about to start it anew, and says since when it runs; none if it is gone, or stopped for good.
async fn running_since(docker: &Docker, id: &str) -> Option<String> {
    loop {
        let state = docker.inspect_container(id, None::<InspectContainerOptions>).await.ok()?.state?;
        if state.restarting.unwrap_or_default() {
            sleep(LOOK_EVERY).await;
        } else if state.running.unwrap_or_default() {
            return state.started_at;
        } else {
            return None;
        }
    }
}
