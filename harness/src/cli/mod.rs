//! The command `conformance`.

mod prepare;
mod tether;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::BadInput;

/// A verdict failed.
pub const EXIT_FAILED: u8 = 1;
/// The input cannot be used.
pub const EXIT_BAD_INPUT: u8 = 2;
/// The suite or its surroundings broke.
pub const EXIT_ERROR: u8 = 3;

#[derive(Parser)]
#[command(name = "conformance")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and find what cases need, and begin a run; called by cargo-nextest before the first case
    #[command(hide = true)]
    Prepare,
    /// Run a program that ends when its parent does
    #[command(hide = true)]
    Tether(tether::Tether),
}

/// Runs the command and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when this cannot be printed either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_BAD_INPUT } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Prepare => prepare::prepare(),
        Command::Tether(tether) => tether.exec(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            let bad_input = error.chain().any(|cause| cause.is::<BadInput>());
            ExitCode::from(if bad_input { EXIT_BAD_INPUT } else { EXIT_ERROR })
        }
    }
}
