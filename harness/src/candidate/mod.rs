//! Candidates: drivers for the four backends. A driver knows its vendor and nothing of checks.

pub mod api;
pub mod aws;
pub mod doppler;
mod notifier;
pub mod onepassword;
mod standin;
pub mod tariff;
pub mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sidecar::config::{PushConfig, SourceConfig};
use tokio::time::Instant;

use crate::cell::{CandidateId, DeliveryId, Environment};
use crate::files::write_private;
use crate::observations::Values;
use crate::platform::{Platform, Workload};
use crate::redact::Redactor;
use crate::target::Targets;
use crate::tools::Tools;

/// The name that the proof of concept delivers; its fingerprint is what audit entries carry.
pub const PROBED_NAME: &str = "POC_TEST_VALUE";

/// Something that a check needs a candidate, or the target, to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// All that a container needs of it can be made by API: environments, identities, secrets.
    ProvisionByApi,
    /// It sends a signed request to a receiver when a secret was rotated.
    Webhook,
    /// Its audit log shows writes.
    AuditWrites,
    /// Its audit log shows reads, with the identity of the reader.
    AuditReads,
    /// Its audit log shows what was denied.
    AuditDenials,
    /// Its audit log is not by design a history of values.
    AuditConceals,
    /// It has identities that may read one environment and nothing else.
    ScopedReaders,
    /// The run started its servers, so that it may harm them.
    OwnServers,
    /// Its servers, once stopped, can be started again with their state.
    KeepsState,
    /// It lets in service accounts of the cell's cluster.
    ServiceAccounts,
}

/// The gap where somebody else runs the servers: reason and source.
const NOT_OURS: (&str, &str) = ("its servers are not the run's own to be stopped or cut off", "the target file");

/// A capability that a candidate does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What is missing, in a sentence.
    pub reason: String,
    /// Where that is written.
    pub source: &'static str,
}

/// What an identity of the suite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It creates and rotates the secret in every environment.
    Rotator,
    /// It reads the secret of this environment.
    Reader(Environment),
}

/// The least-privilege identity of one container in one environment.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The container that carries this identity; it stands in the audit log.
    pub container: String,
    /// The only environment that it may read.
    pub environment: Environment,
    /// The folder that the container sees.
    pub folder: PathBuf,
    /// Its credentials: 0600 files in that folder, by their role.
    pub files: BTreeMap<&'static str, PathBuf>,
}

impl Reader {
    /// The file with its credential of this role.
    ///
    /// # Errors
    /// It has none.
    fn file(&self, role: &str) -> Result<&Path> {
        self.files.get(role).map(PathBuf::as_path).with_context(|| format!("failed to find the {role} of the reader"))
    }

    /// Puts a copy of a file where the container sees it.
    ///
    /// # Errors
    /// The file cannot be read, or the copy not be written.
    fn copy(&self, file: &Path, ending: &str) -> Result<PathBuf> {
        let copy = self.folder.join(format!("{}.{ending}", self.container));
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        write_private(&copy, &text)?;
        Ok(copy)
    }

    /// The subscription with a token file that the container sees.
    ///
    /// # Errors
    /// See [`Self::copy`].
    fn subscription(&self, push: &PushConfig) -> Result<PushConfig> {
        Ok(PushConfig { notifier: push.notifier.clone(), token_file: self.copy(&push.token_file, "subscribe.token")? })
    }
}

/// What a backend takes to have a Kubernetes API server review the tokens of service accounts.
pub struct Reviewer {
    /// Where the API server is.
    pub server: String,
    /// The authorities that its certificate is signed by, as PEM; empty where they are public ones.
    pub ca: String,
    /// A token that may ask for reviews.
    pub token: SecretString,
}

/// The service account of a container.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Whom its tokens are for.
    pub audience: String,
    /// Where the container finds its token.
    pub token_file: PathBuf,
}

/// A write that the backend acknowledged.
#[derive(Clone, Debug)]
pub struct Written {
    /// The version that the secret has since; it only grows. Counted by the driver where the vendor counts none.
    pub version: u64,
    /// How the audit log names this version, where it names versions.
    pub logged_as: Option<String>,
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
    /// The version that was written or read, as the log names it, where it does.
    pub version: Option<String>,
    /// The log's own fingerprint of the value of `POC_TEST_VALUE`, where it has one.
    pub fingerprint: Option<String>,
}

/// How the sidecar learns of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The backend's audit device tells a notifier, which tells the sidecar.
    AuditPush,
    /// The backend's own event stream, which the sidecar holds open.
    WatchStream,
    /// The backend's signed webhook tells a notifier, which tells the sidecar.
    Webhook,
    /// The backend's event about a moved label tells a notifier, which tells the sidecar.
    LabelEvent,
    /// The sidecar asks for the version.
    VersionPoll,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AuditPush => "audit-push",
            Self::WatchStream => "watch-stream",
            Self::Webhook => "webhook",
            Self::LabelEvent => "label-event",
            Self::VersionPoll => "version-poll",
        })
    }
}

/// The vendor's own delivery: its agent, ready to start.
#[derive(Debug)]
pub struct NativePlan {
    /// The agent.
    pub agent: Workload,
    /// The env file that it renders, where it does not start the app itself.
    pub env_file: Option<PathBuf>,
    /// The longest time that the agent itself waits before a rotation goes on: its poll and its debounce.
    pub unavoidable: Duration,
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
    /// The sidecar's program, which signals the app.
    pub sidecar: &'a Path,
    /// The app's pid file, for an agent that signals it.
    pub pid_file: &'a Path,
}

