//! Checks: one assertion each. A check drives the way and hands what it saw to its judgement, a pure function.
//! The next check is one file beside these and one line in [`ALL`].

mod audit_denial;
mod audit_plaintext;
mod audit_reads;
mod audit_rotation;
mod cluster_privilege;
mod cluster_spec;
mod delivery_byte_exact;
mod delivery_initial;
mod hygiene_leak;
mod network;
mod provision;
mod rollout_downtime;
mod rollout_revision;
mod rotation_burst;
mod rotation_downtime;
mod rotation_propagates;
mod rotation_redeploy;
mod rotation_redeploy_only;
#[cfg(test)]
mod samples;
mod scope_isolated;
mod scope_same_name;
mod scope_write;

use std::fmt;

use anyhow::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::candidate::{AuditEntry, Capability};
use crate::cell::{CandidateId, DeliveryId, Place, PlatformId, Reach};
use crate::verdict::Judgement;
use crate::way::Way;

/// What a candidate must satisfy, and the checks of the proof of concept: the rows of the scorecard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Criterion 1: it fits the hosting platform.
    Platform,
    /// Criterion 2: it isolates dev, staging and prod.
    Isolation,
    /// Criterion 3: a rotation reaches the running container without a redeploy.
    Rotation,
    /// Check (a): provisioning works end to end with no manual step.
    Provisioning,
    /// Check (b): the rotation arrives within the SLA.
    Latency,
    /// Check (c): the backend's audit log shows the rotation and the container's reads.
    Audit,
    /// Not among the owner's, but nobody could trust a suite or a delivery without it: no value leaks.
    Hygiene,
}

impl Question {
    /// Every question, in the order of the scorecard.
    pub const ALL: [Self; 7] = [
        Self::Platform,
        Self::Isolation,
        Self::Rotation,
        Self::Provisioning,
        Self::Latency,
        Self::Audit,
        Self::Hygiene,
    ];

    /// The question in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Platform => "Criterion 1: fits the hosting platform",
            Self::Isolation => "Criterion 2: isolates dev, staging and prod",
            Self::Rotation => "Criterion 3: a rotation reaches the running container without a redeploy",
            Self::Provisioning => "Check (a): provisioning works end to end with no manual step",
            Self::Latency => "Check (b): the rotation arrives within the SLA",
            Self::Audit => "Check (c): the audit log shows the rotation and the container's reads",
            Self::Hygiene => "Hygiene: no value leaks",
        }
    }
}

/// Under which deliveries a check is held, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Under every delivery.
    Every,
    /// Under every delivery by which a rotation reaches the running container.
    Rotating,
    /// Under this one alone: the answer does not depend on the delivery, or only this one makes the claim.
    Only(DeliveryId),
    /// Under this one alone, and not on this platform, where nobody makes the claim.
    OnlyOff(PlatformId, DeliveryId),
    /// On this platform alone, under these.
    On(PlatformId, &'static [DeliveryId]),
    /// In a cluster that the suite made itself, since it is broken and mended, and under these. Whatever stores the secret
    /// is outside of it: one candidate is asked, and the answer is the delivery's.
    OnScratch(&'static [DeliveryId]),
}

impl Spread {
    /// Whether the check is held in a place.
    pub fn holds_for(self, place: Place) -> bool {
        let Place { candidate, platform, delivery } = place;
        match self {
            Self::Every => true,
            Self::Rotating => delivery.reach() != Reach::Nothing,
            Self::Only(only) => delivery == only,
            Self::OnlyOff(off, only) => delivery == only && platform != off,
            Self::On(only, deliveries) => platform == only && deliveries.contains(&delivery),
            Self::OnScratch(deliveries) => {
                let asked = candidate == CandidateId::Vault && platform == PlatformId::Kubernetes;
                asked && deliveries.contains(&delivery)
            }
        }
    }
}

/// A check as data.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Stable id.
    pub id: &'static str,
    /// What it asserts, in one sentence.
    pub sentence: &'static str,
    /// Which questions of the scorecard it answers.
    pub answers: &'static [Question],
    /// Under which deliveries it is held.
    pub spread: Spread,
    /// What the candidate must be able to do; a gap makes the cell `not-supported`.
    pub needs: &'static [Capability],
}

