//! `conformance test`: every test of the project, through cargo-nextest.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::nextest::{self, ENGINE_PROFILE};
use crate::reach;
use crate::tools::{cargo, workspace};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Passed on to `cargo nextest run --workspace`: a filter, a profile, `--no-capture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

pub(super) fn test(args: &Args) -> Result<u8> {
    nextest::install()?;
    let mut command = Command::new(cargo());
    command.args(["nextest", "run", "--workspace"]).current_dir(workspace());
    if !names_a_profile(&args.args) {
        match engine()? {
            Ok(()) => command.args(["--profile", ENGINE_PROFILE]),
            Err(why) => {
                anstream::eprintln!("without the platform `docker`: {why}");
                &mut command
            }
        };
    }
    // From here on it is cargo-nextest alone: its exit code, its signals, its summary at the end.
    let error = command.args(&args.args).exec();
    Err(error).context("failed to start cargo-nextest")
}

/// Whether a Docker engine answers: where one does, the tests of the platform `docker` are among all tests.
fn engine() -> Result<std::result::Result<(), crate::error::BadInput>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("failed to start the runtime")?.block_on(reach::docker("docker")))
}

fn names_a_profile(args: &[String]) -> bool {
    args.iter().any(|arg| arg.starts_with("--profile") || arg.starts_with("-P"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::names_a_profile;

    #[rstest]
    #[case(&["rotation::burst"], false)]
    #[case(&["--profile", "docker"], true)]
    #[case(&["--profile=docker"], true)]
    #[case(&["-Pdocker"], true)]
    fn whoever_names_a_profile_gets_that_one(#[case] args: &[&str], #[case] named: bool) {
        assert_eq!(names_a_profile(&args.iter().map(ToString::to_string).collect::<Vec<_>>()), named);
    }
}
