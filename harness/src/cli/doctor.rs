//! `conformance doctor`.

use anstyle::AnsiColor;
use anyhow::Result;

use super::{EXIT_ERROR, EXIT_PASSED, Output};
use crate::reach::{Machine, State};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn doctor(args: &Args) -> Result<u8> {
    let machine = Machine::look(&args.output.folder()).await;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&machine)?);
    } else {
        anstream::print!("{}", in_words(&machine));
    }
    Ok(if machine.is_ready() { EXIT_PASSED } else { EXIT_ERROR })
}

fn in_words(machine: &Machine) -> String {
    let (green, yellow, red) =
        (AnsiColor::Green.on_default(), AnsiColor::Yellow.on_default(), AnsiColor::Red.on_default());
    let mut text = String::new();
    for finding in &machine.findings {
        let (style, word) = match (&finding.state, finding.optional) {
            (State::Here(_), _) => (green, "here"),
            (State::Missing(_), false) => (red, "missing"),
            (State::Missing(_) | State::Obtainable(_), _) => (yellow, "absent"),
        };
        text += &format!("{style}{word:<8}{style:#} {:<14} {}\n", finding.name, finding.state.text());
        if !matches!(finding.state, State::Here(_)) {
            text += &format!("         {:<14} for {}: {}\n", "", finding.purpose, finding.remedy);
        }
    }
    text += if machine.is_ready() {
        "\nThe default run can start: cargo conformance run\n"
    } else {
        "\nThe default run cannot start before what is missing is there.\n"
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::Finding;

    #[test]
    fn every_state_says_what_to_do() {
        let finding =
            |name, state, optional| Finding { name, purpose: "cells", state, remedy: "do this".into(), optional };
        let machine = Machine {
            findings: vec![
                finding("cargo", State::Here("cargo 1.95.0".into()), false),
                finding("openbao", State::Obtainable("not fetched yet".into()), false),
                finding("output", State::Missing("read-only".into()), false),
                finding("docker", State::Missing("no engine answers".into()), true),
            ],
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&in_words(&machine)).to_string());
    }
}
