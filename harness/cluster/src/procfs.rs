//! What `/proc` says of processes: arguments, labels, start times.

use std::fmt;
use std::fs;
use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, named for good: its id may go to another, which will have started later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub ticks: u64,
}

impl Process {
    /// The process that has this id now, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, ticks: start_ticks(pid)? })
    }

    /// Whether it still runs: one that ended and was not collected does not.
    pub fn is_alive(self) -> bool {
        start_ticks(self.pid) == Some(self.ticks) && state(self.pid).is_some_and(|state| state != "Z")
    }

    /// Kills it and waits until it is gone; whoever is gone already stays so.
    ///
    /// # Errors
    /// It may not be killed, or is not gone within `limit`.
    pub fn end(self, limit: Timespec) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(()) };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        // Only now is the id known to stay with this process.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&descriptor, Signal::KILL) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut ended = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut ended, Some(&limit))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end", self.pid))),
            _ => Ok(()),
        }
    }
}

/// When a process started, in clock ticks since boot; with its id this names a process for good (proc(5), field 22).
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: count fields from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.ticks)
    }
}

/// Whether it runs, sleeps, or has ended: one letter (proc(5), field 3).
fn state(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().next()?.to_owned())
}

/// The process that a process is a child of (proc(5), field 4).
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process is the first one of a namespace of processes other than ours (proc(5), `NSpid`).
pub fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let ids: Vec<_> = ids.split_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

/// The processes that are children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    pids().into_iter().filter(|child| parent(*child) == Some(pid)).collect()
}

/// Every process id of this machine.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The arguments of a process, as anyone on the machine can list them.
pub fn arguments(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// A variable of the environment with which a process was started, where we may see it.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_arguments_and_start() {
        let me = std::process::id();
        assert!(pids().contains(&me));
        assert!(!arguments(me).is_empty());
        assert!(start_ticks(me).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_ticks(0), None);
    }
}
