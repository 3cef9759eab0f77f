//! The scorecard for a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

use super::{ABSENT, Answer, EXPOSED, Scorecard, absent_in_words, exposed_in_words, took_in_words, totals, triggers};
use crate::cell::CandidateId;
use crate::verdict::Verdict;

/// The scorecard as text. It is coloured; print it through a stream that takes colours out where they do not belong.
pub fn terminal(scorecard: &Scorecard) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = cells(&mut text, scorecard);
    let _ = answers(&mut text, scorecard);
    let _ = learning(&mut text, scorecard);
    let _ = exposed(&mut text, scorecard);
    let _ = end(&mut text, scorecard);
    text
}

fn cells(text: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    // Of those, one line a delivery says enough.
    let held = || scorecard.cells.iter().filter(|line| !line.is_absent());
    let widest = |width: fn(&super::Line) -> usize| held().map(width).max().unwrap_or(0);
    let check = widest(|line| line.cell.check.len());
    let place = widest(|line| line.cell.place.to_string().len());
    for line in held() {
        let style = verdict_style(line.verdict);
        let grade = line.grade.map_or_else(|| "-".to_owned(), |grade| grade.to_string());
        writeln!(
            text,
            "{style}{:<13}{style:#} {:<check$}  {:<place$}  {grade:<11}  {}",
            line.verdict,
            line.cell.check,
            line.cell.place.to_string(),
            line.reason,
        )?;
    }
    writeln!(text)?;
    let absent = absent_in_words(scorecard);
    if absent.is_empty() {
        return Ok(());
    }
    let style = verdict_style(Verdict::NotRun);
    writeln!(text, "{style}{ABSENT}{style:#}:")?;
    for line in absent {
        writeln!(text, " {line}")?;
    }
    writeln!(text)
}

fn answers(text: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    let asked = |candidate: &CandidateId| scorecard.cells.iter().any(|line| line.cell.place.candidate == *candidate);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec![String::new()];
    header.extend(CandidateId::ALL.iter().map(ToString::to_string));
    table.set_header(header);
    for (question, each) in &scorecard.answers {
        let mut row = vec![question.sentence().to_owned()];
        row.extend(each.values().map(ToString::to_string));
        table.add_row(row);
    }
    writeln!(text, "{table}\n")?;
    for (question, each) in &scorecard.answers {
        for (candidate, answered) in each.iter().filter(|(candidate, _)| asked(candidate)) {
            let style = answer_style(answered.answer);
            let title = question.sentence().split(':').next().unwrap_or_default();
            writeln!(text, "{candidate}, {title}: {style}{answered}{style:#}: {}", answered.because)?;
        }
    }
    Ok(())
}

/// What learning of a rotation costs.
fn learning(text: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    if scorecard.triggers.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(triggers::HEADER);
    for line in &scorecard.triggers {
        table.add_row(line.row());
    }
    writeln!(text, "\nWhat learning of a rotation costs, for one container:\n{table}")?;
    for limit in triggers::limits(&scorecard.triggers) {
        writeln!(text, "{limit}")?;
    }
    Ok(())
}

fn exposed(text: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    if !scorecard.exposed.is_empty() {
        writeln!(text, "\n{EXPOSED}:")?;
    }
    for line in exposed_in_words(scorecard) {
        writeln!(text, " {line}")?;
    }
    Ok(())
}

fn end(text: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    writeln!(text, "\nrun {}: {}", scorecard.run, totals(scorecard))?;
    writeln!(text, "took {}", took_in_words(scorecard.took))
}

fn verdict_style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => AnsiColor::Green.on_default(),
        Verdict::Fail | Verdict::Error => AnsiColor::Red.on_default().bold(),
        Verdict::NotSupported | Verdict::NotRun => AnsiColor::Yellow.on_default(),
    }
}

fn answer_style(answer: Answer) -> Style {
    match answer {
        Answer::Pass => verdict_style(Verdict::Pass),
        Answer::Fail | Answer::Error => verdict_style(Verdict::Fail),
        Answer::Works | Answer::Maybe | Answer::NotRun => verdict_style(Verdict::NotSupported),
    }
}
