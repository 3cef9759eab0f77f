//! The platform `process`: plain processes on this machine, in a private folder in memory.
//!
//! A member never outlives the harness: it is started through `conformance tether`, which asks the kernel to kill it
//! when its parent dies. A killed run leaves no process behind, whatever killed it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::{Line, Member, Platform, Workload};
use crate::procfs;
use crate::redact::Redactor;

/// The label that every process of a run carries in its environment, by which `reap` finds it.
pub const RUN_LABEL: &str = "CONFORMANCE_RUN";

/// Processes of one cell.
pub struct ProcessPlatform {
    folder: PathBuf,
    logs: PathBuf,
    run: String,
    tether: PathBuf,
    redactor: Redactor,
    leaks: Arc<Mutex<Vec<String>>>,
}

impl ProcessPlatform {
    /// Processes that share `folder`, write their logs, redacted, to `logs`, and carry the label `run`.
    ///
    /// # Errors
    /// The log folder cannot be made.
    pub fn new(folder: &Path, logs: &Path, run: &str, tether: &Path, redactor: &Redactor) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("failed to make the log folder {}", logs.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            run: run.to_owned(),
            tether: tether.to_owned(),
            redactor: redactor.clone(),
            leaks: Arc::default(),
        })
    }

    fn log(&self, name: &str) -> Result<Arc<Mutex<File>>> {
        let path = self.logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&path);
        Ok(Arc::new(Mutex::new(file.with_context(|| format!("failed to open the log {}", path.display()))?)))
    }
}

#[async_trait(?Send)]
impl Platform for ProcessPlatform {
    fn folder(&self) -> &Path {
        &self.folder
    }

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        let Workload { name, program, args, env, secret_env } = workload;
        let log = self.log(&name)?;
        let mut command = Command::new(&self.tether);
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
            .envs(env)
            .envs(secret_env.iter().map(|(name, value)| (name, value.expose_secret())))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("failed to start {name} ({})", program.display()))?;
        let pid = child.id().with_context(|| format!("failed to start {name}: it ended at once"))?;
        let follower =
            Follower { name: name.clone(), log, redactor: self.redactor.clone(), leaks: Arc::clone(&self.leaks) };
        let out = child.stdout.take().map(|out| follower.clone().follow("stdout", out));
        let err = child.stderr.take().map(|err| follower.follow("stderr", err));
        let (Some(out), Some(err)) = (out, err) else { bail!("failed to follow {name}: it has no output") };
        let started = procfs::start_ticks(pid).unwrap_or_default();
        Ok(Box::new(ProcessMember { name, pid, started, child, out, err }))
    }

    fn leaks(&self) -> Vec<String> {
        self.leaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows one stream of a member: stamps each line, keeps it redacted in the log, passes it on.
#[derive(Clone)]
struct Follower {
    name: String,
    log: Arc<Mutex<File>>,
    redactor: Redactor,
    leaks: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn follow(self, stream: &'static str, source: impl AsyncRead + Unpin + Send + 'static) -> UnboundedReceiver<Line> {
        let (sender, lines) = unbounded_channel();
        tokio::spawn(async move {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            let mut number = 0_u64;
            while matches!(source.read_until(b'\n', &mut bytes).await, Ok(1..)) {
                // Before anything else: the latency ends when the line is here.
                let at = Instant::now();
                number += 1;
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                self.keep(&text, || format!("{} {stream} line {number}", self.name));
                // The listener may have gone; the log is kept all the same.
                let _ = sender.send(Line { at, text });
            }
        });
        lines
    }

    fn keep(&self, text: &str, place: impl Fn() -> String) {
        let clean = self.redactor.clean(text);
        if clean != text {
            self.leaks.lock().unwrap_or_else(PoisonError::into_inner).push(place());
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(log, "{clean}") {
            tracing::warn!(member = self.name, %error, "failed to write a line to the log");
        }
    }
}

struct ProcessMember {
    name: String,
    pid: u32,
    started: u64,
    child: Child,
    out: UnboundedReceiver<Line>,
    err: UnboundedReceiver<Line>,
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

    fn pid(&self) -> u32 {
        self.pid
    }

    fn out(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.out
    }

    fn err(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.err
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
        Ok(())
    }
}
