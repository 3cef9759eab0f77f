//! The scorecard of a run: questions × candidates, and every cell, from the evidence alone.

mod answer;
mod markdown;
mod terminal;
mod triggers;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, Answered};
pub use self::markdown::markdown;
pub use self::terminal::terminal;
pub use self::triggers::TriggerLine;
use crate::cell::{CandidateId, Cell, PlatformId};
use crate::check::Question;
use crate::evidence::{Evidence, Summary};
use crate::run::Run;
use crate::verdict::{Grade, Verdict};

/// The longest that a whole run on a platform may take, build excluded, in milliseconds: the suite's own promise.
pub const fn wall_limit_ms(platform: PlatformId) -> f64 {
    match platform {
        PlatformId::Process => 60_000.0,
        PlatformId::Docker => 180_000.0,
        PlatformId::Kubernetes => 300_000.0,
    }
}

/// How much longer a run may take than the waits in it that no code can shorten.
pub const WAIT_RATIO_LIMIT: f64 = 1.5;

/// One cell, as the scorecard lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// Its verdict.
    pub verdict: Verdict,
    /// How strong the evidence is.
    pub grade: Option<Grade>,
    /// Why.
    pub reason: String,
    /// The latency of its rotations, where it made any.
    pub latency: Option<Summary>,
}

/// How long the run took, in milliseconds, build excluded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// From the beginning of the first cell to the end of the last.
    pub wall_ms: f64,
    /// All cells' waits that no code can shorten, added up.
    pub unavoidable_ms: f64,
    /// The longest that it may take.
    pub limit_ms: f64,
}

/// The scorecard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scorecard {
    /// The run.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// How many cells ended with which verdict.
    pub totals: BTreeMap<Verdict, usize>,
    /// How long it took.
    pub took: Took,
    /// Name and version of everything that took part.
    pub versions: BTreeMap<String, BTreeSet<String>>,
    /// Every question's answer for every candidate.
    pub answers: BTreeMap<Question, BTreeMap<CandidateId, Answered>>,
    /// By what each candidate's deliveries learn of a rotation, and what that costs.
    pub triggers: Vec<TriggerLine>,
    /// Where a platform itself shows values to whoever may ask it, by place: a delivery's design, and no leak of it.
    #[serde(default)]
    pub exposed: BTreeMap<String, BTreeSet<String>>,
    /// Every cell that was asked for.
    pub cells: Vec<Line>,
}

impl Line {
    /// Whether the cell itself found that what its delivery takes is not there. One that left no evidence tells nothing.
    fn is_absent(&self) -> bool {
        self.verdict == Verdict::NotRun && self.grade.is_some()
    }
}

impl Scorecard {
    /// From the evidence of a run.
    pub fn new(run: &Run, evidence: &[Evidence]) -> Self {
        Self::judge(run, evidence, true)
    }

    /// With `whole`, a question of which some cells were not even asked for is not answered by the others.
    fn judge(run: &Run, evidence: &[Evidence], whole: bool) -> Self {
        let cells: Vec<_> = run.cells.iter().map(|cell| line(cell, evidence)).collect();
        let mut totals = BTreeMap::new();
        for cell in &cells {
            *totals.entry(cell.verdict).or_default() += 1;
        }
        let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, version) in evidence.iter().flat_map(|evidence| &evidence.record.versions) {
            versions.entry(name.clone()).or_default().insert(version.clone());
        }
        let mut exposed = BTreeMap::<_, BTreeSet<_>>::new();
        for held in evidence.iter().filter(|evidence| !evidence.record.exposed.is_empty()) {
            exposed.entry(held.cell.place.to_string()).or_default().extend(held.record.exposed.iter().cloned());
        }
        let answers = Question::ALL.map(|question| {
            let each = CandidateId::ALL.map(|candidate| {
                let answered = answer::answer(question, candidate, &cells);
                (candidate, if whole { answer::whole_answer(question, candidate, &cells, answered) } else { answered })
            });
            (question, each.into_iter().collect())
        });
        Self {
            run: run.id.clone(),
            started: run.started,
            totals,
            took: took(evidence),
            versions,
            answers: answers.into_iter().collect(),
            triggers: triggers::lines(evidence),
            exposed,
            cells,
        }
    }

    /// The highest verdict of all cells; a cell without evidence counts as an error of the suite.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.cells.iter().map(|line| match line.verdict {
            Verdict::NotRun if !line.is_absent() => Verdict::Error,
            verdict => verdict,
        });
        verdicts.fold(Verdict::NotRun, Verdict::raise)
    }
}

