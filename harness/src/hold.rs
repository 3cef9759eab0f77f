//! Holds a cell: walks its way, judges, cleans up, writes the evidence. Whatever happens ends in a verdict.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::candidate::api::PACE_LIMIT;
use crate::cell::Cell;
use crate::check::{self, Check};
use crate::error::Absent;
use crate::evidence::{Evidence, Record, SCHEMA, Summary, millis};
use crate::redact::Redactor;
use crate::run::{Owner, Run};
use crate::verdict::{Judgement, Verdict};
use crate::way::{Sabotage, Way};

/// Cleaning up takes a fraction of a second; this is for a backend that asks for patience, and a machine in trouble.
const END_LIMIT: Duration = PACE_LIMIT.saturating_add(Duration::from_secs(15));

/// How long the platform is asked what happened.
const TESTIFY_LIMIT: Duration = Duration::from_secs(5);

/// Holds a cell and writes its evidence to the run's folder.
///
/// # Errors
/// The cell is not one of the matrix, the run cannot be read, or the evidence cannot be written. A way that breaks is no
/// error here but a verdict.
pub async fn hold(run: &Run, cell: &Cell) -> Result<Evidence> {
    let (evidence, redactor) = walk(run, cell, Sabotage::default()).await?;
    evidence.write(&run.evidence_folder(), &redactor)?;
    Ok(evidence)
}

/// Holds a cell with a saboteur in the way. Its evidence is about the suite, not about the candidate, so it is not kept.
///
/// # Errors
/// See [`hold`].
pub async fn hold_sabotaged(run: &Run, cell: &Cell, sabotage: Sabotage) -> Result<Evidence> {
    walk(run, cell, sabotage).await.map(|(evidence, _)| evidence)
}

async fn walk(run: &Run, cell: &Cell, sabotage: Sabotage) -> Result<(Evidence, Redactor)> {
    let check = check::by_id(&cell.check).with_context(|| format!("failed to find the check `{}`", cell.check))?;
    let targets = run.targets()?;
    let (started, clock) = (Timestamp::now(), Instant::now());
    let begun = interruptible(run.owner, Way::begin(run, cell, sabotage)).await;
    let (judgement, record, redactor) = match begun {
        Ok(mut way) => {
            let driven = interruptible(run.owner, drive(check, &mut way)).await;
            let mut judgement = driven.unwrap_or_else(|error| broken(&error));
            if judgement.verdict >= Verdict::Fail {
                // A cluster that is away says nothing; what it would have said must not keep the cell.
                let _ = tokio::time::timeout(TESTIFY_LIMIT, way.testify()).await;
            }
            let ended = tokio::time::timeout(END_LIMIT, way.end()).await;
            if let Err(error) = ended.context("failed to clean up in time").flatten() {
                judgement = raise(&judgement, &error);
            }
            (judgement, std::mem::take(&mut way.record), way.redactor.clone())
        }
        Err(error) => (broken(&error), Record::default(), Redactor::default()),
    };
    let evidence = Evidence {
        schema: SCHEMA,
        run: run.id.clone(),
        cell: cell.clone(),
        sentence: check.about().sentence.to_owned(),
        grade: targets.grade(cell.place.candidate),
        judgement: Judgement { reason: redactor.clean(&judgement.reason), ..judgement },
        sla_ms: targets.sla.0.as_millis().try_into()?,
        patience_ms: targets.patience.0.as_millis().try_into()?,
        started,
        took_ms: millis(clock.elapsed()),
        latency: Summary::of(record.samples.iter().filter_map(|sample| sample.observed_ms)),
        record,
    };
    Ok((evidence, redactor))
}

/// A capability that is missing is told before anything is tried.
async fn drive(check: &dyn Check, way: &mut Way) -> Result<Judgement> {
    let needed = check.about().needs.iter().chain(way.delivery_id.needs());
    if let Some(gap) = needed.copied().find_map(|capability| way.gap(capability)) {
        return Ok(Judgement::not_supported(format!("{} (source: {})", gap.reason, gap.source)));
    }
    let judgement = check.drive(way).await?;
    // What arrived by another way than the delivery promises says nothing about it.
    match way.lost_trigger() {
        Some(lost) => Err(anyhow::anyhow!("{lost}; before that: {}", judgement.reason)),
        None => Ok(judgement),
    }
}

/// The suite or its surroundings broke, or lack what the delivery takes: never the candidate's failure.
fn broken(error: &anyhow::Error) -> Judgement {
    if let Some(Absent(what)) = error.downcast_ref() {
        return Judgement::not_run(what);
    }
    Judgement::error(format!("{error:#}"))
}

fn raise(judgement: &Judgement, error: &anyhow::Error) -> Judgement {
    Judgement {
        verdict: judgement.verdict.raise(Verdict::Error),
        reason: format!("{error:#}; before that: {}", judgement.reason),
    }
}

/// Stops waiting when somebody interrupts or the run's owner is gone, so that what was started is cleaned up.
pub(crate) async fn interruptible<T>(owner: Owner, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    tokio::select! {
        // The same signal ends the members: that must not be taken for something that they did by themselves.
        biased;
        _ = interrupt.recv() => bail!("interrupted by SIGINT"),
        _ = terminate.recv() => bail!("interrupted by SIGTERM"),
        ended = ended(owner) => {
            ended?;
            bail!("interrupted: the run that this cell belongs to has ended")
        }
        done = work => done,
    }
}

/// Waits for the end of a process that is not a child of this one.
async fn ended(owner: Owner) -> Result<()> {
    let pid = Pid::from_raw(owner.pid.cast_signed()).context("failed to name the run's owner")?;
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        // Its id may have gone to another process in between.
        Ok(_) | Err(Errno::SRCH) if !owner.is_alive() => Ok(()),
        Ok(pidfd) => {
            let (sender, receiver) = oneshot::channel();
            // A thread of its own, left behind when the cell ends first: the runtime would wait for one of its own.
            std::thread::spawn(move || {
                let polled = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None);
                // The cell may have ended meanwhile.
                let _ = sender.send(polled);
            });
            receiver.await?.map(drop).context("failed to watch the run's owner")
        }
        Err(error) => Err(error).context("failed to watch the run's owner"),
    }
}
