//! The command `conformance`.

mod bench;
mod cluster;
mod contract;
mod doctor;
mod images;
mod matrix;
mod nextest;
mod prepare;
mod reap;
mod report;
mod run;
mod test;
mod tether;
mod within;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::error::BadInput;
use crate::run::default_output;

/// Every verdict is a pass, or a declared gap.
pub const EXIT_PASSED: u8 = 0;
/// A verdict failed.
pub const EXIT_FAILED: u8 = 1;
/// The input cannot be used.
pub const EXIT_BAD_INPUT: u8 = 2;
/// The suite or its surroundings broke, or a cell did not run.
pub const EXIT_ERROR: u8 = 3;

/// Decides, with evidence, which secrets backend a hosted application can trust.
///
/// A cell is a check held for a candidate, on a platform, under a delivery. Each cell provisions a secret, deploys a
/// probe that reads it, rotates it, and judges what the probe and the backend's audit log say. Every cell leaves one
/// evidence file; together they make the scorecard.
#[derive(Parser)]
#[command(
    name = "cargo conformance",
    version,
    after_help = "Exit codes: 0 every verdict is a pass or a declared gap; 1 a verdict is `fail`; 2 bad input; \
                  3 an `error` of the suite or its surroundings, or a cell that did not run; 130 or 143 interrupted.\n\n\
                  Examples:\n  cargo conformance run\n  cargo conformance run --check rotation --delivery reload\n  \
                  cargo conformance run --target ci/targets/vault-staging.toml\n  cargo conformance doctor\n  cargo conformance test"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up what is missing, hold the cells, print the scorecard
    Run(run::Args),
    /// Say what this machine has, what is missing, and what to do about it
    Doctor(doctor::Args),
    /// List every cell, what it needs, and whether this machine has it
    Matrix(matrix::Args),
    /// Print the scorecard of a run again
    Report(report::Args),
    /// Remove what killed runs left behind
    Reap(reap::Args),
    /// Measure the latency of each delivery beside yardsticks
    Bench(bench::Args),
    /// Compare the stand-ins with the services that they stand in for, endpoint by endpoint
    Contract(contract::Args),
    /// A fresh Kubernetes of one node, for as long as it is wanted
    Cluster(cluster::Args),
    /// Write the images of the platform `kubernetes` to files, to be pushed or loaded
    Images(images::Args),
    /// Run every test of the project: the cells, and what holds the suite itself to account
    Test(test::Args),
    /// Build and find what cases need, and begin a run; called by cargo-nextest before the first case
    #[command(hide = true)]
    Prepare,
    /// Run a program that ends when its parent does
    #[command(hide = true)]
    Tether(tether::Tether),
}

/// Where runs are kept.
#[derive(clap::Args)]
struct Output {
    /// The folder of the runs, each in a folder of its own [default: conformance in cargo's target folder]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Output {
    fn folder(&self) -> PathBuf {
        // Cases run in another folder than this command.
        let folder = self.output.clone().unwrap_or_else(default_output);
        std::path::absolute(&folder).unwrap_or(folder)
    }
}

/// Runs the command and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when this cannot be printed either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_BAD_INPUT } else { EXIT_PASSED });
        }
    };
    match command(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            let bad_input = error.chain().any(|cause| cause.is::<BadInput>());
            ExitCode::from(if bad_input { EXIT_BAD_INPUT } else { EXIT_ERROR })
        }
    }
}

fn command(command: Command) -> Result<u8> {
    match command {
        // Before anything else is set up: it stands at the start of every process of every cell.
        Command::Tether(tether) => return tether.exec(),
        Command::Prepare => return prepare::prepare(),
        Command::Test(args) => return test::test(&args),
        _ => {}
    }
    log();
    // One thread: whatever it starts is tied to it, and it lives as long as the command.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Doctor(args) => doctor::doctor(&args).await,
            Command::Matrix(args) => matrix::matrix(&args).await,
            Command::Report(args) => report::report(&args),
            Command::Reap(args) => reap::reap(&args).await,
            Command::Bench(args) => bench::bench(&args).await,
            Command::Contract(args) => contract::contract(&args).await,
            Command::Cluster(args) => cluster::cluster(&args).await,
            Command::Images(args) => images::images(&args).await,
            Command::Tether(_) | Command::Prepare | Command::Test(_) => Ok(EXIT_PASSED),
        }
    })
}

/// `CONFORMANCE_LOG=debug` shows what the harness does. Its events carry names, versions and identities, never a value:
/// the suite `redaction` holds them to that.
pub fn log() {
    let filter = EnvFilter::try_from_env("CONFORMANCE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A case that has a subscriber of its own keeps it.
    let _ = subscriber.with_ansi(std::io::stderr().is_terminal()).try_init();
}
