//! Evidence: the JSON record of one cell. Written once, through the redacting writer, and never changed afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use probe::observation::Observation;
use serde::{Deserialize, Serialize};
use sidecar::config::DeliverConfig;

use crate::candidate::tariff::Calls;
use crate::candidate::{AuditEntry, Trigger};
use crate::cell::Cell;
use crate::redact::Redactor;
use crate::verdict::{Grade, Judgement};

/// Raised when a reader of older records would be misled.
pub const SCHEMA: u32 = 1;

/// One rotation, timed by the harness's own monotonic clock from the moment its request was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The version that the rotation made.
    pub version: u64,
    /// Milliseconds until the backend acknowledged it.
    pub acknowledged_ms: f64,
    /// Milliseconds until the observation of the new value was recorded; none if patience ran out.
    pub observed_ms: Option<f64>,
}

/// Order statistics of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// The shortest.
    pub min_ms: f64,
    /// The middle one; the mean of the two middle ones when there is an even number.
    pub median_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl TriggerUse {
    /// The trigger of a sidecar with this configuration.
    pub fn of(trigger: Trigger, config: &DeliverConfig) -> Self {
        let cost = sidecar::cost::of(&config.source, &config.trigger);
        let looks_per_hour = 3600.0 / cost.look_every.as_secs_f64();
        let calls = Calls { per_hour: looks_per_hour * f64::from(cost.per_look), per_rotation: cost.per_rotation };
        Self { trigger, calls }
    }
}

impl Summary {
    /// Of these latencies in milliseconds, unless there is none.
    pub fn of(latencies: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = latencies.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min_ms, max_ms) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median_ms =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { n: sorted.len(), min_ms, median_ms, max_ms })
    }
}

/// A span in milliseconds with the precision of a microsecond: more would be noise.
pub fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// A trigger at work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerUse {
    /// The trigger.
    pub trigger: Trigger,
    /// The API calls that it makes for one container.
    pub calls: Calls,
}

/// What a cell saw on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// Every step taken to provision, in order.
    pub steps: Vec<String>,
    /// Every rotation.
    pub samples: Vec<Sample>,
    /// Every observation, by the container that made it.
    pub observations: BTreeMap<String, Vec<Observation>>,
    /// What the audit log said about the secret.
    pub audit: Vec<AuditEntry>,
    /// By what the delivery learns of a rotation, where it does, and what that costs.
    pub trigger: Option<TriggerUse>,
    /// Name and version of everything that took part.
    pub versions: BTreeMap<String, String>,
    /// Where the platform itself shows a value to whoever may ask it, because the delivery puts it there by design.
    #[serde(default)]
    pub exposed: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Milliseconds spent in waits that no code of ours can shorten: a vendor's poll or debounce, an SLA to sit out.
    pub unavoidable_ms: f64,
}

/// The record of one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// What the check asserts.
    pub sentence: String,
    /// How strong the evidence is.
    pub grade: Grade,
    /// The judgement.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The SLA that was judged, in milliseconds.
    pub sla_ms: u64,
    /// How long the suite looked for an arrival, in milliseconds.
    pub patience_ms: u64,
    /// When the cell began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// Latency of the rotations that arrived.
    pub latency: Option<Summary>,
    /// What it saw.
    #[serde(flatten)]
    pub record: Record,
}

impl Evidence {
    /// Where the evidence of a cell lies in a folder.
    pub fn path(folder: &Path, cell: &Cell) -> PathBuf {
        folder.join(format!("{}.json", cell.file_stem()))
    }

    /// Writes the record, redacted, in one piece: a reader sees all of it or nothing.
    ///
    /// # Errors
    /// The folder cannot be written: read-only, full, or gone.
    pub fn write(&self, folder: &Path, redactor: &Redactor) -> Result<()> {
        let path = Self::path(folder, &self.cell);
        let write = || -> Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            {
                let mut clean = redactor.writer(&mut file);
                serde_json::to_writer_pretty(&mut clean, self)?;
                clean.write_all(b"\n")?;
                clean.flush()?;
            }
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("failed to write the evidence {}", path.display()))
    }

    /// Reads every record of a folder, in the order of the cells.
    ///
    /// # Errors
    /// A file cannot be read, or is not a record of this schema.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let entries =
            fs::read_dir(folder).with_context(|| format!("failed to read the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = fs::read_to_string(&path);
                let text = text.with_context(|| format!("failed to read the evidence {}", path.display()))?;
                let evidence: Self = serde_json::from_str(&text)
                    .with_context(|| format!("failed to understand the evidence {}", path.display()))?;
                anyhow::ensure!(
                    evidence.schema == SCHEMA,
                    "failed to understand the evidence {}: its schema is {}, not {SCHEMA}",
                    path.display(),
                    evidence.schema
                );
                all.push(evidence);
            }
        }
        all.sort_by(|a, b| a.cell.cmp(&b.cell));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], None)]
    #[case(&[3.0], Some((1, 3.0, 3.0, 3.0)))]
    #[case(&[5.0, 1.0, 3.0], Some((3, 1.0, 3.0, 5.0)))]
    #[case(&[4.0, 1.0, 2.0, 9.0], Some((4, 1.0, 3.0, 9.0)))]
    fn a_summary_is_made_of_order_statistics(#[case] of: &[f64], #[case] expected: Option<(usize, f64, f64, f64)>) {
        let summary = Summary::of(of.iter().copied());
        assert_eq!(summary.map(|s| (s.n, s.min_ms, s.median_ms, s.max_ms)), expected);
    }
}
