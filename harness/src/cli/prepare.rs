//! `conformance prepare`: what cargo-nextest runs before the first case.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result};
use rustix::process::getppid;

use super::nextest::{DOCKER_PROFILE, ENGINE_PROFILE, KUBERNETES_PROFILE};
use crate::cell::PlatformId;
use crate::matrix;
use crate::run::{Owner, RUN_FOLDER, Run, default_output};
use crate::tools;

pub(super) fn prepare() -> Result<u8> {
    if std::env::var_os(RUN_FOLDER).is_some() {
        // `cargo conformance run` has begun the run already.
        Run::current()?;
        return Ok(super::EXIT_PASSED);
    }
    let env_file = std::env::var_os("NEXTEST_ENV").context("failed to find NEXTEST_ENV: this is for cargo-nextest")?;
    let tools = tools::prepare(&|what| anstream::eprintln!("{what}"))?;
    // `cargo run` replaces itself by this command, so the parent is cargo-nextest, which lives as long as the run.
    let nextest = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    // cargo-nextest says which profile it runs.
    let profile = std::env::var("NEXTEST_PROFILE").unwrap_or_default();
    let platforms: &[_] = match profile.as_str() {
        DOCKER_PROFILE => &[PlatformId::Docker],
        KUBERNETES_PROFILE => &[PlatformId::Kubernetes],
        ENGINE_PROFILE => &[PlatformId::Process, PlatformId::Docker],
        _ => &[PlatformId::Process],
    };
    let cells = matrix::cells().into_iter().filter(|cell| platforms.contains(&cell.place.platform)).collect();
    let run = Run::begin(&default_output(), Owner::of(nextest), tools, None, cells)?;
    let mut env_file = OpenOptions::new().append(true).open(env_file).context("failed to open NEXTEST_ENV")?;
    writeln!(env_file, "{RUN_FOLDER}={}", run.folder.display()).context("failed to write NEXTEST_ENV")?;
    anstream::eprintln!("run {}: evidence goes to {}", run.id, run.folder.display());
    Ok(super::EXIT_PASSED)
}
