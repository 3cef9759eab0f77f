//! Work in a cluster that is there, or that is made for it and ended after it.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::platform::kubernetes::{Cluster, Source};
use crate::reap;
use crate::run::Run;

/// How work in a cluster ended.
pub(super) enum Within<T> {
    /// It was done, and this came of cleaning up after it.
    Done(T, Result<()>),
    /// It was not begun: this signal came while the cluster was made.
    Interrupted(u8),
}

/// Finds out where the cluster will come from, and removes what killed runs left in it, or of clusters of their own.
///
/// # Errors
/// There is none, and none can be made.
pub(super) async fn find_source() -> Result<Source> {
    let source = Source::find().await?;
    let mut left = reap::clusters(None)?;
    if source == Source::Context {
        Cluster::reach().await?.check_rights().await?;
        left.extend(reap::namespaces(None).await?);
    }
    for (run, what) in left {
        anstream::eprintln!("removed what the killed run {run} had left: {what}");
    }
    Ok(source)
}

/// Does `work` in a cluster from `source`, and then removes the run's namespaces, or the cluster if it was made for it.
///
/// # Errors
/// That of the work, or the cluster cannot be made, used or ended.
pub(super) async fn within<T>(run: &Run, source: Source, work: impl AsyncFnOnce() -> Result<T>) -> Result<Within<T>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let say = |what: &str| anstream::eprintln!("{what}");
    let signal = tokio::select! {
        made = source.make(run, &say) => {
            let made = made?;
            let done = async {
                Cluster::reach().await?;
                work().await
            };
            let done = done.await;
            let swept = match source {
                Source::Context => reap::sweep_namespaces(&run.id).await.map(drop),
                // A cluster that goes takes its namespaces with it.
                Source::K3s | Source::Scratch => Ok(()),
            };
            let cleaned = swept.and(made.end().await);
            // Trouble of the work is told first.
            return match (done, cleaned) {
                (Ok(done), cleaned) => Ok(Within::Done(done, cleaned)),
                (Err(error), Ok(())) => Err(error),
                (Err(error), Err(left)) => Err(error.context(format!("and then {left:#}"))),
            };
        }
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    };
    reap::sweep_clusters(&run.id)?;
    if source == Source::K3s {
        reap::sweep_containers(&run.id).await?;
    }
    Ok(Within::Interrupted(signal))
}
