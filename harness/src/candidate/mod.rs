//! Candidates: drivers for the four backends. A driver knows its vendor and nothing of checks.

pub mod vault;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cell::{DeliveryId, Environment};
use crate::observations::Values;
use crate::platform::Workload;

/// The name that the proof of concept delivers; its fingerprint is what audit entries carry.
pub const PROBED_NAME: &str = "POC_TEST_VALUE";

/// Something that a check needs a candidate, or the target, to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// It says by itself that a secret was rotated.
    Push,
    /// Its audit log shows writes.
    AuditWrites,
    /// Its audit log shows reads, with the identity of the reader.
    AuditReads,
    /// Its audit log shows what was denied.
    AuditDenials,
    /// It has identities that may read one environment and nothing else.
    ScopedReaders,
}

/// A capability that a candidate does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What is missing, in a sentence.
    pub reason: String,
    /// Where that is written.
    pub source: &'static str,
}

/// The least-privilege identity of one container in one environment.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The container that carries this identity; it stands in the audit log.
    pub container: String,
    /// The only environment that it may read.
    pub environment: Environment,
    /// Its credentials: 0600 files in the platform's folder, by their role.
    pub files: BTreeMap<&'static str, PathBuf>,
}

/// A write that the backend acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The version that the secret has since; it only grows.
    pub version: u64,
    /// When the request was sent: the start of the latency.
    pub sent: Instant,
    /// When the acknowledgement was here.
    pub acknowledged: Instant,
}

/// What came of using an identity for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The backend did it.
    Allowed,
    /// The backend refused for lack of rights.
    Denied,
}

/// What an audit entry says was done to the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The first version was written.
    Create,
    /// A later version was written.
    Update,
    /// The value was read.
    Read,
}

/// One entry of the backend's audit log about the secret of this cell, in words that hold for every vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The backend's own id of the request.
    pub id: String,
    /// When it was logged.
    pub at: Timestamp,
    /// What was done, or tried.
    pub action: Action,
    /// In which environment.
    pub environment: Environment,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Who did it, as the log names them: a container, or the rotator.
    pub identity: String,
    /// The version that was written or read, where the log says so.
    pub version: Option<u64>,
    /// The log's own fingerprint of the value of `POC_TEST_VALUE`, where it has one.
    pub fingerprint: Option<String>,
}

/// How the sidecar learns of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// The backend says so.
    Push,
    /// The sidecar asks for the version.
    Poll,
}

/// The vendor's own delivery: its agent, ready to start.
#[derive(Debug)]
pub struct NativePlan {
    /// The agent.
    pub agent: Workload,
    /// The env file that it renders, where it does not start the app itself.
    pub env_file: Option<PathBuf>,
    /// The longest time that the agent itself waits before a rotation goes on: its poll and its debounce.
    pub unavoidable: std::time::Duration,
}

/// What a native delivery is to deliver, and to whom.
#[derive(Debug)]
pub struct NativeRequest<'a> {
    /// Which of the vendor's mechanisms.
    pub delivery: DeliveryId,
    /// The identity that the agent takes on.
    pub reader: &'a Reader,
    /// The names to deliver.
    pub names: &'a [String],
    /// The folder of the platform.
    pub folder: &'a Path,
    /// The app's program, for an agent that starts it.
    pub app: &'a Path,
    /// The app's pid file, for an agent that signals it.
    pub pid_file: &'a Path,
}

/// A backend under test.
#[async_trait(?Send)]
pub trait Candidate {
    /// Name and version of everything that took part.
    fn versions(&self) -> BTreeMap<String, String>;

    /// The gap where a capability should be, if it is missing.
    fn gap(&self, capability: Capability) -> Option<Gap>;

    /// Every step taken so far to provision, in order: what a person would have to do, none of it by hand.
    fn steps(&self) -> Vec<String>;

    /// Brings an empty backend to the point where environments exist and the rotator may write.
    async fn provision(&mut self) -> Result<()>;

    /// Writes every value of the cell's secret in one environment: its creation, or a rotation.
    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written>;

    /// Makes the least-privilege identity of a container.
    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader>;

    /// Reads the values of an environment once, as this identity, where it may.
    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)>;

    /// Tries to write in an environment as this identity.
    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access>;

    /// The audit log's entries about the cell's secret, in the log's order.
    async fn audit(&self) -> Result<Vec<AuditEntry>>;

    /// The audit log as it is stored, to be searched for plaintext.
    async fn audit_raw(&self) -> Result<Vec<u8>>;

    /// The audit log's fingerprint of a value.
    async fn fingerprint(&self, value: &secrecy::SecretString) -> Result<String>;

    /// The identity under which rotations stand in the audit log.
    fn rotator(&self) -> &'static str;

    /// Where a sidecar with this identity reads.
    fn source(&self, reader: &Reader) -> Result<sidecar::config::SourceConfig>;

    /// How a sidecar learns of a rotation.
    fn trigger(&self, kind: TriggerKind) -> Result<sidecar::config::TriggerConfig>;

    /// The vendor's own delivery.
    fn native(&self, request: &NativeRequest<'_>) -> Result<NativePlan>;

    /// Places where the backend's own output held a secret.
    fn leaks(&self) -> Vec<String>;

    /// Removes whatever this cell made on a backend that outlives it, and stops what it started.
    async fn remove(&mut self) -> Result<()>;
}
