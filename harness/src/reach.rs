//! What this machine has: the tools, a Docker engine, a cluster, credentials. Asked by `doctor` and `matrix`.

mod engine;

use std::borrow::Cow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::time::timeout;

use crate::error::BadInput;
use crate::platform::kubernetes::{Cluster, Source, images_from};
use crate::tools;

/// Room for a run: the default one leaves about two megabytes.
const RUN_BYTES: usize = 4 << 20;

/// A reachable service answers at once.
const REACH_LIMIT: Duration = Duration::from_secs(3);

/// Whether something is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "detail")]
pub enum State {
    /// It is, and this is what.
    Here(String),
    /// It is not, but a run obtains it by itself.
    Obtainable(String),
    /// It is not, for this reason.
    Missing(String),
}

impl State {
    /// What was found, or why nothing was.
    pub fn text(&self) -> &str {
        match self {
            Self::Here(text) | Self::Obtainable(text) | Self::Missing(text) => text,
        }
    }
}

impl From<Result<String, String>> for State {
    fn from(found: Result<String, String>) -> Self {
        match found {
            Ok(text) => Self::Here(text),
            Err(text) => Self::Missing(text),
        }
    }
}

/// One thing that a run may need.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is called in the matrix.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What was found, or what is missing.
    #[serde(flatten)]
    pub state: State,
    /// What to do when it is missing.
    pub remedy: Cow<'static, str>,
    /// Whether the default run does without it.
    pub optional: bool,
}

/// Everything that was looked for.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// In the order of the report.
    pub findings: Vec<Finding>,
}

impl Machine {
    /// Looks around: a few processes and three connections, no longer than a few seconds.
    pub async fn look(output: &Path) -> Self {
        let (docker, kubernetes) = tokio::join!(engine::finding(), kubernetes());
        let finding = |name, purpose, state: Result<String, String>, remedy: &'static str, optional| Finding {
            name,
            purpose,
            state: state.into(),
            remedy: remedy.into(),
            optional,
        };
        let findings = vec![
            finding("linux", "the platform `process`", linux(), "run on Linux with /proc, on x86-64", false),
            finding(
                "cargo",
                "building everything",
                version("cargo", &["--version"]),
                "install Rust 1.95 or later",
                false,
            ),
            Finding {
                name: "cargo-nextest",
                purpose: "the cases",
                state: nextest(),
                remedy: "`cargo conformance run` installs it; or: cargo install --locked cargo-nextest".into(),
                optional: false,
            },
            Finding {
                name: "openbao",
                purpose: "the candidate `vault`",
                state: openbao(),
                remedy: "`cargo conformance run` fetches it with python3 (venv, pip); or put `bao` on the PATH".into(),
                optional: false,
            },
            finding(
                "output",
                "evidence and reports",
                output_folder(output),
                "give another folder: --output FOLDER",
                false,
            ),
            docker,
            finding(
                "kubernetes",
                "the platform `kubernetes`",
                kubernetes,
                "set KUBECONFIG to a test cluster's; or have what `scratch` takes, or a Docker engine, and a run makes its own",
                true,
            ),
            finding(
                "scratch",
                "a cluster of our own (`--cluster scratch`, `cargo conformance cluster up`)",
                scratch(),
                "as root: ci/kubernetes.sh installs the rest and builds Kubernetes 1.20.2 once; or set KUBEBUILDER_ASSETS \
                 to a folder with upstream's server binaries",
                true,
            ),
        ];
        Self { findings }
    }

    /// Why a need is not met here, if it is not.
    pub fn missing(&self, need: &str) -> Option<String> {
        let finding = self.findings.iter().find(|finding| finding.name == need)?;
        match &finding.state {
            State::Missing(why) => Some(format!("{need}: {why}")),
            State::Here(_) | State::Obtainable(_) => None,
        }
    }

    /// Whether the default run has all it needs.
    pub fn is_ready(&self) -> bool {
        self.findings.iter().all(|finding| finding.optional || !matches!(finding.state, State::Missing(_)))
    }
}

fn linux() -> Result<String, String> {
    if !Path::new("/proc/self/stat").exists() {
        return Err("there is no /proc".to_owned());
    }
    if std::env::consts::ARCH != "x86_64" {
        return Err(format!("probe and sidecar are built for x86-64, and this is {}", std::env::consts::ARCH));
    }
    let memory = crate::files::private_root();
    Ok(format!("/proc is there; values are kept in {}", memory.display()))
}

