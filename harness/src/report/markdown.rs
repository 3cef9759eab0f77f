//! The scorecard in Markdown: sorted, summary first, so that two of them can be compared line by line.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use super::{ABSENT, EXPOSED, Scorecard, absent_in_words, exposed_in_words, took_in_words, totals, triggers};
use crate::cell::CandidateId;

/// The scorecard as a Markdown page.
pub fn markdown(scorecard: &Scorecard) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, scorecard);
    page
}

fn write_page(page: &mut String, scorecard: &Scorecard) -> std::fmt::Result {
    writeln!(page, "# Scorecard of run {}\n", scorecard.run)?;
    writeln!(page, "{}.\n", totals(scorecard))?;
    writeln!(
        page,
        "Began {}. Took {}.\n",
        scorecard.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
        took_in_words(scorecard.took)
    )?;
    for (name, versions) in &scorecard.versions {
        writeln!(page, "- {name}: {}", versions.iter().cloned().collect::<Vec<_>>().join(", "))?;
    }
    let mut header = vec!["question".to_owned()];
    header.extend(CandidateId::ALL.iter().map(|candidate| candidate.title().to_owned()));
    let rows = scorecard.answers.iter().map(|(question, each)| {
        let mut row = vec![question.sentence().to_owned()];
        row.extend(each.values().map(|answered| format!("**{answered}**: {}", answered.because)));
        row
    });
    writeln!(page, "\n## Questions\n\n{}\n", table(header, rows))?;
    if !scorecard.triggers.is_empty() {
        let rows = scorecard.triggers.iter().map(triggers::TriggerLine::row);
        writeln!(page, "## Triggers\n\n{}\n", table(triggers::HEADER.map(str::to_owned).to_vec(), rows))?;
        for limit in triggers::limits(&scorecard.triggers) {
            writeln!(page, "- {limit}")?;
        }
        writeln!(page)?;
    }
    if !scorecard.exposed.is_empty() {
        writeln!(page, "## Exposed\n\n{EXPOSED}:\n")?;
        for line in exposed_in_words(scorecard) {
            writeln!(page, "- {line}")?;
        }
        writeln!(page)?;
    }
    let absent = absent_in_words(scorecard);
    if !absent.is_empty() {
        writeln!(page, "## Not run\n\n{ABSENT}:\n")?;
        for line in absent {
            writeln!(page, "- {line}")?;
        }
        writeln!(page)?;
    }
    let header = ["check", "candidate", "platform", "delivery", "verdict", "grade", "median", "longest", "reason"];
    let rows = scorecard.cells.iter().filter(|line| !line.is_absent()).map(|line| {
        let place = line.cell.place;
        let ms = |pick: fn(&crate::evidence::Summary) -> f64| {
            line.latency.as_ref().map_or_else(String::new, |summary| format!("{:.1} ms", pick(summary)))
        };
        vec![
            format!("`{}`", line.cell.check),
            place.candidate.to_string(),
            place.platform.to_string(),
            place.delivery.to_string(),
            format!("**{}**", line.verdict),
            line.grade.map_or_else(String::new, |grade| grade.to_string()),
            ms(|summary| summary.median_ms),
            ms(|summary| summary.max_ms),
            line.reason.clone(),
        ]
    });
    writeln!(page, "## Cells\n\n{}\n", table(header.map(str::to_owned).to_vec(), rows))?;
    writeln!(page, "## Reproduce\n\n```sh\ncargo conformance run\n```")
}

fn table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let escaped = |cells: Vec<String>| cells.into_iter().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(escaped(header));
    for row in rows {
        table.add_row(escaped(row));
    }
    table
}
