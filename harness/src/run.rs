//! A run: its id, its folder, what it was asked to do, and whether somebody still works on it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::error::BadInput;
use crate::procfs;
use crate::random;
use crate::target::Targets;
use crate::tools::Tools;

/// The variable that tells a case which run it belongs to: the run's folder.
pub const RUN_FOLDER: &str = "CONFORMANCE_RUN_FOLDER";

/// A process, named for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub ticks: u64,
}

impl Owner {
    /// The process with this id, as it is now.
    pub fn of(pid: u32) -> Self {
        Self { pid, ticks: procfs::start_ticks(pid).unwrap_or_default() }
    }

    /// Whether this very process is still there, not another that was given its id.
    pub fn is_alive(self) -> bool {
        procfs::start_ticks(self.pid) == Some(self.ticks)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.ticks)
    }
}

impl FromStr for Owner {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (pid, ticks) = text.trim().split_once(':').context("failed to read an owner: it has no colon")?;
        Ok(Self { pid: pid.parse()?, ticks: ticks.parse()? })
    }
}

/// A run, as it stands in `run.json` in its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Time and four random digits: sorts by time, unique on a machine.
    pub id: String,
    /// Where evidence, reports and logs go.
    pub folder: PathBuf,
    /// When it began.
    pub started: Timestamp,
    /// The process whose end is the end of the run.
    pub owner: Owner,
    /// The programs.
    pub tools: Tools,
    /// The target file, where one was given.
    pub target_file: Option<PathBuf>,
    /// The cells that were asked for: one that leaves no evidence did not run.
    pub cells: Vec<Cell>,
}

/// Where runs go unless told otherwise.
pub fn default_output() -> PathBuf {
    crate::tools::target_folder().join("conformance")
}

impl Run {
    /// Begins a run below the folder `output`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(
        output: &Path,
        owner: Owner,
        tools: Tools,
        target_file: Option<PathBuf>,
        cells: Vec<Cell>,
    ) -> Result<Self> {
        let started = Timestamp::now();
        let id = format!("{}-{}", started.strftime("%Y%m%d-%H%M%S"), random::hex(2)?);
        let run = Self { folder: output.join(&id), id, started, owner, tools, target_file, cells };
        let write = || -> Result<()> {
            fs::create_dir_all(run.evidence_folder())?;
            fs::create_dir_all(run.logs_folder())?;
            fs::write(run.folder.join("run.json"), serde_json::to_vec_pretty(&run)?)?;
            Ok(())
        };
        write().map_err(|error| {
            BadInput::new(
                format!("output folder {}", output.display()),
                format!("failed to write there: {error}"),
                "give a folder with room that this user may write to: --output FOLDER",
            )
        })?;
        Ok(run)
    }

    /// The run whose folder this is.
    ///
    /// # Errors
    /// There is no run there, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("run.json");
        let text = fs::read_to_string(&file).map_err(|error| {
            BadInput::new(
                format!("run folder {}", folder.display()),
                format!("failed to read run.json: {error}"),
                "name a run that `cargo conformance report` lists",
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("failed to understand {}", file.display()))
    }

    /// The run that this process belongs to.
    ///
    /// # Errors
    /// It belongs to none: it was not started by cargo-nextest.
    pub fn current() -> Result<Self> {
        let folder = std::env::var_os(RUN_FOLDER).ok_or_else(|| {
            BadInput::new(
                format!("environment variable {RUN_FOLDER}"),
                "it is not set, so this case belongs to no run",
                "start cases with `cargo nextest run` or `cargo conformance run`, not with `cargo test`",
            )
        })?;
        Self::open(Path::new(&folder))
    }

    /// Every run below the folder `output`, the oldest first. Folders that hold no run are passed over.
    pub fn list(output: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(output) else { return Vec::new() };
        let mut runs: Vec<_> = entries.flatten().filter_map(|entry| Self::open(&entry.path()).ok()).collect();
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        runs
    }

    /// Whether somebody still works on it.
    pub fn is_alive(&self) -> bool {
        self.owner.is_alive()
    }

    /// One JSON record a cell.
    pub fn evidence_folder(&self) -> PathBuf {
        self.folder.join("evidence")
    }

    /// One folder a cell.
    pub fn logs_folder(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The targets of this run.
    ///
    /// # Errors
    /// See [`Targets::read`].
    pub fn targets(&self) -> Result<Targets, BadInput> {
        self.target_file.as_deref().map_or_else(|| Ok(Targets::default()), Targets::read)
    }
}
