//! `conformance test`: every test of the project, through cargo-nextest.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::nextest;
use crate::tools::{cargo, workspace};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Passed on to `cargo nextest run --workspace`: a filter, a profile, `--no-capture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

pub(super) fn test(args: &Args) -> Result<u8> {
    nextest::install()?;
    // From here on it is cargo-nextest alone: its exit code, its signals, its summary at the end.
    let error =
        Command::new(cargo()).args(["nextest", "run", "--workspace"]).args(&args.args).current_dir(workspace()).exec();
    Err(error).context("failed to start cargo-nextest")
}
