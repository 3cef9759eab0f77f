//! Where the cluster of a run comes from: it is there already, or it is made for the run and goes with it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use cluster::{Binaries, Cluster as Scratch, Options, Unusable};

use super::cluster::{CONTEXT, KUBECONFIG, LOAD, choose, variable};
use super::k3s::K3s;
use crate::error::BadInput;
use crate::files::private_root;
use crate::reach::docker as engine;
use crate::run::Run;
use crate::tools;

/// Names where the cluster comes from: `context`, `k3s` or `scratch`.
pub const CLUSTER: &str = "CONFORMANCE_KUBERNETES_CLUSTER";

/// How long a cluster of ten seconds may take on a machine in trouble.
const LIMIT: Duration = Duration::from_secs(180);

/// Where the cluster of a run comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// A context of the kubeconfig
    Context,
    /// `rancher/k3s` in a container, made for the run
    K3s,
    /// Kubernetes' own binaries on this machine, made for the run
    Scratch,
}

/// A cluster that was made for a run, or nothing.
pub struct Made(Kind);

enum Kind {
    Nothing,
    K3s(Box<K3s>),
    Scratch(PathBuf),
}

impl Source {
    /// What was asked for, else what is there: a kubeconfig, else what a cluster of our own takes, else a Docker engine.
    ///
    /// # Errors
    /// [`BadInput`]: what was asked for cannot be had, or nothing is there.
    pub async fn find() -> Result<Self> {
        if let Some(text) = variable(CLUSTER) {
            let source = Self::from_str(&text, false).map_err(|_| {
                BadInput::new(CLUSTER, format!("`{text}` is no way to a cluster"), "use context, k3s or scratch")
            })?;
            return match source {
                Self::Context => Ok(source),
                Self::K3s => engine("--cluster k3s").await.map(|()| source).map_err(Into::into),
                Self::Scratch => scratch().map(|_| source).map_err(Into::into),
            };
        }
        if variable(CONTEXT).is_some() || variable(KUBECONFIG).is_some() || has_own_kubeconfig() {
            return Ok(Self::Context);
        }
        let Err(scratch) = scratch() else { return Ok(Self::Scratch) };
        let Err(engine) = engine("--cluster k3s").await else { return Ok(Self::K3s) };
        let problem = format!(
            "no cluster, and none can be made: there is no kubeconfig; scratch: {}: {}; k3s: {}",
            scratch.place, scratch.problem, engine.problem
        );
        Err(BadInput::new(
            "--platform kubernetes",
            problem,
            "set KUBECONFIG to a test cluster's, or see `cargo conformance doctor`",
        )
        .into())
    }

    /// Makes the cluster of a run where one has to be made, telling `say` how far it is. From now on it is the cluster of
    /// this process, and of the processes that [`super::chosen`] is given to.
    ///
    /// # Errors
    /// It cannot be made. Whatever was begun is gone again.
    pub async fn make(self, run: &Run, say: &dyn Fn(&str)) -> Result<Made> {
        match self {
            Self::Context => Ok(Made(Kind::Nothing)),
            Self::K3s => Ok(Made(Kind::K3s(Box::new(K3s::up(run, say).await?)))),
            Self::Scratch => {
                let folder = private_root().join(format!("cluster-{}", run.id));
                let options = Options {
                    folder: folder.clone(),
                    binaries: scratch()?,
                    pause: tools::build_pause()?,
                    run: run.id.clone(),
                    owner: run.owner.to_string(),
                    limit: LIMIT,
                };
                let cluster = Scratch::up(&options, say).await.map_err(bad_input)?;
                say(&format!("Kubernetes {} is usable", cluster.release()));
                let load = format!("{} cluster load --folder {}", run.tools.conformance.display(), folder.display());
                choose([(KUBECONFIG, cluster.kubeconfig().display().to_string()), (LOAD, load)]);
                Ok(Made(Kind::Scratch(folder)))
            }
        }
    }
}

impl Made {
    /// Ends what was made.
    ///
    /// # Errors
    /// Something of it cannot be removed; `reap` tries again once the run has ended.
    pub async fn end(self) -> Result<()> {
        match self.0 {
            Kind::Nothing => Ok(()),
            Kind::K3s(k3s) => k3s.end().await,
            Kind::Scratch(folder) => cluster::down(&folder).context("failed to take the cluster of this run down"),
        }
    }
}

/// Whether the user's own kubeconfig is there, where kubectl looks for it.
fn has_own_kubeconfig() -> bool {
    std::env::home_dir().is_some_and(|home| home.join(".kube/config").is_file())
}

/// The binaries of a cluster of our own, for who may start it.
fn scratch() -> Result<Binaries, BadInput> {
    let found = tools::cache_folder().and_then(|cache| Binaries::find(None, &cache));
    let binaries = found.map_err(|error| match bad_input(error).downcast::<BadInput>() {
        Ok(bad) => bad,
        Err(error) => BadInput::new("--cluster scratch", format!("{error:#}"), "see `cargo conformance doctor`"),
    })?;
    if rustix::process::geteuid().is_root() {
        return Ok(binaries);
    }
    Err(BadInput::new(
        "--cluster scratch",
        "only root may start a cluster",
        "use sudo, or another way: --cluster context",
    ))
}

/// What the user can mend ends a command as other bad input does.
pub fn bad_input(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Unusable>() {
        Ok(Unusable { place, problem, remedy }) => BadInput { place, problem, remedy }.into(),
        Err(error) => error,
    }
}
