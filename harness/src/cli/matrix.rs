//! `conformance matrix`.

use anyhow::Result;

use super::EXIT_PASSED;
use crate::matrix::{Selection, rows};
use crate::reach::Machine;
use crate::run::default_output;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn matrix(args: &Args) -> Result<u8> {
    let machine = Machine::look(&default_output()).await;
    let rows = rows(args.selection.cells()?, &machine);
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(EXIT_PASSED);
    }
    let mut check = String::new();
    for row in &rows {
        if row.cell.check != check {
            check.clone_from(&row.cell.check);
            anstream::println!("{check}: {}", row.sentence);
        }
        let state = if row.missing.is_empty() { "ready".to_owned() } else { row.missing.join("; ") };
        anstream::println!("  {:<32} needs {:<38} {state}", row.cell.place.to_string(), row.needs.join(", "));
    }
    anstream::println!("\n{} cells", rows.len());
    Ok(EXIT_PASSED)
}
