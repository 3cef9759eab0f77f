//! The matrix: every cell there is, what it needs, and whether this machine has it.

use serde::Serialize;

use crate::cell::{CandidateId, Cell, DeliveryId, Place, PlatformId};
use crate::check;
use crate::reach::Machine;

/// A cell and its needs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// What the check asserts.
    pub sentence: &'static str,
    /// What must be there to hold it.
    pub needs: Vec<&'static str>,
    /// What of that is missing on this machine.
    pub missing: Vec<String>,
}

/// The candidates and platforms that have a driver.
pub const PLACES: [(CandidateId, PlatformId); 12] = [
    (CandidateId::Vault, PlatformId::Process),
    (CandidateId::Doppler, PlatformId::Process),
    (CandidateId::Onepassword, PlatformId::Process),
    (CandidateId::Aws, PlatformId::Process),
    (CandidateId::Vault, PlatformId::Docker),
    (CandidateId::Doppler, PlatformId::Docker),
    (CandidateId::Onepassword, PlatformId::Docker),
    (CandidateId::Aws, PlatformId::Docker),
    (CandidateId::Vault, PlatformId::Kubernetes),
    (CandidateId::Doppler, PlatformId::Kubernetes),
    (CandidateId::Onepassword, PlatformId::Kubernetes),
    (CandidateId::Aws, PlatformId::Kubernetes),
];

/// Every cell, in the order of the reports: by candidate, platform, check, delivery.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (candidate, platform) in PLACES {
        for check in check::ALL {
            for delivery in DeliveryId::offered_by(candidate, platform) {
                let place = Place::new(candidate, platform, *delivery);
                if check.about().spread.holds_for(place) {
                    cells.push(Cell::new(check.about().id, place));
                }
            }
        }
    }
    cells
}

/// Which cells a command was asked for; an empty list means all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Hold only this check (repeatable): an id, or the part before the dot for a whole suite
    #[arg(long = "check", value_name = "ID")]
    pub checks: Vec<String>,
    /// Only this candidate (repeatable)
    #[arg(long = "candidate", value_name = "NAME")]
    pub candidates: Vec<CandidateId>,
    /// Only this platform (repeatable)
    #[arg(long = "platform", value_name = "NAME", default_values_t = [PlatformId::Process])]
    pub platforms: Vec<PlatformId>,
    /// Only this delivery (repeatable)
    #[arg(long = "delivery", value_name = "NAME")]
    pub deliveries: Vec<DeliveryId>,
}

impl Selection {
    /// The cells that were asked for.
    ///
    /// # Errors
    /// A check is unknown, or nothing is left.
    pub fn cells(&self) -> Result<Vec<Cell>, crate::error::BadInput> {
        use crate::error::BadInput;

        let suite = |id: &'static str| id.split('.').next().unwrap_or(id);
        let matches = |wanted: &str, id: &'static str| wanted == id || wanted == suite(id);
        for wanted in &self.checks {
            if !check::ALL.iter().any(|check| matches(wanted, check.about().id)) {
                let known: Vec<_> = check::ALL.iter().map(|check| check.about().id).collect();
                return Err(BadInput::new(
                    "--check",
                    format!("there is no check `{wanted}`"),
                    format!("use one of: {}", known.join(", ")),
                ));
            }
        }
        let cells: Vec<_> = cells()
            .into_iter()
            .filter(|cell| {
                let check = check::by_id(&cell.check).map_or("", |check| check.about().id);
                (self.checks.is_empty() || self.checks.iter().any(|wanted| matches(wanted, check)))
                    && among(&self.candidates, &cell.place.candidate)
                    && among(&self.platforms, &cell.place.platform)
                    && among(&self.deliveries, &cell.place.delivery)
            })
            .collect();
        if cells.is_empty() {
            return Err(BadInput::new(
                "the selection",
                "no cell of the matrix fits all of it",
                "see `cargo conformance matrix` for the cells that there are",
            ));
        }
        Ok(cells)
    }
}

fn among<T: PartialEq>(wanted: &[T], found: &T) -> bool {
    wanted.is_empty() || wanted.contains(found)
}

/// The rows of these cells, as this machine can hold them.
pub fn rows(cells: Vec<Cell>, machine: &Machine) -> Vec<Row> {
    cells
        .into_iter()
        .map(|cell| {
            let needs = needs(&cell);
            let missing = needs.iter().filter_map(|need| machine.missing(need)).collect();
            let sentence = check::by_id(&cell.check).map_or("", |check| check.about().sentence);
            Row { cell, sentence, needs, missing }
        })
        .collect()
}

/// What a cell needs of the machine.
fn needs(cell: &Cell) -> Vec<&'static str> {
    let place = cell.place;
    let mut needs = vec!["cargo", "cargo-nextest"];
    match place.platform {
        PlatformId::Process => needs.push("linux"),
        PlatformId::Docker => needs.push("docker"),
        PlatformId::Kubernetes if check::needs_scratch(&cell.check) => needs.push("scratch"),
        PlatformId::Kubernetes => needs.push("kubernetes"),
    }
    if place.candidate == CandidateId::Vault {
        needs.push("openbao");
    }
    needs
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_cell_is_there_once() {
        let cells = cells();
        let mut unique = cells.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), cells.len());
    }

    #[rstest]
    #[case::whole_suite(&["scope"], &[], 3 * 4 * 3)]
    #[case::one_check(&["rotation.burst"], &[DeliveryId::Restart], 4 * 3)]
    #[case::what_one_candidate_has(&["rotation.burst"], &[DeliveryId::ReloadWebhook], 1)]
    fn a_selection_narrows(#[case] checks: &[&str], #[case] deliveries: &[DeliveryId], #[case] expected: usize) {
        let checks = checks.iter().map(ToString::to_string).collect();
        let selection = Selection { checks, deliveries: deliveries.to_vec(), ..Selection::default() };
        assert_eq!(selection.cells().unwrap().len(), expected);
    }

    #[rstest]
    #[case::unknown_check(&["rotation.bursts"], &[])]
    #[case::nothing_left(&["rotation.no-downtime"], &[DeliveryId::Reload])]
    fn a_selection_of_nothing_is_bad_input(#[case] checks: &[&str], #[case] deliveries: &[DeliveryId]) {
        let checks = checks.iter().map(ToString::to_string).collect();
        let selection = Selection { checks, deliveries: deliveries.to_vec(), ..Selection::default() };
        assert!(selection.cells().is_err());
    }
}
