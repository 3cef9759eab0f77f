//! `conformance bench`: the latency of each delivery beside yardsticks, in one run, since machines are noisy.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};
use probe::observation::Event;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::time::Instant;

use super::within::{Within, find_source, within};
use super::{EXIT_PASSED, Output};
use crate::candidate::PROBED_NAME;
use crate::cell::{CandidateId, Cell, DeliveryId, Place, PlatformId};
use crate::evidence::{Sample, Summary, millis};
use crate::files::write_private;
use crate::hold::interruptible;
use crate::observations::{Awaited, Recorded};
use crate::platform::kubernetes::Choice;
use crate::reach::docker as engine;
use crate::reap;
use crate::run::{Owner, Run};
use crate::tools;
use crate::way::{Sabotage, Way};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Rotations under each delivery
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rotations: u32,
    /// Measure only this delivery (repeatable)
    #[arg(long = "delivery", value_name = "NAME")]
    deliveries: Vec<DeliveryId>,
    /// Measure on this platform (repeatable); the first is the one that the others are compared with
    #[arg(long = "platform", value_name = "NAME", default_values_t = [PlatformId::Process])]
    platforms: Vec<PlatformId>,
    #[command(flatten)]
    cluster: Choice,
    #[command(flatten)]
    output: Output,
}

/// What is measured, the ours first, then the vendor's own beside them.
const DELIVERIES: [DeliveryId; 5] = [
    DeliveryId::Reload,
    DeliveryId::Restart,
    DeliveryId::ReloadPoll,
    DeliveryId::NativeTemplate,
    DeliveryId::NativeExec,
];

/// What is measured on `kubernetes`.
const IN_PODS: [DeliveryId; 2] = [DeliveryId::Reload, DeliveryId::Restart];

/// The project's own limits on the medians, in milliseconds.
const RELOAD_LIMIT_MS: f64 = 25.0;
const RESTART_LIMIT_MS: f64 = 250.0;
/// How many times a bare reload a delivered one may take.
const BARE_LIMIT: f64 = 5.0;
/// How many times a bare rollout a delivered one may take.
const ROLLOUT_LIMIT: f64 = 1.5;

const BARE_RELOAD: &str = "bare reload (rename, signal, read, pipe)";
const BARE_ROLLOUT: &str = "bare rollout (kubectl rollout restart)";

/// A word of progress each time that so many rotations are done.
const PROGRESS: u32 = 25;

/// The latencies of one delivery, or of a yardstick.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    observed: Summary,
    acknowledged: Option<Summary>,
    samples: Vec<Sample>,
}

pub(super) async fn bench(args: &Args) -> Result<u8> {
    args.cluster.choose();
    let docker = args.platforms.contains(&PlatformId::Docker);
    if docker {
        engine("--platform docker").await?;
    }
    let kubernetes = args.platforms.contains(&PlatformId::Kubernetes);
    let source = if kubernetes { Some(find_source().await?) } else { None };
    let tools = tools::prepare(&|what| anstream::eprintln!("{what}"))?;
    let run = Run::begin(&args.output.folder(), Owner::of(std::process::id()), tools, None, Vec::new())?;
    let mut measured = Vec::new();
    let wanted = |delivery: &DeliveryId| args.deliveries.is_empty() || args.deliveries.contains(delivery);
    let mut measure = async || {
        for delivery in DELIVERIES.into_iter().filter(wanted) {
            measure_all(&run, delivery, args, &mut measured).await?;
        }
        Ok(())
    };
    let result = match source {
        None => measure().await.map(|()| Within::Done((), Ok(()))),
        Some(source) => within(&run, source, measure).await,
    };
    if docker {
        // What was interrupted while it was set up.
        reap::sweep_containers(&run.id).await?;
    }
    let cleaned = match result? {
        Within::Done((), cleaned) => cleaned,
        Within::Interrupted(signal) => return Ok(128 + signal),
    };
    let file = run.folder.join("bench.json");
    fs::write(&file, serde_json::to_vec_pretty(&measured)?)
        .with_context(|| format!("failed to write {}", file.display()))?;
    anstream::println!("{}", in_words(&measured));
    anstream::println!("raw samples: {}", file.display());
    // What was measured is told all the same.
    cleaned.context("failed to clean up; `cargo conformance reap` tries again")?;
    Ok(EXIT_PASSED)
}

