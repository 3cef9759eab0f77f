//! What learning of a rotation costs: the API calls of each trigger, against documented limits and prices.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::candidate::Trigger;
use crate::candidate::tariff::{Calls, tariff};
use crate::cell::{CandidateId, DeliveryId};
use crate::evidence::Evidence;

/// One trigger of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerLine {
    /// The candidate.
    pub candidate: CandidateId,
    /// The trigger.
    pub trigger: Trigger,
    /// The deliveries that it told of rotations.
    pub deliveries: BTreeSet<DeliveryId>,
    /// The API calls that it makes for one container.
    pub calls: Calls,
    /// The share of the allowed calls that the waiting alone takes, between 0 and 1 or more, where a limit is documented.
    pub share: Option<f64>,
    /// US dollars for a month of waiting, where calls are charged for.
    pub usd_per_month: Option<f64>,
    /// The documented limit and price, in words.
    pub limit: String,
    /// Where they are documented.
    pub source: String,
}

/// The triggers that were at work in a run, in the order of candidates and triggers.
pub(super) fn lines(evidence: &[Evidence]) -> Vec<TriggerLine> {
    let mut lines = BTreeMap::<_, TriggerLine>::new();
    for one in evidence {
        let Some(used) = one.record.trigger else { continue };
        let place = one.cell.place;
        let tariff = tariff(place.candidate);
        let line = lines.entry((place.candidate, used.trigger)).or_insert_with(|| TriggerLine {
            candidate: place.candidate,
            trigger: used.trigger,
            deliveries: BTreeSet::new(),
            calls: used.calls,
            share: used.calls.share(tariff),
            usd_per_month: used.calls.usd_per_month(tariff),
            limit: tariff.limit.to_owned(),
            source: tariff.source.to_owned(),
        });
        line.deliveries.insert(place.delivery);
    }
    lines.into_values().collect()
}

/// The header of a table of triggers.
pub(super) const HEADER: [&str; 7] =
    ["candidate", "trigger", "tells", "calls an hour, waiting", "calls a rotation", "of the limit", "USD a month"];

impl TriggerLine {
    /// A row of that table.
    pub(super) fn row(&self) -> Vec<String> {
        let deliveries: Vec<_> = self.deliveries.iter().map(ToString::to_string).collect();
        vec![
            self.candidate.to_string(),
            self.trigger.to_string(),
            deliveries.join(", "),
            format!("{:.0}", self.calls.per_hour),
            self.calls.per_rotation.to_string(),
            self.share.map_or_else(|| "no limit".into(), percent),
            self.usd_per_month.map_or_else(|| "-".into(), |usd| format!("{usd:.2}")),
        ]
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        small if small < 0.1 => "under 0.1 %".into(),
        percent => format!("{percent:.1} %"),
    }
}

/// One line for each candidate: its limits, and where they are documented.
pub(super) fn limits(lines: &[TriggerLine]) -> Vec<String> {
    let mut said = BTreeMap::new();
    for line in lines {
        said.entry(line.candidate).or_insert_with(|| format!("{}: {} ({})", line.candidate, line.limit, line.source));
    }
    said.into_values().collect()
}
