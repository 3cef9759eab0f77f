//! A backend that is tampered with: it passes everything on but for one thing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use harness::candidate::PROBED_NAME;
use harness::candidate::{
    Access, Account, Action, AuditEntry, Candidate, Capability, Gap, NativePlan, NativeRequest, Reader, Reviewer,
    Trigger, Written,
};
use harness::cell::Environment;
use harness::observations::Values;
use harness::way::Wrap;
use secrecy::{ExposeSecret, SecretString};
use sidecar::config::TriggerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// The one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tamper {
    /// It stores another value than it is given.
    AnotherValue,
    /// It trims what it stores.
    TrimmedValues,
    /// It acknowledges a rotation and does not make it.
    LostRotation,
    /// It makes the rotation before the last one again.
    OldValueAgain,
    /// Its log leaves out writes.
    NoWritesInLog,
    /// Its log leaves out reads.
    NoReadsInLog,
    /// Its log shows reads of the first version only.
    StaleReadsInLog,
    /// Its log leaves out what was denied.
    NoDenialsInLog,
    /// Its log holds values.
    PlaintextInLog,
    /// It lets every reader read everywhere.
    ReadsEverywhere,
    /// It has one value for all environments.
    OneValueForAll,
    /// It lets readers write.
    ReadersWrite,
    /// With the first rotation the env file loses what it held.
    EmptiesEnvFile,
    /// What tells sidecars of rotations falls silent with the first one.
    TriggerCutOff,
}

/// Puts the tampered backend in front of the real one.
pub(super) fn tampered(tamper: Tamper) -> Wrap {
    Box::new(move |inner| {
        Box::new(Tampered { inner, tamper, written: Vec::new(), readers: BTreeMap::new(), door: None })
    })
}

struct Tampered {
    inner: Box<dyn Candidate>,
    tamper: Tamper,
    /// Every value of `POC_TEST_VALUE` that was to be written.
    written: Vec<SecretString>,
    readers: BTreeMap<Environment, Reader>,
    /// Passes on what goes between sidecars and notifier; ended, it cuts both off.
    door: Option<JoinHandle<()>>,
}

impl Tampered {
    fn is(&self, tamper: Tamper) -> bool {
        self.tamper == tamper
    }
}

#[async_trait(?Send)]
impl Candidate for Tampered {
    fn versions(&self) -> BTreeMap<String, String> {
        self.inner.versions()
    }

    fn gap(&self, capability: Capability) -> Option<Gap> {
        self.inner.gap(capability)
    }

    fn steps(&self) -> Vec<String> {
        self.inner.steps()
    }

    async fn provision(&mut self) -> Result<()> {
        self.inner.provision().await
    }

    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        let first = self.written.is_empty();
        self.written.extend(values.get(PROBED_NAME).cloned());
        let mut values = values.clone();
        match self.tamper {
            Tamper::AnotherValue => values.values_mut().for_each(|value| *value = "tampered with".into()),
            Tamper::TrimmedValues => values.values_mut().for_each(|value| *value = value.expose_secret().trim().into()),
            Tamper::LostRotation if !first => {
                let now = Instant::now();
                let version = self.written.len() as u64;
                let logged_as = Some(version.to_string());
                return Ok(Written { version, logged_as, sent: now, acknowledged: now });
            }
            Tamper::OneValueForAll => {
                for environment in Environment::ALL {
                    self.inner.write(environment, &values).await?;
                }
            }
            _ => {}
        }
        if self.is(Tamper::EmptiesEnvFile) && !first {
            for reader in self.readers.values() {
                std::fs::write(reader.folder.join(format!("{}.env", reader.container)), "")?;
            }
        }
        if self.is(Tamper::TriggerCutOff)
            && !first
            && let Some(door) = self.door.take()
        {
            door.abort();
            // Its connections go with it, before anything is written.
            let _ = door.await;
        }
        let written = self.inner.write(environment, &values).await?;
        if self.is(Tamper::OldValueAgain) && self.written.len() > 2 {
            let old = Values::from([(PROBED_NAME.to_owned(), self.written[self.written.len() - 2].clone())]);
            self.inner.write(environment, &old).await?;
        }
        Ok(written)
    }

    async fn revive(&mut self) -> Result<()> {
        self.inner.revive().await
    }

    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader> {
        let reader = self.inner.reader(environment, container, folder).await?;
        self.readers.insert(environment, reader.clone());
        Ok(reader)
    }

    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        match self.readers.get(&environment) {
            Some(other) if self.is(Tamper::ReadsEverywhere) => self.inner.read(other, environment).await,
            _ => self.inner.read(reader, environment).await,
        }
    }

    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access> {
        let access = self.inner.try_write(reader, environment).await?;
        Ok(if self.is(Tamper::ReadersWrite) { Access::Allowed } else { access })
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>> {
        let mut entries = self.inner.audit().await?;
        entries.retain_mut(|entry| match self.tamper {
            Tamper::NoWritesInLog => entry.action == Action::Read,
            Tamper::NoReadsInLog => entry.action != Action::Read,
            Tamper::NoDenialsInLog => entry.allowed,
            Tamper::StaleReadsInLog => {
                if entry.action == Action::Read {
                    entry.version = Some("1".into());
                }
                true
            }
            _ => true,
        });
        Ok(entries)
    }

    async fn audit_raw(&self) -> Result<Vec<u8>> {
        let mut log = self.inner.audit_raw().await?;
        if self.is(Tamper::PlaintextInLog)
            && let Some(value) = self.written.last()
        {
            log.extend_from_slice(value.expose_secret().as_bytes());
        }
        Ok(log)
    }

    fn audit_patience(&self) -> Duration {
        self.inner.audit_patience()
    }

    async fn fingerprint(&self, value: &SecretString) -> Result<Option<String>> {
        self.inner.fingerprint(value).await
    }

    fn rotator(&self) -> &'static str {
        self.inner.rotator()
    }

    fn source(&self, reader: &Reader) -> Result<sidecar::config::SourceConfig> {
        self.inner.source(reader)
    }

    async fn source_by_account(
        &mut self,
        reader: &Reader,
        reviewer: &Reviewer,
        account: &Account,
    ) -> Result<sidecar::config::SourceConfig> {
        self.inner.source_by_account(reader, reviewer, account).await
    }

    fn triggers(&self) -> Vec<Trigger> {
        self.inner.triggers()
    }

    async fn trigger(&mut self, trigger: Trigger, reader: &Reader) -> Result<TriggerConfig> {
        let mut config = self.inner.trigger(trigger, reader).await?;
        if let (Tamper::TriggerCutOff, TriggerConfig::Push(push)) = (self.tamper, &mut config) {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let notifier = push.notifier.trim_start_matches("http://").to_owned();
            push.notifier = format!("http://{}", listener.local_addr()?);
            self.door = Some(tokio::spawn(async move {
                let mut passing = JoinSet::new();
                while let Ok((mut near, _)) = listener.accept().await {
                    let Ok(mut far) = TcpStream::connect(&notifier).await else { continue };
                    passing.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                }
            }));
        }
        Ok(config)
    }

    fn native(&self, request: &NativeRequest<'_>) -> Result<NativePlan> {
        self.inner.native(request)
    }

    fn leaks(&self) -> Vec<String> {
        self.inner.leaks()
    }

    async fn remove(&mut self) -> Result<()> {
        self.inner.remove().await
    }
}
