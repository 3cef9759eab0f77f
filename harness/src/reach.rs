//! What this machine has: the tools, a Docker engine, a cluster, credentials. Asked by `doctor` and `matrix`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_secretsmanager::config::ProvideCredentials;
use serde::Serialize;
use testcontainers::core::client::docker_client_instance;
use tokio::time::timeout;

use crate::error::BadInput;
use crate::tools;

/// A reachable service answers at once.
const REACH_LIMIT: Duration = Duration::from_secs(3);

/// One thing that a run may need.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is called in the matrix.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What was found, or what is missing.
    pub state: Result<String, String>,
    /// What to do when it is missing.
    pub remedy: &'static str,
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
        let (docker, kubernetes, aws) = tokio::join!(docker(), kubernetes(), aws());
        let finding = |name, purpose, state, remedy, optional| Finding { name, purpose, state, remedy, optional };
        let findings = vec![
            finding("linux", "the platform `process`", linux(), "run on Linux with /proc", false),
            finding(
                "cargo",
                "builds probe, sidecar and cases",
                version("cargo", &["--version"]),
                "install Rust 1.95 or later",
                false,
            ),
            finding(
                "cargo-nextest",
                "runs the cases",
                version("cargo", &["nextest", "--version"]),
                "`cargo conformance run` installs it; or: cargo install --locked cargo-nextest",
                false,
            ),
            finding(
                "openbao",
                "the candidate `vault`",
                openbao(),
                "`cargo conformance run` fetches it with python3 (venv, pip); or put `bao` on the PATH",
                false,
            ),
            finding(
                "output",
                "evidence and reports",
                output_folder(output),
                "give another folder: --output FOLDER",
                false,
            ),
            finding("docker", "the platform `docker`", docker, "start a Docker engine, or set DOCKER_HOST", true),
            finding("kubernetes", "the platform `kubernetes`", kubernetes, "set KUBECONFIG to a test cluster's", true),
            finding("aws", "live targets of the candidate `aws`", aws, "set AWS_PROFILE, or the AWS_* variables", true),
        ];
        Self { findings }
    }

    /// Why a need is not met here, if it is not.
    pub fn missing(&self, need: &str) -> Option<String> {
        let finding = self.findings.iter().find(|finding| finding.name == need)?;
        finding.state.as_ref().err().map(|state| format!("{need}: {state}"))
    }

    /// Whether the default run has all it needs.
    pub fn is_ready(&self) -> bool {
        self.findings.iter().all(|finding| finding.optional || finding.state.is_ok())
    }
}

fn linux() -> Result<String, String> {
    if !Path::new("/proc/self/stat").exists() {
        return Err("there is no /proc".to_owned());
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

fn openbao() -> Result<String, String> {
    if let Some(bao) = tools::bao_on_path() {
        return Ok(format!("{} {} at {}", bao.product, bao.version, bao.path.display()));
    }
    let cached = tools::cache_folder().map(|cache| tools::cached_bao(&cache)).map_err(|error| error.to_string())?;
    if cached.exists() {
        return Ok(format!("fetched earlier: {}", cached.display()));
    }
    version("python3", &["--version"])
        .map_err(|error| format!("not on the PATH, not fetched, and no python3: {error}"))?;
    Err("not on the PATH and not fetched yet".to_owned())
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
        std::io::Write::write_all(&mut file, &[0; 64 * 1024])?;
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

async fn docker() -> Result<String, String> {
    let asked = timeout(REACH_LIMIT, async {
        let client = docker_client_instance().await.map_err(|error| error.to_string())?;
        client.version().await.map_err(|error| error.to_string())
    });
    let version = asked.await.map_err(|_| "the engine does not answer".to_owned())??;
    Ok(format!("engine {}", version.version.unwrap_or_else(|| "of an unknown version".to_owned())))
}

async fn kubernetes() -> Result<String, String> {
    let asked = timeout(REACH_LIMIT, async {
        let config = kube::Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await;
        let config = config.map_err(|error| error.to_string())?;
        let address = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
        let version = client.apiserver_version().await.map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("{} at {address}", version.git_version))
    });
    asked.await.map_err(|_| "the cluster does not answer".to_owned())?
}

async fn aws() -> Result<String, String> {
    // Without this the chain asks the metadata service of a virtual machine that is not there, and waits.
    let named = ["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];
    let Some(name) = named.into_iter().find(|name| std::env::var_os(name).is_some()) else {
        return Err("none of the AWS_* variables names credentials".to_owned());
    };
    let shared = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let config = aws_sdk_secretsmanager::Config::new(&shared);
    let provider = shared.credentials_provider().ok_or("no credentials provider")?;
    let found = timeout(REACH_LIMIT, provider.provide_credentials()).await;
    found.map_err(|_| "the credentials provider does not answer".to_owned())?.map_err(|error| error.to_string())?;
    let region = config.region().map_or_else(|| "no region".to_owned(), ToString::to_string);
    Ok(format!("credentials by {name}, {region}"))
}

/// Makes a relative folder absolute: cases run in another folder than the command.
pub fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