fn version(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().next() {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        _ => Err(format!("`{program} {}` fails", args.join(" "))),
    }
}

fn nextest() -> State {
    match version("cargo", &["nextest", "--version"]) {
        Ok(version) => State::Here(version),
        Err(_) => State::Obtainable("not installed yet".to_owned()),
    }
}

fn openbao() -> State {
    if let Some(bao) = tools::bao_on_path() {
        return State::Here(format!("{} {} at {}", bao.product, bao.version, bao.path.display()));
    }
    let cached = match tools::cache_folder() {
        Ok(cache) => tools::cached_bao(&cache),
        Err(error) => return State::Missing(error.to_string()),
    };
    if cached.exists() {
        return State::Here(format!("fetched earlier: {}", cached.display()));
    }
    match version("python3", &["--version"]) {
        Ok(python) => State::Obtainable(format!("not on the PATH and not fetched yet; {python} can fetch it")),
        Err(_) => State::Missing("not on the PATH, not fetched yet, and there is no python3 to fetch it".to_owned()),
    }
}

fn output_folder(output: &Path) -> Result<String, String> {
    match writable(output) {
        Ok(()) => Ok(output.display().to_string()),
        Err(error) => Err(error.problem),
    }
}

/// Whether runs can be kept in a folder.
///
/// # Errors
/// It cannot be made or written: read-only, full, or not a folder.
pub fn writable(output: &Path) -> Result<(), BadInput> {
    let probe = || -> std::io::Result<()> {
        std::fs::create_dir_all(output)?;
        let mut file = tempfile::NamedTempFile::new_in(output)?;
        // An empty file fits on a full disk.
        std::io::Write::write_all(&mut file, &vec![0; RUN_BYTES])?;
        file.as_file().sync_all()
    };
    probe().map_err(|error| {
        BadInput::new(
            format!("output folder {}", output.display()),
            format!("failed to write there: {error}"),
            "give a folder with room that this user may write to: --output FOLDER",
        )
    })
}

/// Whether a Docker engine answers that the platform can use.
///
/// # Errors
/// None does; the error says why, and what to do.
pub(crate) async fn docker(asked_by: &str) -> Result<(), BadInput> {
    let Finding { state, remedy, .. } = engine::finding().await;
    match state {
        State::Missing(why) => Err(BadInput::new(asked_by, why, remedy)),
        State::Here(_) | State::Obtainable(_) => Ok(()),
    }
}

/// The programs of a cluster of our own, or which is missing.
fn scratch() -> Result<String, String> {
    let cache = tools::cache_folder().map_err(|error| error.to_string())?;
    let binaries =
        cluster::Binaries::find(None, &cache).map_err(|error| match error.downcast::<cluster::Unusable>() {
            Ok(unusable) => format!("{}: {}", unusable.place, unusable.problem),
            Err(error) => format!("{error:#}"),
        })?;
    if !rustix::process::geteuid().is_root() {
        return Err(format!("Kubernetes {} is there, but only root may start it", binaries.release));
    }
    Ok(format!("Kubernetes {} in {}", binaries.release, binaries.folder.display()))
}

/// The cluster that a run would take, and where its images come from; or why there is none.
async fn kubernetes() -> Result<String, String> {
    let found = timeout(REACH_LIMIT, async {
        match Source::find().await? {
            Source::Context => Cluster::reach().await.map(Ok),
            made => Ok(Err(made)),
        }
    });
    match found.await.map_err(|_| "the cluster does not answer".to_owned())? {
        Ok(Err(made)) => {
            let way = made.to_possible_value().map(|way| way.get_name().to_owned()).unwrap_or_default();
            Ok(format!("no kubeconfig: a run makes a cluster of its own (--cluster {way})"))
        }
        Ok(Ok(cluster)) => Ok(format!(
            "{} at {}, context `{}`; pods find this machine at {}; images {}",
            cluster.version,
            cluster.server,
            cluster.context,
            cluster.host,
            images_from(),
        )),
        Err(error) => Err(error.downcast::<BadInput>().map_or_else(|error| format!("{error:#}"), |bad| bad.problem)),
    }
}
