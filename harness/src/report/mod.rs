//! The scorecard of a run: questions × candidates, and every cell, from the evidence alone.

mod markdown;
mod terminal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::markdown::markdown;
pub use self::terminal::terminal;
use crate::cell::{CandidateId, Cell, DeliveryId, Reach};
use crate::check::{self, Question};
use crate::evidence::{Evidence, Summary};
use crate::matrix;
use crate::run::Run;
use crate::verdict::{Grade, Verdict};

/// The longest that a default run may take, build excluded, in milliseconds: the suite's own promise.
pub const WALL_LIMIT_MS: f64 = 60_000.0;

/// How much longer a run may take than the waits in it that no code can shorten.
pub const WAIT_RATIO_LIMIT: f64 = 1.5;

/// What the evidence says about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing was held that answers it.
    NotRun,
    /// It holds, against the real thing.
    Pass,
    /// It holds against a stand-in: the suite works, and nothing is known about the candidate.
    Works,
    /// It would hold but for a capability that the candidate lacks.
    Maybe,
    /// It does not hold.
    Fail,
    /// The suite or its surroundings broke: nothing is known.
    Error,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotRun => "not-run",
            Self::Pass => "pass",
            Self::Works => "works (stand-in)",
            Self::Maybe => "maybe",
            Self::Fail => "fail",
            Self::Error => "error",
        })
    }
}

