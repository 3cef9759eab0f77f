//! `conformance run`: the main job.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::within::{Within, find_source, within};
use super::{EXIT_ERROR, EXIT_FAILED, EXIT_PASSED, Output, nextest};
use crate::candidate;
use crate::cell::PlatformId;
use crate::check::needs_scratch;
use crate::error::BadInput;
use crate::evidence::Evidence;
use crate::matrix::Selection;
use crate::platform::kubernetes::{Choice, Source, chosen, has_own};
use crate::preflight::preflight;
use crate::reach::{docker as engine, writable};
use crate::reap;
use crate::redact::leaking_files;
use crate::report::{Scorecard, markdown, terminal};
use crate::run::{Owner, RUN_FOLDER, Run};
use crate::target::Targets;
use crate::tools;
use crate::verdict::Verdict;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Point at servers that are there already, as this file says; without it the harness starts its own
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// A profile of .config/nextest.toml [default: the platform's]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    cluster: Choice,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: Args) -> Result<u8> {
    args.cluster.choose();
    let mut selection = args.selection;
    // Found out before anything else: a selection that cannot be.
    selection.cells()?;
    let docker = selection.platforms.contains(&PlatformId::Docker);
    let kubernetes = selection.platforms.contains(&PlatformId::Kubernetes);
    let own = match (docker, kubernetes) {
        (_, true) => nextest::KUBERNETES_PROFILE,
        (true, false) => nextest::DOCKER_PROFILE,
        (false, false) => "default",
    };
    let profile = args.profile.unwrap_or_else(|| own.to_owned());
    nextest::check_profile(&profile)?;
    let output = args.output.folder();
    writable(&output)?;
    let target = args.target.map(|file| std::path::absolute(&file).unwrap_or(file));
    if let Some(file) = &target {
        let targets = Targets::read(file)?;
        // A file that names one candidate is about that one.
        if selection.candidates.is_empty() {
            selection.candidates = targets.named();
        }
        preflight(file, &targets).await?;
    }
    let cells = selection.cells()?;
    let left = reap::reap(None)?;
    if !left.processes.is_empty() || !left.folders.is_empty() {
        let (processes, folders) = (left.processes.len(), left.folders.len());
        anstream::eprintln!("removed what killed runs had left: {processes} processes, {folders} private folders");
    }
    if docker {
        engine("--platform docker").await?;
        for (run, what) in reap::containers(None).await? {
            anstream::eprintln!("removed what the killed run {run} had left: {what}");
        }
    }
    let source = if kubernetes { Some(find_source().await?) } else { None };
    let (cells, left_out): (Vec<_>, Vec<_>) =
        cells.into_iter().partition(|cell| source != Some(Source::Context) || !needs_scratch(&cell.check) || has_own());
    if !left_out.is_empty() {
        let remedy = "let the suite make one: --cluster scratch";
        let what = "a cluster that may be broken";
        if cells.is_empty() {
            return Err(BadInput::new("--check", format!("its cells need {what}"), remedy).into());
        }
        anstream::eprintln!("{} cells are left out: they need {what}; {remedy}", left_out.len());
    }
    nextest::install()?;
    let tools = tools::prepare(&|what| anstream::eprintln!("{what}"))?;
    let run = Run::begin(&output, Owner::of(std::process::id()), tools, target, cells)?;
    anstream::eprintln!("run {}: {} cells; evidence goes to {}", run.id, run.cells.len(), run.folder.display());
    let (ended, cleaned) = match source {
        None => (hold(&run, &profile).await?, Ok(())),
        Some(source) => match within(&run, source, async || hold(&run, &profile).await).await? {
            Within::Done(ended, cleaned) => (ended, cleaned),
            Within::Interrupted(signal) => (Ended { interrupted: Some(signal) }, Ok(())),
        },
    };
    let cleaned = cleaned.and(clean(&run, docker).await);
    let scorecard = conclude(&run)?;
    anstream::print!("\n{}", terminal(&scorecard));
    anstream::println!("scorecard: {}", run.folder.join("scorecard.md").display());
    if let Some(signal) = ended.interrupted {
        anstream::eprintln!("interrupted: what was held is kept, the rest is `not-run`");
        // As a shell reports it.
        return Ok(128 + signal);
    }
    // What was found out is told all the same.
    cleaned.context("failed to clean up; `cargo conformance reap` tries again")?;
    Ok(exit_code(&scorecard))
}

/// Removes what a cell left that its runner had to kill: it could not clean up after itself.
async fn clean(run: &Run, docker: bool) -> Result<()> {
    reap::sweep(&run.id)?;
    if docker {
        reap::sweep_containers(&run.id).await?;
    }
    for (candidate, removed) in candidate::reap(&run.targets()?, &format!("conformance-{}-", run.id)).await? {
        anstream::eprintln!("removed {removed} from {candidate}: its cell could not");
    }
    Ok(())
}

/// The exit code that a scorecard asks for.
pub(super) fn exit_code(scorecard: &Scorecard) -> u8 {
    match scorecard.verdict() {
        Verdict::NotSupported | Verdict::Pass => EXIT_PASSED,
        Verdict::Fail => EXIT_FAILED,
        Verdict::NotRun | Verdict::Error => EXIT_ERROR,
    }
}

struct Ended {
    interrupted: Option<u8>,
}

/// Holds the run's cells through cargo-nextest, with its progress on the terminal.
async fn hold(run: &Run, profile: &str) -> Result<Ended> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut child = Command::new(&run.tools.conformance)
        .args(["tether", "--parent", &std::process::id().to_string(), "--"])
        .args(nextest::command(profile, &run.cells))
        .env(RUN_FOLDER, &run.folder)
        .envs(chosen())
        // A verdict is no crash: a case that fails says why in one line.
        .env("RUST_BACKTRACE", "0")
        .current_dir(tools::workspace())
        .stdin(Stdio::null())
        // Its own group: a Ctrl-C reaches this command alone, which passes it on once.
        .process_group(0)
        .spawn()
        .context("failed to start cargo-nextest")?;
    let mut interrupted = None;
    let status = loop {
        let (signal, number) = tokio::select! {
            status = child.wait() => break status.context("failed to wait for cargo-nextest")?,
            _ = interrupt.recv() => (rustix::process::Signal::INT, 2),
            _ = terminate.recv() => (rustix::process::Signal::TERM, 15),
        };
        interrupted = Some(number);
        if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            rustix::process::kill_process(pid, signal).context("failed to interrupt cargo-nextest")?;
        }
    };
    tracing::debug!(%status, "cargo-nextest ended");
    Ok(Ended { interrupted })
}

/// Makes the scorecard from the evidence, writes it, and searches all that the run leaves for its own marker.
pub(super) fn conclude(run: &Run) -> Result<Scorecard> {
    let evidence = Evidence::read_all(&run.evidence_folder())?;
    let scorecard = Scorecard::new(run, &evidence);
    let write = |name: &str, text: String| {
        let file = run.folder.join(name);
        std::fs::write(&file, text).map_err(|error| {
            BadInput::new(
                file.display().to_string(),
                format!("failed to write the scorecard: {error}"),
                "make room, then: cargo conformance report",
            )
        })
    };
    write("scorecard.json", serde_json::to_string_pretty(&scorecard)? + "\n")?;
    write("scorecard.md", markdown(&scorecard))?;
    let leaked = leaking_files(&format!("canary-{}", run.id), &run.folder, &[]);
    anyhow::ensure!(leaked.is_empty(), "failed to keep values out of what the run leaves: {}", leaked.join(", "));
    Ok(scorecard)
}
