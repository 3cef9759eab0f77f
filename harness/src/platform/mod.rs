//! Platforms: where the probe and its delivery run. The next platform is one file beside these.

pub mod docker;
mod follow;
pub mod kubernetes;
mod log;
pub mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use secrecy::SecretString;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use crate::fault::Faults;

/// What a workload runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// The probe.
    #[default]
    Probe,
    /// The sidecar; the probe is beside it, for it to start.
    Sidecar,
    /// A stand-in.
    Standin,
    /// OpenBao or Vault, as server or agent; probe and sidecar are beside it, for an agent to start.
    Bao,
    /// A program of this machine; no other platform than `process` has it.
    Other(PathBuf),
}

/// Where a workload listens, known before it is started.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address that it binds.
    pub listen: SocketAddr,
    /// `host:port` under which other members of the cell find it.
    pub inside: String,
}

/// A file or folder of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// What the engine does when a container ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It starts it again when it ended badly.
    OnFailure,
}

/// How a container is made, where a deploy template says so and not the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The image, with its tag or digest.
    pub image: String,
    /// What it sees of the host.
    pub mounts: Vec<Bind>,
    /// `uid:gid`; without it, the image's own.
    pub user: Option<String>,
    /// Whether its root filesystem is read-only.
    pub read_only: bool,
    /// The capabilities that it does not have.
    pub cap_drop: Vec<String>,
    /// Options such as `no-new-privileges:true`.
    pub security_opt: Vec<String>,
    /// Memory in bytes; without it, all of the machine's.
    pub memory: Option<i64>,
    /// Processes and threads; without it, as many as there may be.
    pub processes: Option<i64>,
    /// What happens when it ends by itself.
    pub restart: Restart,
}

/// Something to run: a program with its arguments and environment.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Name in logs and errors: `probe`, `sidecar`, `agent`.
    pub name: String,
    /// The program.
    pub program: Program,
    /// Where it listens, if it does.
    pub endpoint: Option<Endpoint>,
    /// Whether only other members have to find it, and the harness does not.
    pub inside_only: bool,
    /// The member whose processes it sees and may signal, where a platform keeps processes apart.
    pub beside: Option<String>,
    /// Whether the platform starts it anew when it ends by itself, as a host does with a restart policy. Plain processes have
    /// no such host.
    pub keep: bool,
    /// Arguments; never a secret, anyone on the machine can list them.
    pub args: Vec<String>,
    /// Environment that anyone may know.
    pub env: BTreeMap<String, String>,
    /// Environment that carries secrets.
    pub secret_env: BTreeMap<String, SecretString>,
    /// The container of a deploy template, which says itself what `program` would: for a platform that has containers.
    pub container: Option<Container>,
}

/// One line of a member's output.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it arrived.
    pub at: Instant,
    /// The text, as it was written: redact it before it goes anywhere.
    pub text: String,
}

/// A place where a platform itself shows a secret to whoever may ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The name of the member whose secret it is.
    pub member: String,
    /// Where: `docker inspect app.probe: Config.Env`.
    pub place: String,
    /// Whether that is the environment that the member was started with.
    pub environment: bool,
}

/// A running workload.
#[async_trait(?Send)]
pub trait Member {
    /// The workload's name.
    fn name(&self) -> &str;

    /// What identifies this very process, container or pod: it changes when the platform starts it anew.
    fn identity(&self) -> String;

    /// The lines of its standard output: observations, and whatever a vendor's agent mixes in. They end when it does.
    fn out(&mut self) -> &mut UnboundedReceiver<Line>;

    /// The lines of its standard error: status and logs. They end when it does.
    fn err(&mut self) -> &mut UnboundedReceiver<Line>;

    /// `host:port` under which the harness finds it, if it listens.
    fn outside(&self) -> Option<&str>;

    /// Waits until it has ended by itself, and well.
    async fn completed(&mut self, _deadline: Instant) -> Result<()> {
        bail!("failed to wait for the end of {}: no platform but `docker` can", self.name())
    }

    /// Asks it to stop, waits, and after `grace` ends it.
    async fn stop(&mut self, grace: Duration) -> Result<()>;
}

/// Where workloads run, with one private folder that they share.
#[async_trait(?Send)]
pub trait Platform {
    /// The folder that every member sees; its owner alone may read it.
    fn folder(&self) -> &Path;

    /// The folder for what changes with every rotation: the env file, and what belongs to it.
    fn values(&self) -> &Path {
        self.folder()
    }

    /// Where a program is, as members see it.
    fn path(&self, program: &Program) -> PathBuf;

    /// Where a workload of this name is to listen; `port` is what it would choose itself.
    fn endpoint(&mut self, name: &str, port: u16) -> Result<Endpoint>;

    /// The image of a program and the `uid:gid` that owns the folder, for a deploy template.
    async fn image(&mut self, _program: &Program) -> Result<(String, String)> {
        bail!("failed to name an image: no platform but `docker` has images")
    }

    /// The member beside which the parts of a container are to be started so that they see and may signal each other, and none
    /// goes with another; none where every process sees every other anyway.
    async fn shared_processes(&mut self, container: &str) -> Result<Option<String>> {
        let _ = container;
        Ok(None)
    }

    /// Starts a workload.
    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>>;

    /// Places where a member's output held a secret: `sidecar line 3`.
    fn leaks(&self) -> Vec<String>;

    /// Places where the platform itself shows a secret of the cell, whichever of its members is there at the moment.
    async fn exposed(&self) -> Result<Vec<Exposure>>;
    /// What can be done to the cell, on a platform that can.
    fn faults(&mut self) -> Option<&mut dyn Faults> {
        None
    }

    /// Removes what it put beside the members by itself; they are stopped already.
    async fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Takes the lines of standard output away from a member, for somebody who follows them to the end.
pub fn take_out(member: &mut dyn Member) -> UnboundedReceiver<Line> {
    std::mem::replace(member.out(), unbounded_channel().1)
}

/// Takes the lines of standard error away from a member, for somebody who follows them to the end.
pub fn take_err(member: &mut dyn Member) -> UnboundedReceiver<Line> {
    std::mem::replace(member.err(), unbounded_channel().1)
}

/// Waits for a line on a member's standard error that `pick` makes something of.
///
/// # Errors
/// The member ended, or the line did not come before the deadline; the error holds its last lines.
pub async fn line<T>(
    member: &mut dyn Member,
    what: &str,
    deadline: Instant,
    pick: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    let mut last = Vec::new();
    loop {
        match timeout_at(deadline, member.err().recv()).await {
            Ok(Some(line)) => {
                if let Some(picked) = pick(&line.text) {
                    return Ok(picked);
                }
                last.push(line.text);
            }
            Ok(None) => bail!("failed to see {what}: {} ended; it said last: {}", member.name(), tail(&last)),
            Err(_) => bail!("failed to see {what} of {} in time; it said last: {}", member.name(), tail(&last)),
        }
    }
}

/// The last of these lines, for an error.
pub(crate) fn tail(lines: &[String]) -> String {
    if lines.is_empty() {
        return "nothing".to_owned();
    }
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
