//! What `/proc` says of processes: arguments, labels, start times.

use std::fs;

/// When a process started, in clock ticks since boot; with its id this names a process for good (proc(5), field 22).
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: count fields from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
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
