//! Brings a cluster up: everything that can start at once does, and each wait is for the thing itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use crate::api::Api;
use crate::binaries::Binaries;
use crate::cluster::Cluster;
use crate::component::{Component, PAUSE_IMAGE, SOCKET, configure};
use crate::down::down;
use crate::error::Unusable;
use crate::image::ImageTar;
use crate::procfs::Process;
use crate::record::{Record, last_words};
use crate::{certificates, cgroup, namespace, network};

/// Between two questions of a wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Folders under which a cluster has its own view of the machine.
const HIDDEN: [&str; 2] = ["/run", "/var"];

const ELSEWHERE: &str = "give another folder, below /tmp or /dev/shm: --folder FOLDER";

/// What a cluster is made of, and for whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder: not there yet, or empty.
    pub folder: PathBuf,
    /// Its programs.
    pub binaries: Binaries,
    /// The static program `pause`.
    pub pause: PathBuf,
    /// The run that it belongs to; empty for none.
    pub run: String,
    /// The process whose end is the end of the run, as the run writes it. Empty for a cluster that is to stay until it is
    /// taken down; until it is up, that is then the caller, as `pid:ticks`.
    pub owner: String,
    /// How long it may take to be usable.
    pub limit: Duration,
}

impl Cluster {
    /// Brings up a cluster and waits until pods can be made in it, telling `say` how far it is.
    ///
    /// # Errors
    /// [`Unusable`]: the folder, the user or the machine will not do. Or a program of the cluster ended or is not ready in
    /// time; the error holds its last words. Whatever was begun is gone again.
    pub async fn up(options: &Options, say: &dyn Fn(&str)) -> Result<Self> {
        check(options)?;
        let pause =
            fs::canonicalize(&options.pause).with_context(|| format!("failed to find {}", options.pause.display()))?;
        let mut id = [0; 4];
        let random = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut id));
        random.context("failed to read /dev/urandom")?;
        let owner = match options.owner.as_str() {
            "" => Process::of(std::process::id()).map(|me| me.to_string()).unwrap_or_default(),
            owner => owner.to_owned(),
        };
        let record = Record {
            id: hex::encode(id),
            run: options.run.clone(),
            owner,
            folder: make_folder(&options.folder)?,
            binaries: options.binaries.clone(),
            pause,
            block: None,
            init: None,
            components: BTreeMap::new(),
        };
        // Before anything else is begun: whatever becomes of this process, there is something to go by.
        record.write()?;
        let mut cluster = Self { record };
        let deadline = Instant::now() + options.limit;
        match cluster.start_all(deadline, say).await {
            Ok(()) => {
                cluster.record.owner.clone_from(&options.owner);
                cluster.record.write()?;
                Ok(cluster)
            }
            Err(error) => match down(&cluster.record.folder) {
                Ok(()) => Err(error),
                Err(left) => Err(error.context(format!("and then {left:#}"))),
            },
        }
    }

    pub(crate) fn spawn(&mut self, component: Component, ended: Option<&UnboundedSender<Component>>) -> Result<()> {
        let mut command = Command::from(component.command(&self.record)?);
        let mut child = command.spawn().with_context(|| format!("failed to start {}", component.name()))?;
        let holder = child.id().and_then(Process::of);
        let holder = holder.with_context(|| format!("failed to start {}: it ended at once", component.name()))?;
        self.record.components.insert(component, holder);
        self.record.write()?;
        let ended = ended.cloned();
        // Collects it when it ends, as long as this process lives.
        tokio::spawn(async move {
            if child.wait().await.is_ok()
                && let Some(ended) = ended
            {
                // Nobody listens any more once the cluster is up.
                let _ = ended.send(component);
            }
        });
        Ok(())
    }

    async fn start_all(&mut self, deadline: Instant, say: &dyn Fn(&str)) -> Result<()> {
        let begun = Instant::now();
        let tell = |what: &str| say(&format!("{:5.2} s  {what}", begun.elapsed().as_secs_f64()));
        for inner in ["pki", "config/cni", "logs", "memory"] {
            let inner = self.record.file(inner);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&inner);
            made.with_context(|| format!("failed to make {}", inner.display()))?;
        }
        cgroup::make(&self.record.id)?;
        self.record.init = Some(namespace::start(&self.record)?);
        self.record.write()?;
        self.record.block = Some(network::connect(&self.record)?);
        self.record.write()?;
        certificates::make(&self.record.folder, self.record.block()?)?;
        configure(&self.record)?;
        tell("namespaces, network and certificates are there");
        let (ended, mut endings) = unbounded_channel();
        let component = tokio::select! {
            done = self.bring_up(&ended, deadline, &tell) => return done,
            component = endings.recv() => component.context("failed to watch the components")?,
        };
        Err(ended_early(component, &self.record).into())
    }

    async fn bring_up(
        &mut self,
        ended: &UnboundedSender<Component>,
        deadline: Instant,
        tell: &dyn Fn(&str),
    ) -> Result<()> {
        let (api, version) = (Api::new(&self.record)?, self.record.binaries.version);
        let (mut first, mut second) = (
            vec![Component::Etcd, Component::KubeApiserver, Component::Containerd],
            vec![Component::KubeControllerManager, Component::KubeProxy, Component::KubeScheduler],
        );
        // As long as the kubelet knew Docker it looks for one for five seconds. It needs nobody meanwhile; afterwards the API
        // answers, as a rule. Later ones begin with the API, and would wait longer each time that it does not answer yet.
        if version.has(24) {
            second.insert(0, Component::Kubelet);
        } else {
            first.push(Component::Kubelet);
        }
        for component in first {
            self.spawn(component, Some(ended))?;
        }
        let pause = ImageTar::of(PAUSE_IMAGE, &[("pause", self.record.pause.as_path())]).await?;
        let runtime = async {
            let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", self.record.init()?.pid));
            until("containerd answers", deadline, async || UnixStream::connect(&socket).is_ok()).await?;
            self.load(&pause).await?;
            tell("containerd takes images");
            anyhow::Ok(())
        };
        let answers = async {
            until("the API answers", deadline, async || api.answers().await).await?;
            tell("the API answers");
            anyhow::Ok(())
        };
        tokio::try_join!(runtime, answers)?;
        for component in second {
            self.spawn(component, Some(ended))?;
        }
        until("the API is ready", deadline, async || api.is_ready().await).await?;
        tell("the API is ready");
        let node = async {
            until("the node is ready", deadline, async || api.has_node().await).await?;
            tell("the node is ready");
            anyhow::Ok(())
        };
        let account = async {
            until("the default ServiceAccount is there", deadline, async || api.has_account(version).await).await?;
            tell("the default ServiceAccount is there");
            anyhow::Ok(())
        };
        tokio::try_join!(node, account)?;
        Ok(())
    }
}

