//! What the cells of a run say about each question.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Line;
use crate::cell::{CandidateId, Cell, DeliveryId, Reach};
use crate::check::{self, Question};
use crate::matrix;
use crate::verdict::{Grade, Verdict};

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
            Self::Works => "works",
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
    /// How strong the evidence is, where there is any.
    pub grade: Option<Grade>,
    /// What decided it.
    pub because: String,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.grade {
            Some(grade) => write!(f, "{} ({grade})", self.answer),
            None => write!(f, "{}", self.answer),
        }
    }
}

impl Answered {
    fn nothing(because: String) -> Self {
        Self { answer: Answer::NotRun, grade: None, because }
    }
}

/// One candidate's answer to a question. A rotation has to reach the container under one delivery; all else has to hold
/// under every delivery that was tried. What could not be tried, since something that it takes is not there, says nothing.
pub(super) fn answer(question: Question, candidate: CandidateId, cells: &[Line]) -> Answered {
    let (absent, answering): (Vec<_>, Vec<_>) = cells
        .iter()
        .filter(|line| line.cell.place.candidate == candidate)
        .filter(|line| check::by_id(&line.cell.check).is_some_and(|c| c.about().answers.contains(&question)))
        .partition(|line| line.is_absent());
    if !absent.is_empty() && answering.is_empty() {
        let deliveries: BTreeSet<_> = absent.iter().map(|line| line.cell.place.delivery).collect();
        return Answered::nothing(format!("what is asked for is not there: {}", names(deliveries.into_iter())));
    }
    let mut by_delivery = BTreeMap::<DeliveryId, Vec<&Line>>::new();
    for line in answering {
        by_delivery.entry(line.cell.place.delivery).or_default().push(line);
    }
    let mut answers: Vec<_> = by_delivery.iter().map(|(delivery, lines)| (*delivery, delivery_answer(lines))).collect();
    if matches!(question, Question::Rotation | Question::Latency) {
        return any_delivery(&mut answers);
    }
    let Some((_, decisive)) = answers.iter().max_by_key(|(_, answered)| answered.answer) else {
        return Answered::nothing("no cell was asked for".into());
    };
    let because = match decisive.answer {
        Answer::Pass | Answer::Works => {
            let cells: usize = by_delivery.values().map(Vec::len).sum();
            format!("{cells} {}: {}", if cells == 1 { "cell" } else { "cells" }, names(by_delivery.keys().copied()))
        }
        Answer::Maybe => gaps(&by_delivery),
        _ => decisive.because.clone(),
    };
    Answered { because, ..decisive.clone() }
}

/// Every gap that keeps the answer from a pass, once, in the order of the checks.
fn gaps(by_delivery: &BTreeMap<DeliveryId, Vec<&Line>>) -> String {
    let mut gaps = Vec::new();
    for line in by_delivery.values().flatten().filter(|line| line.verdict == Verdict::NotSupported) {
        if !gaps.contains(&line.reason.as_str()) {
            gaps.push(&line.reason);
        }
    }
    gaps.join("; ")
}

/// A pass takes all cells of the matrix that answer the question; what fails, fails by one.
pub(super) fn whole_answer(question: Question, candidate: CandidateId, cells: &[Line], answered: Answered) -> Answered {
    let answers = |cell: &Cell| {
        cell.place.candidate == candidate
            && check::by_id(&cell.check).is_some_and(|check| check.about().answers.contains(&question))
    };
    let asked = cells.iter().filter(|line| answers(&line.cell)).count();
    // Other platforms are other runs.
    let here = |cell: &Cell| cells.iter().any(|line| line.cell.place.platform == cell.place.platform);
    // Whoever's cluster it is, nobody breaks it: those cells count where they were asked for.
    let counts =
        |cell: &Cell| !check::needs_scratch(&cell.check) || cells.iter().any(|line| line.cell.check == cell.check);
    let all = matrix::cells().iter().filter(|cell| answers(cell) && here(cell) && counts(cell)).count();
    match answered.answer {
        Answer::Pass | Answer::Works | Answer::Maybe if asked < all => {
            Answered::nothing(format!("only {asked} of its {all} cells were asked for"))
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
        return Answered::nothing("no cell was asked for".into());
    };
    Answered {
        answer: rank(worst),
        grade: worst.grade,
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
        return Answered::nothing("no cell was asked for".into());
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
    Answered { because, ..(*best).clone() }
}

fn names(deliveries: impl Iterator<Item = DeliveryId>) -> String {
    deliveries.map(|delivery| delivery.to_string()).collect::<Vec<_>>().join(", ")
}
