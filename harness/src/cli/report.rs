//! `conformance report`.

use anyhow::Result;
use clap::ValueEnum;

use super::run::{conclude, exit_code};
use super::{EXIT_PASSED, Output};
use crate::error::BadInput;
use crate::report::{markdown, terminal};
use crate::run::Run;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The run's id, or `latest`; without one, the runs are listed
    run: Option<String>,
    /// How to print the scorecard
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

pub(super) fn report(args: &Args) -> Result<u8> {
    let output = args.output.folder();
    let runs = Run::list(&output);
    let Some(wanted) = &args.run else {
        for run in &runs {
            let state = if run.is_alive() { "at work" } else { "ended" };
            anstream::println!("{}  {} cells, {state}", run.id, run.cells.len());
        }
        return Ok(EXIT_PASSED);
    };
    // A benchmark is a run without cells.
    let latest = || runs.iter().rev().find(|run| !run.cells.is_empty());
    let run = if wanted == "latest" { latest() } else { runs.iter().find(|run| run.id == *wanted) };
    let run = run.ok_or_else(|| {
        BadInput::new(
            "RUN",
            format!("there is no run `{wanted}` in {}", output.display()),
            "`cargo conformance report` lists those that there are",
        )
    })?;
    let scorecard = conclude(run)?;
    match args.format {
        Format::Text => anstream::print!("{}", terminal(&scorecard)),
        Format::Markdown => anstream::print!("{}", markdown(&scorecard)),
        Format::Json => anstream::println!("{}", serde_json::to_string_pretty(&scorecard)?),
    }
    Ok(exit_code(&scorecard))
}
