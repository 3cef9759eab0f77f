//! The namespaces of a cluster: processes, mounts and network of its own, under one first process.
//!
//! When that process is killed the kernel kills every other in its namespace, waits for them, and drops mounts, links and
//! rules with the last. So taking a cluster down is one kill, however many pods, shims and mounts there are.
//!
//! Kubernetes and containerd have fixed places below `/var` and `/run`. Over both lies a layer in memory, which also
//! keeps Secrets off the disk: etcd, the kubelet and containerd keep everything there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

use crate::binaries::path;
use crate::error::Unusable;
use crate::procfs::{self, Process};
use crate::record::{LABEL, Record, last_words};

/// What the first process does before it becomes `pause`: `$1` is the folder, `$2` is `pause`. The kubelet insists on some
/// settings that belong to the whole machine; it is shown files that have them, and the machine keeps its own.
const SETUP: &str = r#"
set -eu
memory=$1/memory
mount -t tmpfs -o mode=0700 tmpfs "$memory"
for top in run var; do
    mkdir -p "$memory/$top/upper" "$memory/$top/work"
    mount -t overlay -o "lowerdir=/$top,upperdir=$memory/$top/upper,workdir=$memory/$top/work" overlay "/$top"
done
for owner in etcd kubelet containerd; do
    mkdir -p -m 0700 "$memory/$owner" "/var/lib/$owner"
    mount --bind "$memory/$owner" "/var/lib/$owner"
done
mkdir "$memory/sys"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    name=${setting%=*}
    [ -e "/proc/sys/$name" ] || continue
    shown=$memory/sys/$(echo "$name" | tr / .)
    echo "${setting#*=}" >"$shown"
    mount --bind "$shown" "/proc/sys/$name"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
echo ready
exec "$2"
"#;

/// Starts the first process and waits until its namespaces are furnished.
///
/// # Errors
/// [`Unusable`]: this machine does not allow namespaces or mounts.
pub(crate) fn start(record: &Record) -> Result<Process> {
    let log = record.log("init");
    let errors = File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
    let mut command = Command::new("unshare");
    labelled(&mut command, record);
    command.args(["--fork", "--pid", "--mount", "--net", "--mount-proc", "sh", "-c", SETUP, "init"]);
    command.arg(&record.folder).arg(&record.pause).stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().context("failed to start unshare")?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut said).context("failed to listen to the first process")?;
    }
    let first = procfs::children(child.id()).first().copied().and_then(Process::of);
    let Some(first) = first.filter(|_| said.trim() == "ready") else {
        child.kill().and_then(|()| child.wait()).context("failed to end unshare")?;
        let remedy = "run as root with CAP_SYS_ADMIN and CAP_NET_ADMIN; in a container, in a privileged one";
        return Err(Unusable::new("namespaces", format!("failed to make them: {}", last_words(&log)), remedy).into());
    };
    // Somebody must collect it when it ends.
    thread::spawn(move || child.wait());
    Ok(first)
}

/// A command that runs inside, with its output in the log of `init` unless the caller says otherwise.
pub(crate) fn enter(record: &Record, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let mut command = Command::new("nsenter");
    labelled(&mut command, record);
    let target = record.init()?.pid.to_string();
    command.args(["--target", &target, "--pid", "--mount", "--net", "--"]).arg(program);
    Ok(command)
}

/// Nothing of the caller's environment: it may hold credentials.
fn labelled(command: &mut Command, record: &Record) {
    command.env_clear().env("PATH", path()).env("HOME", "/var/lib/kubelet").env(LABEL, record.label());
    // An interrupt at the terminal is for the starter, which takes everything down in order.
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
}
