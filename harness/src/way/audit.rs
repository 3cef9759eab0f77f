//! What a check asks of the backend's audit log.

use anyhow::{Context, Result, ensure};
use secrecy::SecretString;

use super::Way;
use crate::candidate::{AuditEntry, Written};
use crate::check::Trace;
use crate::ready;

impl Way {
    /// Reads the audit log until it holds what `enough` asks for, or its own patience runs out.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn audit_until(&mut self, enough: impl Fn(&[AuditEntry]) -> bool) -> Result<Vec<AuditEntry>> {
        let mut entries = self.candidate.audit().await?;
        let mut broken = None;
        let looked = ready::until("the audit log", self.candidate.audit_patience(), async || {
            if !enough(&entries) {
                match self.candidate.audit().await {
                    Ok(later) => entries = later,
                    Err(error) => broken = Some(error),
                }
            }
            Ok((broken.is_some() || enough(&entries)).then_some(()))
        });
        if looked.await.is_err() {
            // Whether the candidate fails for it is for the judgement to say.
            tracing::debug!("the audit log does not hold all that the check looks for");
        }
        if let Some(error) = broken {
            return Err(error);
        }
        self.record.audit.clone_from(&entries);
        Ok(entries)
    }

    /// The audit log as it is stored.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn audit_raw(&mut self) -> Result<Vec<u8>> {
        self.candidate.audit_raw().await
    }

    /// What this write of this value leaves in the audit log.
    ///
    /// # Errors
    /// The backend does not tell, or its log could prove nothing.
    pub async fn trace(&mut self, written: &Written, value: &SecretString) -> Result<Trace> {
        let fingerprint = self.candidate.fingerprint(value).await;
        let fingerprint = fingerprint.context("failed to ask for the audit log's fingerprint")?;
        ensure!(
            written.logged_as.is_some() || fingerprint.is_some(),
            "failed to look for a write in the audit log: it names neither versions nor values"
        );
        Ok(Trace { version: written.logged_as.clone(), fingerprint })
    }

    /// The identity under which rotations stand in the audit log.
    pub fn rotator(&self) -> &'static str {
        self.candidate.rotator()
    }
}