/// Measures a delivery on every platform that offers it.
async fn measure_all(run: &Run, delivery: DeliveryId, args: &Args, measured: &mut Vec<Measured>) -> Result<()> {
    let mut stages = Vec::new();
    let mut done = Ok(());
    for platform in args.platforms.iter().copied() {
        let offered = DeliveryId::offered_by(CandidateId::Vault, platform).contains(&delivery);
        if !offered || (platform == PlatformId::Kubernetes && !IN_PODS.contains(&delivery)) {
            continue;
        }
        let cell = Cell::new("rotation.propagates", Place::new(CandidateId::Vault, platform, delivery));
        match interruptible(run.owner, Way::begin(run, &cell, Sabotage::default())).await {
            Ok(way) => stages.push((platform, way)),
            Err(error) => done = Err(error),
        }
    }
    if done.is_ok() {
        done = interruptible(run.owner, measure(&mut stages, delivery, args.rotations, measured)).await;
    }
    for (_, way) in &mut stages {
        way.end().await?;
    }
    done
}

/// Rotates on each platform in turn, so that all meet the same machine.
async fn measure(
    stages: &mut [(PlatformId, Way)],
    delivery: DeliveryId,
    rotations: u32,
    measured: &mut Vec<Measured>,
) -> Result<()> {
    let mut apps = Vec::new();
    for (platform, way) in &mut *stages {
        let (app, seen) = way.hello().await?;
        if seen.is_none() {
            bail!("failed to measure {delivery} on {platform}: the first value never arrived");
        }
        apps.push(app);
    }
    let mut bare = Vec::new();
    for rotation in 0..rotations {
        if rotation % PROGRESS == 0 {
            anstream::eprintln!("{delivery}: {rotation} of {rotations} rotations");
        }
        for ((platform, way), app) in stages.iter_mut().zip(&apps) {
            let values = way.fresh_values()?;
            if way.rotate(*app, &values).await?.seen.is_none() {
                bail!("failed to measure {delivery} on {platform}: rotation {rotation} never arrived");
            }
            // Beside each other, so that both meet the same machine.
            match (platform, delivery) {
                // In a container the probe's process id is that of its own namespace, which means another process here.
                (PlatformId::Process, DeliveryId::Reload) => bare.push(bare_reload(way, *app, rotation.into()).await?),
                (PlatformId::Kubernetes, DeliveryId::Restart) => {
                    way.settle(*app).await?;
                    bare.push(bare_rollout(way, *app, rotation.into()).await?);
                    // Each begins when the one before is over.
                    way.settle(*app).await?;
                }
                _ => {}
            }
        }
    }
    for (platform, way) in stages {
        measured.push(Measured::new(name(delivery, *platform), std::mem::take(&mut way.record.samples), true)?);
    }
    if !bare.is_empty() {
        let name = if delivery == DeliveryId::Restart { BARE_ROLLOUT } else { BARE_RELOAD };
        measured.push(Measured::new(name.into(), bare, false)?);
    }
    Ok(())
}

/// What a delivery is called on a platform: on `process` by its own name alone.
fn name(delivery: DeliveryId, platform: PlatformId) -> String {
    match platform {
        PlatformId::Process => delivery.to_string(),
        _ => format!("{delivery} on {platform}"),
    }
}

/// The least that any reload takes: the same env file renamed into place, the same signal, the same probe, the same pipe.
/// Its value is no secret, and the sidecar does not notice: it looks at the backend, not at the file.
async fn bare_reload(way: &mut Way, app: crate::way::App, rotation: u64) -> Result<Sample> {
    let value = format!("bare-{rotation}").into();
    let digest = way.digest(&value);
    let deployment = way.deployment(app);
    let file = deployment.secret_files.first().context("failed to find the env file")?.clone();
    let from = deployment.observations.drain().len();
    let pid = deployment.observations.seen().last().context("failed to find the probe")?.observation.pid;
    let text = format!("{PROBED_NAME}=\"bare-{rotation}\"\n");
    let started = Instant::now();
    replace(&file, &text)?;
    let pid = Pid::from_raw(pid.cast_signed()).context("failed to name the probe")?;
    kill_process(pid, Signal::HUP).context("failed to signal the probe")?;
    let deadline = started + way.patience.0;
    let observations = &mut way.deployment(app).observations;
    match observations.wait(from, deadline, |recorded| recorded.digest(PROBED_NAME) == Some(&digest)).await {
        Awaited::Seen(index) => {
            let observed = observations.seen()[index].at - started;
            Ok(Sample { version: rotation, acknowledged_ms: 0.0, observed_ms: Some(millis(observed)) })
        }
        _ => bail!("failed to measure a bare reload: it never arrived"),
    }
}