fn line(cell: &Cell, evidence: &[Evidence]) -> Line {
    match evidence.iter().find(|evidence| evidence.cell == *cell) {
        Some(found) => Line {
            cell: cell.clone(),
            verdict: found.judgement.verdict,
            grade: Some(found.grade),
            reason: found.judgement.reason.clone(),
            latency: found.latency,
        },
        None => Line {
            cell: cell.clone(),
            verdict: Verdict::NotRun,
            grade: None,
            reason: "it left no evidence: it did not run, or was ended before it could write any".into(),
            latency: None,
        },
    }
}

fn took(evidence: &[Evidence]) -> Took {
    let ends = evidence.iter().map(|e| e.started + SignedDuration::from_micros((e.took_ms * 1e3) as i64));
    let wall = match (evidence.iter().map(|e| e.started).min(), ends.max()) {
        (Some(first), Some(last)) => last.duration_since(first).as_secs_f64() * 1e3,
        _ => 0.0,
    };
    let limits = evidence.iter().map(|e| wall_limit_ms(e.cell.place.platform));
    Took {
        wall_ms: wall,
        // The sum of nothing would be minus zero.
        unavoidable_ms: evidence.iter().map(|e| e.record.unavoidable_ms).fold(0.0, |sum, waited| sum + waited),
        limit_ms: limits.fold(0.0, f64::max),
    }
}

/// The cells' counts in words: `51 pass, 1 fail`.
fn totals(scorecard: &Scorecard) -> String {
    let counts = scorecard.totals.iter().rev().map(|(verdict, count)| format!("{count} {verdict}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// What is not there, though deliveries take it: a line for each of them, and not for each of its cells.
fn absent_in_words(scorecard: &Scorecard) -> Vec<String> {
    let mut absent = BTreeMap::<_, (BTreeSet<CandidateId>, usize)>::new();
    for line in scorecard.cells.iter().filter(|line| line.is_absent()) {
        let place = line.cell.place;
        let (candidates, cells) = absent.entry((place.delivery, place.platform, &line.reason)).or_default();
        candidates.insert(place.candidate);
        *cells += 1;
    }
    let words = absent.into_iter().map(|((delivery, platform, reason), (candidates, cells))| {
        let candidates: Vec<_> = candidates.iter().map(ToString::to_string).collect();
        let cells = if cells == 1 { "1 cell".to_owned() } else { format!("{cells} cells") };
        format!("{delivery} on {platform}, {cells} of {}: {reason}", candidates.join(", "))
    });
    words.collect()
}

/// What is said above such lines.
const ABSENT: &str = "Not run, since something that the delivery takes is not there";

/// Where a platform itself shows values, a line for each place.
fn exposed_in_words(scorecard: &Scorecard) -> impl Iterator<Item = String> {
    scorecard
        .exposed
        .iter()
        .map(|(place, shown)| format!("{place}: {}", shown.iter().cloned().collect::<Vec<_>>().join(", ")))
}

/// What is said above such lines.
const EXPOSED: &str = "Values that the platform itself shows to whoever may ask it, by the delivery's design";

/// Wall time against the waits that no code can shorten, in words.
fn took_in_words(took: Took) -> String {
    let Took { wall_ms, unavoidable_ms, limit_ms } = took;
    let seconds = |ms: f64| ms / 1e3;
    let mut words = format!(
        "{:.1} s, build excluded; waits that no code can shorten add up to {:.1} s",
        seconds(wall_ms),
        seconds(unavoidable_ms)
    );
    if unavoidable_ms > 0.0 {
        words += &format!(" (ratio {:.2}, at most {WAIT_RATIO_LIMIT})", wall_ms / unavoidable_ms);
    }
    if wall_ms > limit_ms {
        words += &format!("; longer than the {:.0} s that a whole run may take", seconds(limit_ms));
    }
    words
}

#[cfg(test)]
mod tests;
