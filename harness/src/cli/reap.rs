//! `conformance reap`.

use std::path::PathBuf;

use anyhow::Result;

use super::{EXIT_PASSED, Output};
use crate::candidate;
use crate::error::BadInput;
use crate::platform::kubernetes::{Choice, Cluster};
use crate::preflight::preflight;
use crate::run::Run;
use crate::target::Targets;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only this run, or `contract` for what killed contracts left on a target; a run that is still at work is never
    /// touched
    run: Option<String>,
    /// Also remove what runs left on the servers of this file. Whether a run is still at work elsewhere cannot be known
    /// from here, so this needs the run's id
    #[arg(long, value_name = "FILE", requires = "run")]
    target: Option<PathBuf>,
    /// Also remove the images of the suite that no container is made of; they are kept so that the next run need not make
    /// them
    #[arg(long)]
    images: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Choice,
    #[command(flatten)]
    output: Output,
}

/// In place of a run's id: what `conformance contract` makes on a target.
const CONTRACT: &str = "contract";

pub(super) async fn reap(args: &Args) -> Result<u8> {
    args.cluster.choose();
    if let Some(run) = args.run.as_deref().filter(|run| !is_run_id(run) && *run != CONTRACT) {
        // A part of an id would fit other runs as well.
        let remedy = "`cargo conformance report` lists the runs";
        return Err(BadInput::new("RUN", format!("`{run}` is no run's id"), remedy).into());
    }
    let mut reaped = crate::reap::reap(args.run.as_deref())?;
    reaped.containers = crate::reap::containers(args.run.as_deref()).await?;
    if args.images {
        reaped.images = crate::reap::images().await?;
    }
    reaped.containers.extend(crate::reap::clusters(args.run.as_deref())?);
    match Cluster::reach().await {
        Ok(_) => reaped.containers.extend(crate::reap::namespaces(args.run.as_deref()).await?),
        // Most machines have no cluster; one that has is told why it was not looked at.
        Err(error) if std::env::var_os("KUBECONFIG").is_some() => {
            anstream::eprintln!("no cluster was looked at: {error:#}");
        }
        Err(error) => tracing::debug!(%error, "no cluster was looked at"),
    }
    // A run between two cells has neither processes nor private folders.
    for run in Run::list(&args.output.folder()).into_iter().filter(Run::is_alive) {
        let wanted = args.run.as_ref().is_none_or(|wanted| *wanted == run.id);
        if wanted && !reaped.alive.contains(&run.id) {
            reaped.alive.push(run.id);
        }
    }
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&reaped)?);
    } else {
        for (run, pid) in &reaped.processes {
            anstream::println!("ended process {pid} of run {run}");
        }
        for folder in &reaped.folders {
            anstream::println!("removed {}", folder.display());
        }
        for run in &reaped.alive {
            anstream::println!("left alone: run {run} is at work");
        }
        for (run, container) in &reaped.containers {
            anstream::println!("removed {container} of run {run}");
        }
        for image in &reaped.images {
            anstream::println!("removed the image {image}");
        }
        if reaped.is_empty() {
            anstream::println!("nothing was left behind");
        }
    }
    if let (Some(file), Some(run)) = (&args.target, &args.run)
        && !reaped.alive.contains(run)
    {
        let targets = Targets::read(file)?;
        preflight(file, &targets).await?;
        // The same beginning: `conformance-contract-` and `conformance-<run>-`.
        for (candidate, removed) in candidate::reap(&targets, &format!("conformance-{run}-")).await? {
            // Standard output may be a JSON document.
            anstream::eprintln!("removed {removed} from {candidate}");
        }
    }
    Ok(EXIT_PASSED)
}

/// Whether this is a whole id: `20261123-202201-7857`.
fn is_run_id(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 6, 4] && text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_run_id;

    #[rstest]
    #[case("20261123-202201-7857", true)]
    #[case("20261123", false)]
    #[case("20261123-202201-", false)]
    #[case("", false)]
    fn only_a_whole_id_names_a_run(#[case] text: &str, #[case] whole: bool) {
        assert_eq!(is_run_id(text), whole);
    }
}
