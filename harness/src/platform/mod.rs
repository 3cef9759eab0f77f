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

/// Something to run: a program with its arguments and environment.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Name in logs and errors: `probe`, `sidecar`, `agent`.
    pub name: String,
    /// The program.
    pub program: Program,
    /// Where it listens, if it does.
    pub endpoint: Option<Endpoint>,
    /// The member whose processes it sees and may signal, where a platform keeps processes apart.
    pub beside: Option<String>,
    /// Arguments; never a secret, anyone on the machine can list them.
    pub args: Vec<String>,
    /// Environment that anyone may know.
    pub env: BTreeMap<String, String>,
    /// Environment that carries secrets.
    pub secret_env: BTreeMap<String, SecretString>,
}

/// One line of a member's output.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it arrived.
    pub at: Instant,
    /// The text, as it was written: redact it before it goes anywhere.
    pub text: String,
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

    /// Asks it to stop, waits, and after `grace` ends it.
    async fn stop(&mut self, grace: Duration) -> Result<()>;
}

/// Where workloads run, with one private folder that they share.
#[async_trait(?Send)]
pub trait Platform {
    /// The folder that every member sees; its owner alone may read it.
    fn folder(&self) -> &Path;

    /// Where a program is, as members see it.
    fn path(&self, program: &Program) -> PathBuf;

    /// Where a workload of this name is to listen; `port` is what it would choose itself.
    fn endpoint(&mut self, name: &str, port: u16) -> Result<Endpoint>;

    /// Starts a workload.
    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>>;

    /// Places where a member's output held a secret: `sidecar line 3`.
    fn leaks(&self) -> Vec<String>;
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
