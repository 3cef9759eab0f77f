//! What belongs to a backend on this platform: processes of this machine, outside the cluster as the candidates are, on an
//! address that pods reach.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::platform::process::ProcessPlatform;
use crate::platform::{Endpoint, Exposure, Member, Platform, Program, Workload};

/// Processes on loopback, each behind a door on the address that pods see. The door is this process's own and goes with it.
pub struct Outside {
    processes: ProcessPlatform,
    host: IpAddr,
    doors: Vec<JoinHandle<()>>,
}

impl Outside {
    /// Puts doors on `host`.
    pub fn new(processes: ProcessPlatform, host: IpAddr) -> Self {
        Self { processes, host, doors: Vec::new() }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for door in &self.doors {
            door.abort();
        }
    }
}

#[async_trait(?Send)]
impl Platform for Outside {
    fn folder(&self) -> &Path {
        self.processes.folder()
    }

    fn path(&self, program: &Program) -> PathBuf {
        self.processes.path(program)
    }

    fn endpoint(&mut self, name: &str, port: u16) -> Result<Endpoint> {
        let Endpoint { listen, .. } = self.processes.endpoint(name, port)?;
        // Bound here and kept: nobody else can take the port before the member is there.
        let open = || -> std::io::Result<(TcpListener, SocketAddr)> {
            let door = std::net::TcpListener::bind((self.host, 0))?;
            door.set_nonblocking(true)?;
            let address = door.local_addr()?;
            Ok((TcpListener::from_std(door)?, address))
        };
        let (door, address) = open().with_context(|| {
            format!("failed to listen on {}, where pods are to find {name}: set {}", self.host, super::HOST)
        })?;
        self.doors.push(tokio::spawn(pass(door, listen)));
        Ok(Endpoint { listen, inside: address.to_string() })
    }

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        self.processes.start(workload).await
    }

    async fn exposed(&self) -> Result<Vec<Exposure>> {
        self.processes.exposed().await
    }

    fn leaks(&self) -> Vec<String> {
        self.processes.leaks()
    }
}

/// Passes connections on; who finds nobody behind the door is refused as soon as it is known.
async fn pass(door: TcpListener, to: SocketAddr) {
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept() => if let Ok((mut near, _)) = accepted {
                passing.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    // Latency of small messages is what is looked at here. Without it everything still works.
                    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
                    // How a connection ends is the business of both ends.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            },
            Some(_) = passing.join_next() => {}
        }
    }
}
