//! `conformance tether`: becomes another program, which the kernel kills when the parent ends.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

#[derive(Args)]
pub(super) struct Tether {
    /// The process id of the parent, as the parent knows it
    #[arg(long)]
    parent: u32,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

impl Tether {
    pub(super) fn exec(self) -> Result<u8> {
        set_parent_process_death_signal(Some(Signal::KILL)).context("failed to tie this process to its parent")?;
        // A parent that ended before the line above will not end again.
        let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
        if parent != self.parent {
            return Ok(super::EXIT_ERROR);
        }
        let mut command = self.command.into_iter();
        let program = command.next().context("failed to find the program to run")?;
        let error = Command::new(&program).args(command).exec();
        Err(error).with_context(|| format!("failed to run {}", program.display()))
    }
}