/// What a write leaves in the audit log: the version's name, the value's fingerprint, as far as the log has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// How the log names the version, where it names versions.
    pub version: Option<String>,
    /// The log's own fingerprint of the value, where it has fingerprints.
    pub fingerprint: Option<String>,
}

impl Trace {
    /// Whether an entry is about this write: by its version, and by its fingerprint in a log that names no versions.
    pub fn is_named_by(&self, entry: &AuditEntry) -> bool {
        match &self.version {
            Some(version) => entry.version.as_ref() == Some(version),
            None => self.fingerprint.is_some() && entry.fingerprint == self.fingerprint,
        }
    }

    /// Whether an entry proves this write, by all that the log has.
    pub fn is_left_by(&self, entry: &AuditEntry) -> bool {
        self.is_named_by(entry) && (self.fingerprint.is_none() || entry.fingerprint == self.fingerprint)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "version {version}"),
            None => f.write_str("the value's fingerprint"),
        }
    }
}

/// One assertion.
#[async_trait(?Send)]
pub trait Check: Sync {
    /// The check as data.
    fn about(&self) -> &'static About;

    /// Walks the way and judges what it saw.
    async fn drive(&self, way: &mut Way) -> Result<Judgement>;
}

/// The judgement where the log shows no denials: what was tried decides whether it failed, and the gap keeps it from a
/// pass. None where the log can tell the rest.
fn unlogged(way: &Way, faults: &[String], held: &str) -> Option<Judgement> {
    let gap = way.gap(Capability::AuditDenials)?;
    Some(match faults {
        [] => Judgement::not_supported(format!("{held}, but {} (source: {})", gap.reason, gap.source)),
        faults => Judgement::from_faults(faults, String::new),
    })
}

/// Every check, in the order of the reports.
pub const ALL: [&dyn Check; 32] = [
    &provision::EndToEnd,
    &delivery_initial::InitialValue,
    &delivery_byte_exact::ByteExact,
    &rotation_propagates::Propagates,
    &rotation_redeploy_only::RedeployOnly,
    &rotation_redeploy::NoRedeploy,
    &rotation_downtime::NoDowntime,
    &rotation_burst::Burst,
    &rollout_downtime::ZeroDowntime,
    &rollout_revision::Revision,
    &audit_rotation::RotationRecorded,
    &audit_reads::ReadsRecorded,
    &audit_denial::DenialRecorded,
    &audit_plaintext::NoPlaintext,
    &scope_isolated::Isolated,
    &scope_same_name::SameName,
    &scope_write::ReaderCannotWrite,
    &hygiene_leak::NoLeak,
    &network::BACKEND_UNREACHABLE,
    &network::BACKEND_SLOW,
    &network::LOSSY,
    &network::RESET,
    &network::DNS_GONE,
    &network::BACKEND_RESTARTED,
    &network::BACKEND_PAUSED,
    &network::SIDECAR_KILLED,
    &network::PROBE_KILLED,
    &network::DISK_FULL,
    &cluster_spec::SecretNotInSpec,
    &cluster_privilege::LeastPrivilege,
    &network::NODE_RESTART,
    &network::APISERVER_AWAY,
];

/// Whether a check is held in a cluster that the suite made, and in no other.
pub fn needs_scratch(id: &str) -> bool {
    by_id(id).is_some_and(|check| matches!(check.about().spread, Spread::OnScratch(_)))
}

/// The check with this id.
pub fn by_id(id: &str) -> Option<&'static dyn Check> {
    ALL.into_iter().find(|check| check.about().id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_question_has_a_check() {
        let mut ids: Vec<_> = ALL.iter().map(|check| check.about().id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for question in Question::ALL {
            assert!(ALL.iter().any(|check| check.about().answers.contains(&question)), "nothing answers {question:?}");
        }
    }
}