/// A question's answer for one candidate, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// What decided it.
    pub because: String,
}

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
    /// Every cell that was asked for.
    pub cells: Vec<Line>,
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
        let answers = Question::ALL.map(|question| {
            let each = CandidateId::ALL.map(|candidate| {
                let answered = answer(question, candidate, &cells);
                (candidate, if whole { whole_answer(question, candidate, &cells, answered) } else { answered })
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
            cells,
        }
    }

    /// The highest verdict of all cells; a cell without evidence counts as an error of the suite.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.cells.iter().map(|line| match line.verdict {
            Verdict::NotRun => Verdict::Error,
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
    Took { wall_ms: wall, unavoidable_ms: evidence.iter().map(|e| e.record.unavoidable_ms).sum() }
}

/// One candidate's answer to a question. A rotation has to reach the container under one delivery; all else has to hold
/// under every delivery that was tried.
fn answer(question: Question, candidate: CandidateId, cells: &[Line]) -> Answered {
    let answering: Vec<_> = cells
        .iter()
        .filter(|line| line.cell.place.candidate == candidate)
        .filter(|line| check::by_id(&line.cell.check).is_some_and(|c| c.about().answers.contains(&question)))
        .collect();
    let mut by_delivery = BTreeMap::<DeliveryId, Vec<&Line>>::new();
    for line in answering {
        by_delivery.entry(line.cell.place.delivery).or_default().push(line);
    }
    let mut answers: Vec<_> = by_delivery.iter().map(|(delivery, lines)| (*delivery, delivery_answer(lines))).collect();
    if matches!(question, Question::Rotation | Question::Latency) {
        return any_delivery(&mut answers);
    }
    let Some((_, decisive)) = answers.iter().max_by_key(|(_, answered)| answered.answer) else {
        return Answered { answer: Answer::NotRun, because: "no cell was asked for".into() };
    };
    let because = match decisive.answer {
        Answer::Pass | Answer::Works => {
            let cells: usize = by_delivery.values().map(Vec::len).sum();
            format!("{cells} {}: {}", if cells == 1 { "cell" } else { "cells" }, names(by_delivery.keys().copied()))
        }
        _ => decisive.because.clone(),
    };
    Answered { answer: decisive.answer, because }
}

/// A pass takes all cells of the matrix that answer the question; what fails, fails by one.
fn whole_answer(question: Question, candidate: CandidateId, cells: &[Line], answered: Answered) -> Answered {
    let answers = |cell: &Cell| {
        cell.place.candidate == candidate
            && check::by_id(&cell.check).is_some_and(|check| check.about().answers.contains(&question))
    };
    let asked = cells.iter().filter(|line| answers(&line.cell)).count();
    let all = matrix::cells().iter().filter(|cell| answers(cell)).count();
    match answered.answer {
        Answer::Pass | Answer::Works | Answer::Maybe if asked < all => {
            Answered { answer: Answer::NotRun, because: format!("only {asked} of its {all} cells were asked for") }
        }
        _ => answered,
    }
}

/// The answer under one delivery: the worst of its cells decides.
fn delivery_answer(lines: &[&Line]) -> Answered {
    let rank = |line: &Line| match (line.verdict, line.grade) {
        (Verdict::Pass, Some(Grade::StandIn)) => Answer::Works,
        (Verdict::Pass, _) => Answer::Pass,
        (Verdict::NotSupported, _) => Answer::Maybe,
        (Verdict::Fail, _) => Answer::Fail,
        // Asked for and not held: nothing is known.
        (Verdict::Error | Verdict::NotRun, _) => Answer::Error,
    };
    let Some(worst) = lines.iter().max_by_key(|line| rank(line)) else {
        return Answered { answer: Answer::NotRun, because: "no cell was asked for".into() };
    };
    Answered {
        answer: rank(worst),
        because: format!("{} ({}): {}", worst.cell.check, worst.cell.place.delivery, worst.reason),
    }
}

/// One delivery that works is enough. The negative control has to hold, too: without it no arrival means anything.
fn any_delivery(answers: &mut Vec<(DeliveryId, Answered)>) -> Answered {
    let control = |delivery: &DeliveryId| delivery.reach() == Reach::Nothing;
    if let Some((_, broken)) =
        answers.iter().find(|(d, a)| control(d) && !matches!(a.answer, Answer::Pass | Answer::Works))
    {
        return broken.clone();
    }
    answers.retain(|(delivery, _)| !control(delivery));
    let Some(best) = answers.iter().map(|(_, answered)| answered).min_by_key(|answered| answered.answer) else {
        return Answered { answer: Answer::NotRun, because: "no cell was asked for".into() };
    };
    if !matches!(best.answer, Answer::Pass | Answer::Works) {
        // One delivery that works would be enough: while nothing is known of one, nothing is known.
        let unknown = answers.iter().map(|(_, answered)| answered).find(|answered| answered.answer == Answer::Error);
        return unknown.unwrap_or(best).clone();
    }
    let (hold, not): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answered)| answered.answer == best.answer);
    let mut because = format!("by {}", names(hold.iter().map(|(delivery, _)| *delivery)));
    if !not.is_empty() {
        because += &format!("; not by {}", names(not.iter().map(|(delivery, _)| *delivery)));
    }
    Answered { answer: best.answer, because }
}

fn names(deliveries: impl Iterator<Item = DeliveryId>) -> String {
    deliveries.map(|delivery| delivery.to_string()).collect::<Vec<_>>().join(", ")
}

/// The cells' counts in words: `51 pass, 1 fail`.
fn totals(scorecard: &Scorecard) -> String {
    let counts = scorecard.totals.iter().rev().map(|(verdict, count)| format!("{count} {verdict}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Wall time against the waits that no code can shorten, in words.
fn took_in_words(took: Took) -> String {
    let Took { wall_ms, unavoidable_ms } = took;
    let seconds = |ms: f64| ms / 1e3;
    let mut words = format!(
        "{:.1} s, build excluded; waits that no code can shorten add up to {:.1} s",
        seconds(wall_ms),
        seconds(unavoidable_ms)
    );
    if unavoidable_ms > 0.0 {
        words += &format!(" (ratio {:.2}, at most {WAIT_RATIO_LIMIT})", wall_ms / unavoidable_ms);
    }
    if wall_ms > WALL_LIMIT_MS {
        words += &format!("; longer than the {:.0} s that a default run may take", seconds(WALL_LIMIT_MS));
    }
    words
}

#[cfg(test)]
mod tests;
