//! The network of a cluster: a namespace of its own, and one link to the machine.
//!
//! Bridges, addresses, sockets and kube-proxy's rules are all inside the namespace, so two clusters cannot meet and all
//! of it goes when the last process does. On the machine's side there is one end of the link and one route.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::error::Unusable;
use crate::namespace;
use crate::record::Record;

/// Where blocks come from: 198.18.0.0/15 is set aside for tests of networks (RFC 2544) and routed nowhere.
const POOL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Blocks of 1024 addresses in it.
const BLOCKS: u8 = 128;

/// The addresses of one cluster: 1024 in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block(u8);

impl Block {
    fn address(self, part: u8, host: u8) -> Ipv4Addr {
        let base = u32::from(POOL) + u32::from(self.0) * 1024;
        Ipv4Addr::from(base + u32::from(part) * 256 + u32::from(host))
    }

    /// All of it.
    pub(crate) fn all(self) -> String {
        format!("{}/22", self.address(0, 0))
    }

    /// The machine's end of the link: what a pod calls to reach something on the machine.
    pub(crate) fn machine(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// The cluster's end: node, API server.
    pub(crate) fn node(self) -> Ipv4Addr {
        self.address(0, 2)
    }

    /// Addresses of pods.
    pub(crate) fn pods(self) -> String {
        format!("{}/24", self.address(1, 0))
    }

    /// Addresses of Services.
    pub(crate) fn services(self) -> String {
        format!("{}/24", self.address(2, 0))
    }

    /// The Service `kubernetes`: always the first address.
    pub(crate) fn first_service(self) -> Ipv4Addr {
        self.address(2, 1)
    }
}

/// The machine's end of the link; the id makes it this cluster's and nobody else's.
pub(crate) fn link(id: &str) -> String {
    format!("cf{id}")
}

/// Makes the link and claims a block that no other cluster has.
///
/// # Errors
/// [`Unusable`]: all blocks are taken. Or the machine refuses a link.
pub(crate) fn connect(record: &Record) -> Result<Block> {
    let (link, init) = (link(&record.id), record.init()?.pid);
    // Both ends at once, each where it belongs: a starter that is killed here leaves none that has no namespace to go with.
    batch(ip(), &format!("link add {link} type veth peer name eth0 netns {init}\nlink set {link} up\n"))?;
    let block = claim(record, &link)?;
    let (machine, node) = (block.machine(), block.node());
    batch(ip(), &format!("address add {machine}/32 peer {node} dev {link}\n"))?;
    let inside = format!("address add {node}/32 peer {machine} dev eth0\nlink set eth0 up\n");
    batch(namespace::enter(record, "ip")?, &inside)?;
    Ok(block)
}

/// A route is what claims a block: the kernel takes only one of each.
fn claim(record: &Record, link: &str) -> Result<Block> {
    let first = u8::from_str_radix(record.id.get(..2).unwrap_or_default(), 16).unwrap_or_default() % BLOCKS;
    let mut refused = String::new();
    for block in (0..BLOCKS).map(|next| Block((first + next) % BLOCKS)) {
        let within = ip().args(["-4", "route", "show", "table", "all", "root", &block.all()]).output();
        let within = within.context("failed to start ip")?;
        if !within.stdout.is_empty() {
            refused = format!("the last one by {}", String::from_utf8_lossy(&within.stdout).trim());
            continue;
        }
        let gateway = block.node().to_string();
        let said = ip().args(["route", "add", &block.all(), "via", &gateway, "dev", link, "onlink"]).output();
        let said = said.context("failed to start ip")?;
        if said.status.success() {
            return Ok(block);
        }
        refused = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    }
    let problem = format!("all {BLOCKS} blocks of {POOL}/15 are taken; {refused}");
    Err(Unusable::new(
        "network",
        problem,
        "take clusters down: `cargo conformance cluster down`, `cargo conformance reap`",
    )
    .into())
}

/// Removes the link, if it is still there.
///
/// # Errors
/// The machine does not let us.
pub(crate) fn disconnect(id: &str) -> Result<()> {
    let link = link(id);
    let place = Path::new("/sys/class/net").join(&link);
    if !place.exists() {
        return Ok(());
    }
    let said = ip().args(["link", "delete", &link]).output().context("failed to start ip")?;
    // The kernel may have been faster.
    ensure!(
        said.status.success() || !place.exists(),
        "failed to remove the link {link}: {}",
        String::from_utf8_lossy(&said.stderr).trim()
    );
    Ok(())
}

fn ip() -> Command {
    let mut command = Command::new("ip");
    command.env("PATH", crate::binaries::path());
    command
}

/// Several commands of `ip`, one per line, in one process.
fn batch(mut command: Command, lines: &str) -> Result<()> {
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to start ip")?;
    child.stdin.take().context("failed to talk to ip")?.write_all(lines.as_bytes()).context("failed to talk to ip")?;
    let said = child.wait_with_output().context("failed to wait for ip")?;
    let told = lines.trim().replace('\n', "; ");
    ensure!(
        said.status.success(),
        "failed to set up the network ({told}): {}",
        String::from_utf8_lossy(&said.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_lie_beside_each_other_in_the_pool() {
        let (first, last) = (Block(0), Block(BLOCKS - 1));
        assert_eq!((first.all(), first.node().to_string()), ("198.18.0.0/22".to_owned(), "198.18.0.2".to_owned()));
        assert_eq!((last.all(), last.services()), ("198.19.252.0/22".to_owned(), "198.19.254.0/24".to_owned()));
        assert_eq!(Block(1).first_service().to_string(), "198.18.6.1");
    }
}