/// What a driver is set up with.
pub struct Setup<'a> {
    /// Where it may find a backend that is there already.
    pub targets: &'a Targets,
    /// What everything is named after that the cell makes there: unique, lower-case letters, digits and `-`.
    pub scope: String,
    /// Where processes of a backend of the cell's own run.
    pub platform: Box<dyn Platform>,
    /// The programs.
    pub tools: &'a Tools,
    /// Is told every credential.
    pub redactor: &'a Redactor,
    /// Whether what is started is to keep its state when it is stopped and started again.
    pub durable: bool,
    /// How calls name themselves: an entry of the audit log can be tied to a cell.
    pub user_agent: String,
}

/// Starts the backend of this candidate, or reaches the one that the targets name. Nothing is provisioned yet.
///
/// # Errors
/// The backend does not start, or the target cannot be used.
pub async fn open(id: CandidateId, setup: Setup<'_>) -> Result<Box<dyn Candidate>> {
    Ok(match id {
        CandidateId::Vault => Box::new(vault::Vault::new(setup).await?),
        CandidateId::Doppler => Box::new(doppler::Doppler::new(setup).await?),
        CandidateId::Onepassword => Box::new(onepassword::Onepassword::new(setup).await?),
        CandidateId::Aws => Box::new(aws::Aws::new(setup).await?),
    })
}

/// Removes everything whose name begins with `scope` from the targets, and says from where it removed what.
///
/// # Errors
/// A target cannot be reached, or its credential may not list or delete.
pub async fn reap(targets: &Targets, scope: &str) -> Result<Vec<(CandidateId, String)>> {
    let mut removed = Vec::new();
    let mut remove = |candidate, each: Vec<String>| removed.extend(each.into_iter().map(|one| (candidate, one)));
    if let Some(remote) = vault::Remote::of(targets, scope)? {
        remove(CandidateId::Vault, vault::reap(&remote).await?);
    }
    if let Some(remote) = doppler::Remote::of(targets, scope)? {
        remove(CandidateId::Doppler, doppler::reap(&remote).await?);
    }
    if let Some(remote) = onepassword::Remote::of(targets, scope)? {
        remove(CandidateId::Onepassword, onepassword::reap(&remote).await?);
    }
    if let Some(remote) = aws::Remote::of(targets, scope)? {
        remove(CandidateId::Aws, aws::reap(&remote).await?);
    }
    Ok(removed)
}

/// How a step begins that was taken before, once for all secrets: the account, what carries its events.
pub const GIVEN: &str = "given: ";

/// A backend under test.
#[async_trait(?Send)]
pub trait Candidate {
    /// Name and version of everything that took part.
    fn versions(&self) -> BTreeMap<String, String>;

    /// The gap where a capability should be, if it is missing.
    fn gap(&self, capability: Capability) -> Option<Gap>;

    /// Every step taken so far to provision, in order: what a person would have to do, none of it by hand. What an operator
    /// set up once, before any secret, begins with [`GIVEN`].
    fn steps(&self) -> Vec<String>;

    /// Brings an empty backend to the point where environments exist and the rotator may write.
    async fn provision(&mut self) -> Result<()>;

    /// Writes every value of the cell's secret in one environment: its creation, or a rotation.
    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written>;

    /// Does what an operator does after the servers were started again, and waits until they serve.
    async fn revive(&mut self) -> Result<()>;

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

    /// How long an entry may take to show in the audit log.
    fn audit_patience(&self) -> Duration {
        // The log is complete when the call returns; this is for one that is read across a network.
        Duration::from_secs(5)
    }

    /// The audit log's fingerprint of a value, where it has fingerprints.
    async fn fingerprint(&self, value: &SecretString) -> Result<Option<String>>;

    /// The identity under which rotations stand in the audit log.
    fn rotator(&self) -> &'static str;

    /// Where a sidecar with this identity reads.
    fn source(&self, reader: &Reader) -> Result<SourceConfig>;

    /// Where a sidecar reads that is let in as a Kubernetes service account, to what this identity may read.
    async fn source_by_account(&mut self, _: &Reader, _: &Reviewer, account: &Account) -> Result<SourceConfig> {
        anyhow::bail!("failed to let the service account {} in: this candidate knows none", account.name)
    }

    /// The triggers that this backend, as it is set up, really has: the best first, at least one.
    fn triggers(&self) -> Vec<Trigger>;

    /// Sets up a trigger, one of [`Self::triggers`], for a sidecar with this identity.
    async fn trigger(&mut self, trigger: Trigger, reader: &Reader) -> Result<sidecar::config::TriggerConfig>;

    /// The vendor's own delivery.
    fn native(&self, request: &NativeRequest<'_>) -> Result<NativePlan> {
        anyhow::bail!("failed to deploy: {} is not offered for this candidate", request.delivery)
    }

    /// Places where the backend's own output held a secret.
    fn leaks(&self) -> Vec<String>;

    /// Removes whatever this cell made on a backend that outlives it, and stops what it started.
    async fn remove(&mut self) -> Result<()>;
}
