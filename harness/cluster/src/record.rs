//! What is known of a cluster, in its folder: enough to use it, and to take it down whatever became of its starter.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::binaries::Binaries;
use crate::component::Component;
use crate::error::Unusable;
use crate::network::Block;
use crate::procfs::Process;

/// The label that every process of a cluster carries in its environment: `<id>:<folder>`.
pub(crate) const LABEL: &str = "CONFORMANCE_CLUSTER";

/// A cluster as it stands in its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Eight random digits: in the names of its link and its cgroups.
    pub(crate) id: String,
    /// The run that it belongs to; empty for none.
    pub(crate) run: String,
    /// The process whose end is the end of the run; empty for a cluster that stays until it is taken down.
    pub(crate) owner: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its programs.
    pub(crate) binaries: Binaries,
    /// The static program that is the first process of the cluster and of each pod.
    pub(crate) pause: PathBuf,
    /// Its addresses, once they are claimed.
    pub(crate) block: Option<Block>,
    /// The first process of its namespaces, once it is there.
    pub(crate) init: Option<Process>,
    /// What holds each component: it ends when the component does.
    pub(crate) components: BTreeMap<Component, Process>,
}

impl Record {
    /// Reads the record in `folder`.
    ///
    /// # Errors
    /// [`Unusable`]: there is none.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = file(folder);
        let text = fs::read_to_string(&file).map_err(|error| {
            let remedy = "name a folder that `cargo conformance cluster up --folder` was given";
            Unusable::new(format!("folder {}", folder.display()), format!("there is no cluster: {error}"), remedy)
        })?;
        serde_json::from_str(&text).with_context(|| format!("failed to understand {}", file.display()))
    }

    /// Writes it as a whole: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        let file = file(&self.folder);
        let half = file.with_extension("half");
        write_private(&half, &serde_json::to_vec_pretty(self)?)?;
        fs::rename(&half, &file).with_context(|| format!("failed to write {}", file.display()))
    }

    /// The label of its processes.
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", self.id, self.folder.display())
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The log of a component, or of `init`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Its addresses.
    pub(crate) fn block(&self) -> Result<Block> {
        self.block.context("failed to find the addresses of the cluster: it was never up")
    }

    /// The first process of its namespaces.
    pub(crate) fn init(&self) -> Result<Process> {
        self.init.context("failed to find the first process of the cluster: it was never up")
    }
}

/// Where the record is.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(content)
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

/// The last lines of a log, for an error.
pub(crate) fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
    if last.is_empty() { "nothing".to_owned() } else { last }
}
