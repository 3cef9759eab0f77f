//! The platform `process`: plain processes on this machine, in a private folder in memory.
//!
//! A member never outlives the harness: it is started through `conformance tether`, which asks the kernel to kill it
//! when its parent dies. A killed run leaves no process behind, whatever killed it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use tokio::io::BufReader;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::follow::follow;
use super::log::Log;
use super::{Endpoint, Exposure, Line, Member, Platform, Program, Workload};
use crate::net;
use crate::procfs;
use crate::redact::Redactor;
use crate::run::{Owner, Run};
use crate::tools::Tools;

/// The label that every process of a run carries in its environment, by which `reap` finds it: the run's id.
pub const RUN_LABEL: &str = "CONFORMANCE_RUN";

/// Beside it, the process whose end is the end of the run.
pub const OWNER_LABEL: &str = "CONFORMANCE_RUN_OWNER";

/// How long the output of a member that has ended may take to be read to its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Processes of one cell.
pub struct ProcessPlatform {
    folder: PathBuf,
    run: String,
    owner: Owner,
    tools: Tools,
    log: Log,
}

impl ProcessPlatform {
    /// Processes of a run that share `folder` and write their logs, redacted, to `logs`.
    ///
    /// # Errors
    /// The log folder cannot be made.
    pub fn new(folder: &Path, logs: &Path, run: &Run, redactor: &Redactor) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            run: run.id.clone(),
            owner: run.owner,
            tools: run.tools.clone(),
            log: Log::new(logs, redactor)?,
        })
    }
}

#[async_trait(?Send)]
impl Platform for ProcessPlatform {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, program: &Program) -> PathBuf {
        match program {
            Program::Probe => self.tools.probe.clone(),
            Program::Sidecar => self.tools.sidecar.clone(),
            Program::Standin => self.tools.standin.clone(),
            Program::Bao => self.tools.bao.path.clone(),
            Program::Other(path) => path.clone(),
        }
    }

    fn endpoint(&mut self, _: &str, _: u16) -> Result<Endpoint> {
        let ip = net::own_loopback();
        let listen = SocketAddr::new(ip, net::free_port(ip)?);
        Ok(Endpoint { listen, inside: listen.to_string() })
    }

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        // Every process of a user sees every other: there is nothing to be put beside, and no host that would keep it.
        let Workload { name, program, endpoint, inside_only: _, beside: _, keep: _, args, env, secret_env, container } =
            workload;
        ensure!(container.is_none(), "failed to start {name}: the platform `process` has no containers");
        let program = self.path(&program);
        let mut command = Command::new(&self.tools.conformance);
        command
            .args(["tether", "--parent", &std::process::id().to_string(), "--"])
            .arg(&program)
            .args(args)
            // Only what the workload is given: the harness's own environment may hold credentials of a target.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env(RUN_LABEL, &self.run)
            .env(OWNER_LABEL, self.owner.to_string())
            .envs(env)
            .envs(secret_env.iter().map(|(name, value)| (name, value.expose_secret())))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("failed to start {name} ({})", program.display()))?;
        let pid = child.id().with_context(|| format!("failed to start {name}: it ended at once"))?;
        let out = child.stdout.take().map(|out| follow(BufReader::new(out), self.log.stream(&name, "stdout")));
        let err = child.stderr.take().map(|err| follow(BufReader::new(err), self.log.stream(&name, "stderr")));
        let (Some((out, out_follower)), Some((err, err_follower))) = (out, err) else {
            bail!("failed to follow {name}: it has no output")
        };
        let started = procfs::start_ticks(pid).unwrap_or_default();
        let followers = vec![out_follower, err_follower];
        let outside = endpoint.map(|endpoint| endpoint.inside);
        Ok(Box::new(ProcessMember { name, pid, started, outside, child, out, err, followers }))
    }

    fn leaks(&self) -> Vec<String> {
        self.log.leaks()
    }

    async fn exposed(&self) -> Result<Vec<Exposure>> {
        // Nobody is in between who could: a process's environment is its user's own, and its arguments, which everybody
        // sees, are searched on every platform.
        Ok(Vec::new())
    }
}

struct ProcessMember {
    name: String,
    pid: u32,
    started: u64,
    outside: Option<String>,
    child: Child,
    out: UnboundedReceiver<Line>,
    err: UnboundedReceiver<Line>,
    followers: Vec<JoinHandle<()>>,
}

#[async_trait(?Send)]
impl Member for ProcessMember {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        // Read anew each time: a process that is gone must not look as if it were still there.
        match procfs::start_ticks(self.pid) {
            Some(ticks) if ticks == self.started => format!("pid {} started at tick {ticks}", self.pid),
            _ => "gone".to_owned(),
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

    async fn stop(&mut self, grace: Duration) -> Result<()> {
        // The child is not reaped before `wait`, so its id cannot have gone to another process.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            tracing::debug!(member = self.name, %error, "was gone before it was asked to stop");
        }
        if timeout(grace, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("failed to end {}", self.name))?;
        }
        // Its last words may still be in the pipe. A process of its own that lives on may hold the pipe open for ever.
        for follower in self.followers.drain(..) {
            if timeout(LAST_WORDS, follower).await.is_err() {
                tracing::debug!(member = self.name, "somebody still holds its output open");
            }
        }
        Ok(())
    }
}
