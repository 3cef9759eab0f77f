//! `conformance cluster`: a fresh Kubernetes of one node, for as long as it is wanted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use cluster::{Binaries, Cluster, ImageTar, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::EXIT_PASSED;
use crate::platform::docker;
use crate::platform::kubernetes::bad_input;
use crate::tools;

#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring a cluster up, and print the lines that point a shell at it; it stays until it is taken down
    Up(Up),
    /// Take a cluster down: its processes, mounts, network, cgroups and its folder
    Down(Folder),
    /// Say whether a cluster is usable
    Status(Folder),
    /// Put images where pods of a cluster find them
    Load(Load),
}

#[derive(ClapArgs)]
struct Folder {
    /// The folder of the cluster, and of no other
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(ClapArgs)]
struct Load {
    /// The folder of the cluster
    #[arg(long, value_name = "FOLDER", required_unless_present = "container")]
    folder: Option<PathBuf>,
    /// In place of a folder: the container of a k3s
    #[arg(long, value_name = "ID", conflicts_with = "folder")]
    container: Option<String>,
    /// Archives as `docker save` writes them
    #[arg(required = true, value_name = "ARCHIVE")]
    archives: Vec<PathBuf>,
}

#[derive(ClapArgs)]
struct Up {
    #[command(flatten)]
    folder: Folder,
    /// The folder of Kubernetes' binaries or of kubernetes-server-linux-amd64.tar.gz [default: `KUBEBUILDER_ASSETS`, else
    /// what ci/kubernetes.sh built]
    #[arg(long, value_name = "FOLDER")]
    kubernetes_binaries: Option<PathBuf>,
    /// How many seconds it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
}

pub(super) async fn cluster(args: &Args) -> Result<u8> {
    let done = match &args.action {
        Action::Up(args) => return up(args).await.map_err(bad_input),
        Action::Down(args) => down(args),
        Action::Status(args) => status(args).await,
        Action::Load(args) => load(args).await,
    };
    done.map_err(bad_input)?;
    Ok(EXIT_PASSED)
}

async fn up(args: &Up) -> Result<u8> {
    let begun = Instant::now();
    let binaries = Binaries::find(args.kubernetes_binaries.as_deref(), &tools::cache_folder()?)?;
    let pause = tools::build_pause()?;
    let folder = args.folder.folder.clone();
    let limit = Duration::from_secs(args.limit);
    let options = Options { folder: folder.clone(), binaries, pause, run: String::new(), owner: String::new(), limit };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let say = |what: &str| anstream::eprintln!("{what}");
    let interrupted = tokio::select! {
        up = Cluster::up(&options, &say) => {
            let cluster = up?;
            let seconds = begun.elapsed().as_secs_f64();
            anstream::eprintln!("Kubernetes {} is usable after {seconds:.1} s", cluster.release());
            anstream::println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            let this = std::env::current_exe().context("failed to find this command's own path")?;
            let load = format!("{} cluster load --folder {}", this.display(), cluster.folder().display());
            anstream::println!("export CONFORMANCE_KUBERNETES_LOAD=\"{load}\"");
            return Ok(EXIT_PASSED);
        }
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    cluster::down(&folder).context("failed to take down what was begun")?;
    Ok(interrupted)
}

fn down(args: &Folder) -> Result<()> {
    let begun = Instant::now();
    cluster::down(&args.folder)?;
    anstream::eprintln!("gone after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn status(args: &Folder) -> Result<()> {
    let cluster = Cluster::open(&args.folder)?;
    cluster.check().await?;
    anstream::println!("Kubernetes {} is usable: KUBECONFIG={}", cluster.release(), cluster.kubeconfig().display());
    Ok(())
}

async fn load(args: &Load) -> Result<()> {
    for archive in &args.archives {
        let image = ImageTar::read(archive)?;
        match (&args.container, &args.folder) {
            (Some(container), _) => docker::import(container, image.bytes()).await?,
            (None, folder) => Cluster::open(folder.as_deref().unwrap_or(Path::new("")))?.load(&image).await?,
        }
    }
    Ok(())
}