/// Asks until the answer is yes.
///
/// # Errors
/// [`Unusable`]: it is not by the deadline.
pub(crate) async fn until(what: &str, deadline: Instant, ask: impl AsyncFn() -> bool) -> Result<()> {
    while !ask().await {
        if Instant::now() > deadline {
            let remedy = "give it longer (--limit); or look for what else keeps this machine busy";
            return Err(Unusable::new("cluster", format!("failed to see in time that {what}"), remedy).into());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn ended_early(component: Component, record: &Record) -> Unusable {
    Unusable::new(
        component.name(),
        format!("it ended while the cluster came up; it said last:\n  {}", last_words(&record.log(component.name()))),
        format!("if it names no cause, run the binary in {} by hand", record.binaries.folder.display()),
    )
}

/// What can be known before anything is begun.
fn check(options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        let problem = "it may not make network interfaces, mounts and cgroups";
        let remedy = "run as root: sudo -E env \"PATH=$PATH\" cargo conformance cluster up";
        return Err(Unusable::new("user", problem, remedy).into());
    }
    let folder = &options.folder;
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    if let Some(hidden) = HIDDEN.iter().find(|hidden| whole.starts_with(hidden)) {
        let problem = format!("a cluster sees a {hidden} of its own");
        return Err(Unusable::new(place(folder), problem, ELSEWHERE).into());
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let remedy =
            "take it down, if it is a cluster: `cargo conformance cluster down --folder FOLDER`; or give another";
        return Err(Unusable::new(place(folder), "something is in it already", remedy).into());
    }
    Ok(())
}

/// Makes the folder of a cluster, for its owner alone, and returns its path without links.
fn make_folder(folder: &Path) -> Result<PathBuf> {
    let make = || -> std::io::Result<PathBuf> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        fs::canonicalize(folder)
    };
    make().map_err(|error| Unusable::new(place(folder), format!("failed to make it: {error}"), ELSEWHERE).into())
}

fn place(folder: &Path) -> String {
    format!("folder {}", folder.display())
}