/// The least that any rollout takes: the Deployment rolled with nothing else changed, until the new pod's first observation.
async fn bare_rollout(way: &mut Way, app: crate::way::App, rotation: u64) -> Result<Sample> {
    let from = way.deployment(app).observations.drain().len();
    let before = way.deployment(app).observations.seen().last().map(|seen| seen.observation.instance.clone());
    let sent = way.restart_bare(app).await?;
    let deadline = sent + way.patience.0;
    let observations = &mut way.deployment(app).observations;
    let started = |recorded: &Recorded| {
        recorded.observation.event == Event::Started && Some(&recorded.observation.instance) != before.as_ref()
    };
    match observations.wait(from, deadline, started).await {
        Awaited::Seen(index) => {
            let observed = observations.seen()[index].at - sent;
            Ok(Sample { version: rotation, acknowledged_ms: 0.0, observed_ms: Some(millis(observed)) })
        }
        _ => bail!("failed to measure a bare rollout: no new pod started"),
    }
}

fn replace(file: &Path, text: &str) -> Result<()> {
    let fresh = file.with_extension("bare");
    write_private(&fresh, text)?;
    fs::rename(&fresh, file).with_context(|| format!("failed to replace {}", file.display()))
}

impl Measured {
    fn new(name: String, samples: Vec<Sample>, acknowledges: bool) -> Result<Self> {
        let observed = Summary::of(samples.iter().filter_map(|sample| sample.observed_ms));
        let acknowledged = acknowledges.then(|| Summary::of(samples.iter().map(|sample| sample.acknowledged_ms)));
        Ok(Self {
            observed: observed.with_context(|| format!("failed to measure {name}: there is no sample"))?,
            acknowledged: acknowledged.flatten(),
            name,
            samples,
        })
    }
}

fn in_words(measured: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["latency in ms", "n", "min", "median", "max", "acknowledged, median"]);
    for Measured { name, observed, acknowledged, .. } in measured {
        let acknowledged = acknowledged.map_or_else(String::new, |summary| format!("{:.2}", summary.median_ms));
        table.add_row([
            name.clone(),
            observed.n.to_string(),
            format!("{:.2}", observed.min_ms),
            format!("{:.2}", observed.median_ms),
            format!("{:.2}", observed.max_ms),
            acknowledged,
        ]);
    }
    table.to_string() + &judged(measured)
}

/// The medians beside the project's limits, and each platform beside the first.
fn judged(measured: &[Measured]) -> String {
    let median = |name: &str| measured.iter().find(|m| m.name == name).map(|m| m.observed.median_ms);
    let mut text = String::new();
    if let (Some(reload), Some(bare)) = (median("reload"), median(BARE_RELOAD)) {
        let ratio = reload / bare;
        text += &format!(
            "\nreload: {reload:.2} ms, limit {RELOAD_LIMIT_MS} ms; {ratio:.1} times a bare reload, limit {BARE_LIMIT}"
        );
    }
    let rolled = name(DeliveryId::Restart, PlatformId::Kubernetes);
    if let (Some(restart), Some(bare)) = (median(&rolled), median(BARE_ROLLOUT)) {
        let ratio = restart / bare;
        text += &format!("\n{rolled}: {restart:.2} ms, {ratio:.2} times a bare rollout, limit {ROLLOUT_LIMIT}");
    }
    if let Some(restart) = median("restart") {
        text += &format!("\nrestart: {restart:.2} ms, limit {RESTART_LIMIT_MS} ms");
    }
    for delivery in DELIVERIES {
        for platform in [PlatformId::Docker, PlatformId::Kubernetes] {
            let (there, here) = (median(&name(delivery, platform)), median(&name(delivery, PlatformId::Process)));
            if let (Some(there), Some(here)) = (there, here) {
                let (added, ratio) = (there - here, there / here);
                text += &format!("\n{delivery}: {platform} adds {added:.2} ms to process, {ratio:.2} times as long");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, observed_ms: f64) -> Measured {
        let sample = Sample { version: 1, acknowledged_ms: 1.0, observed_ms: Some(observed_ms) };
        Measured::new(name.into(), vec![sample], true).unwrap()
    }

    #[test]
    fn platforms_are_compared_with_process_in_the_same_run() {
        let all = [measured("reload", 8.0), measured("reload on docker", 10.0), measured(BARE_RELOAD, 0.5)];
        let said = judged(&all);
        assert!(said.contains("reload: 8.00 ms, limit 25 ms; 16.0 times a bare reload"), "{said}");
        assert!(said.contains("reload: docker adds 2.00 ms to process, 1.25 times as long"), "{said}");
        assert!(!judged(&all[1..]).contains("process"), "with nothing to compare with, nothing is compared");
    }
}
