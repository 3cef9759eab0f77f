//! What the tests of real clusters share.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cluster::procfs::{self, Process};
use cluster::{Binaries, Cluster, Options};

/// Tells a starter its folder, and which run it is of.
const FOLDER: &str = "STARTER_FOLDER";
const RUN: &str = "STARTER_RUN";

/// Nobody's user id.
const NOBODY: u32 = 65534;

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from);
    base.join("secrets-conformance")
}

/// The binaries that the profile promises.
pub(crate) fn binaries() -> Binaries {
    Binaries::find(None, &cache()).unwrap()
}

/// The static program `pause`, built as `cargo conformance` builds it.
pub(crate) fn pause() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = std::path::absolute(target).unwrap().join("fixtures");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--profile", "fixture", "--target", "x86_64-unknown-linux-gnu"])
        .args(["--package", "pause"])
        .current_dir(&workspace)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status();
    assert!(built.unwrap().success());
    target.join("x86_64-unknown-linux-gnu/fixture/pause")
}

/// A cluster in this folder; should a test fail, `cargo conformance reap` takes down what it leaves.
pub(crate) fn options(folder: &Path) -> Options {
    Options {
        folder: folder.to_owned(),
        binaries: binaries(),
        pause: pause(),
        run: "cluster-tests".to_owned(),
        owner: Process::of(std::process::id()).unwrap().to_string(),
        limit: Duration::from_secs(120),
    }
}

/// A program that does what a line of shell says.
pub(crate) fn fake(folder: &Path, name: &str, script: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// Whether an owner, `pid:ticks`, is alive.
pub(crate) fn is_alive(owner: &str) -> bool {
    let (pid, ticks) = owner.split_once(':').unwrap();
    Process { pid: pid.parse().unwrap(), ticks: ticks.parse().unwrap() }.is_alive()
}

/// By what a cluster's traces are told from others'.
pub(crate) struct Identity {
    id: String,
    folder: PathBuf,
    /// `198.18.12.`, the part that all addresses of its link share.
    network: Option<String>,
}

/// Read while it is up: afterwards nobody knows.
pub(crate) fn identity(folder: &Path) -> Identity {
    let text = fs::read_to_string(folder.join("cluster.json")).unwrap();
    let (_, rest) = text.split_once("\"id\": \"").unwrap();
    let node = Cluster::open(folder).unwrap().node().ok();
    Identity {
        id: rest[..8].to_owned(),
        folder: folder.to_owned(),
        network: node.map(|node| node.to_string().trim_end_matches(char::is_numeric).to_owned()),
    }
}

/// Every trace of a cluster on this machine, each with its kind in front.
pub(crate) fn leftovers(identity: &Identity) -> Vec<String> {
    let Identity { id, folder, network } = identity;
    let mut left = Vec::new();
    let label = format!("{id}:{}", folder.display());
    for pid in procfs::pids() {
        if procfs::variable(pid, "CONFORMANCE_CLUSTER").as_deref() == Some(label.as_str()) {
            left.push(format!("process {pid}"));
            // Mounts and rules in a namespace that lives on are as much a leftover as on the machine itself.
            let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap_or_default();
            let within = |line: &&str| line.contains(&folder.display().to_string());
            left.extend(mounts.lines().filter(within).map(|line| format!("mount {line}")));
            left.extend(rules(&["nsenter", "--net", "--target", &pid.to_string()], network.as_deref()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let within = |line: &&str| line.contains(&folder.display().to_string());
    left.extend(mounts.lines().filter(within).map(|line| format!("mount {line}")));
    left.extend(rules(&["env"], network.as_deref()));
    if Path::new("/sys/class/net").join(format!("cf{id}")).exists() {
        left.push(format!("link cf{id}"));
    }
    let routes = Command::new("ip").args(["route", "show"]).output().unwrap();
    if let Some(network) = network {
        let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
        left.extend(routes.lines().filter(|line| line.contains(network)).map(|line| format!("route {line}")));
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
        let below = hierarchy.join(format!("conformance-{id}"));
        if below.exists() || hierarchy.ends_with(format!("conformance-{id}")) {
            left.push(format!("cgroup {}", below.display()));
        }
    }
    if folder.exists() {
        left.push(format!("folder {}", folder.display()));
    }
    left
}

/// Packet filter rules that name an address of the cluster.
fn rules(within: &[&str], network: Option<&str>) -> Vec<String> {
    let said = Command::new(within[0]).args(&within[1..]).arg("iptables-save").output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let named = |line: &&str| network.is_some_and(|network| line.contains(network));
    text.lines().filter(named).map(|line| format!("rule {line}")).collect()
}

/// A process of its own that brings up a cluster and waits to be killed.
pub(crate) struct Starter {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Starter {
    pub(crate) fn begin(folder: &Path, run: &str) -> Self {
        let mut child = command(&[], folder, run).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Waits for a line that holds this.
    pub(crate) fn until(&mut self, what: &str) {
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains(what) {
            assert_ne!(self.out.read_line(&mut said).unwrap(), 0, "the starter ended: {said}");
        }
    }

    pub(crate) fn owner(&self) -> String {
        Process::of(self.child.id()).unwrap().to_string()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it says to a user who is not root.
    pub(crate) fn as_nobody() -> String {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // The test's own program lies where only root may read.
        let copy = home.path().join("starter");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let mut command = Command::new(copy);
        own_args(&mut command, &home.path().join("cluster"), "");
        said(command.uid(NOBODY).env("STARTER_WITHOUT_BINARIES", "1"))
    }

    /// What it says where every block of addresses is taken, and where its folder would be.
    pub(crate) fn without_blocks() -> (String, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cluster");
        let script = "ip link add taken type dummy && ip link set taken up && \
                      for high in 18 19; do for low in $(seq 0 4 252); do \
                      ip route add 198.$high.$low.0/22 dev taken || exit; done; done; exec \"$@\"";
        (said(&mut command(&["unshare", "--net", "sh", "-ec", script, "starter"], &folder, "")), folder)
    }

    /// The other side: `begin` starts the test binary again with nothing but this.
    pub(crate) async fn run() {
        let folder = PathBuf::from(std::env::var_os(FOLDER).expect("a starter is told its folder"));
        let mut options = if std::env::var_os("STARTER_WITHOUT_BINARIES").is_some() {
            let folder = PathBuf::from("/nonexistent");
            let version = cluster::Version { major: 1, minor: 20 };
            let release = "1.20.2".to_owned();
            let binaries = Binaries { etcd: folder.clone(), cni: folder.clone(), folder, version, release };
            let (run, owner) = (String::new(), String::new());
            Options { folder: PathBuf::new(), binaries, pause: "/".into(), run, owner, limit: Duration::ZERO }
        } else {
            options(&folder)
        };
        options.folder = folder;
        options.run = std::env::var(RUN).expect("a starter is told its run");
        match Cluster::up(&options, &|what| println!("{what}")).await {
            Ok(_) => println!("usable"),
            Err(error) => panic!("{error}"),
        }
        std::future::pending::<()>().await;
    }
}

fn command(prefix: &[&str], folder: &Path, run: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(prefix.first().map_or(this.as_path(), Path::new));
    command.args(prefix.iter().skip(1));
    if !prefix.is_empty() {
        command.arg(&this);
    }
    own_args(&mut command, folder, run);
    command
}

fn own_args(command: &mut Command, folder: &Path, run: &str) {
    command.args(["starter", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder).env(RUN, run);
}

fn said(command: &mut Command) -> String {
    let said = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
}
