//! A container, its output followed as it comes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use testcontainers::bollard::Docker;
use testcontainers::{ContainerAsync, Image};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::logs::{self, Output, Starts};
use crate::platform::follow::follow;
use crate::platform::log::Log;
use crate::platform::{Line, Member, tail};
use crate::ready;

/// How long the output of a container that has ended may take to be read to its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running container.
pub(super) struct DockerMember<I: Image> {
    name: String,
    id: String,
    container: Option<ContainerAsync<I>>,
    starts: Starts,
    outside: Option<String>,
    out: UnboundedReceiver<Line>,
    err: UnboundedReceiver<Line>,
    followers: Vec<JoinHandle<()>>,
}

impl<I: Image> DockerMember<I> {
    pub(super) fn new(
        name: String,
        container: ContainerAsync<I>,
        outside: Option<String>,
        log: &Log,
        kept: Option<Docker>,
    ) -> Self {
        let (id, starts) = (container.id().to_owned(), Starts::default());
        let (stdout, stderr) = (log.stream(&name, "stdout"), log.stream(&name, "stderr"));
        let ((out, out_follower), (err, err_follower)) = match kept {
            Some(docker) => (
                logs::follow(docker.clone(), id.clone(), Output::Stdout, stdout, starts.clone()),
                logs::follow(docker, id.clone(), Output::Stderr, stderr, starts.clone()),
            ),
            None => (follow(container.stdout(true), stdout), follow(container.stderr(true), stderr)),
        };
        let followers = vec![out_follower, err_follower];
        Self { name, id, container: Some(container), starts, outside, out, err, followers }
    }
}

#[async_trait(?Send)]
impl<I: Image> Member for DockerMember<I> {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        // The engine starts one anew only if it is to be kept, and ends the output of one that is gone.
        match self.followers.iter().any(JoinHandle::is_finished) || self.container.is_none() {
            true => "gone".to_owned(),
            false => format!("container {}{}", self.id, self.starts),
        }
    }

    fn out(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.out
    }

    fn err(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.err
    }

    fn outside(&self) -> Option<&str> {
        self.outside.as_deref()
    }

    async fn completed(&mut self, deadline: Instant) -> Result<()> {
        let name = self.name.clone();
        let container = self.container.as_ref().with_context(|| format!("failed to wait for {name}: it is gone"))?;
        let mut last = Vec::new();
        // Its output ends when it does.
        while let Some(line) = timeout_at(deadline, self.err.recv())
            .await
            .with_context(|| format!("failed to see the end of {name} in time; it said last: {}", tail(&last)))?
        {
            last.push(line.text);
        }
        let limit = deadline.duration_since(Instant::now());
        let code = ready::until("the exit code", limit, async || Ok(container.exit_code().await?)).await;
        let code = code.with_context(|| format!("failed to ask how {name} ended"))?;
        ensure!(code == 0, "{name} ended with exit code {code}; it said last: {}", tail(&last));
        Ok(())
    }

    async fn stop(&mut self, grace: Duration) -> Result<()> {
        let Some(container) = self.container.take() else { return Ok(()) };
        // Who gets no grace is ended by its removal: one call of the engine less.
        let stopped = match grace.is_zero() {
            true => Ok(()),
            false => container.stop_with_timeout(Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX))).await,
        };
        for follower in self.followers.drain(..).filter(|_| !grace.is_zero()) {
            if timeout(LAST_WORDS, follower).await.is_err() {
                tracing::debug!(member = self.name, "its output has no end");
            }
        }
        let removed = container.rm().await;
        stopped.and(removed).with_context(|| format!("failed to end the container {}", self.name))
    }
}
