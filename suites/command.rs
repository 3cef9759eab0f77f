//! The command as a user starts it, for the suites that look at it from outside.

use std::path::Path;
use std::process::{Command, Output};

use harness::run::{RUN_FOLDER, Run};

/// `conformance` with these arguments, as if nobody else were running: not as part of this run.
pub(crate) fn conformance(args: &[&str]) -> Command {
    let run = Run::current().unwrap();
    let mut command = Command::new(run.tools.conformance);
    command.args(args).env_remove(RUN_FOLDER).env("NO_COLOR", "1");
    // The case itself is run by cargo-nextest, which must not take the inner run for a part of the outer one.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEXTEST")) {
        command.env_remove(name);
    }
    command
}

/// Exit code and everything that was said.
pub(crate) fn told(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code(), said)
}

/// The arguments that keep a run in this folder.
pub(crate) fn kept_in(folder: &Path) -> [&str; 2] {
    ["--output", folder.to_str().unwrap()]
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = conformance(&["run", "--check", "scope.isolated", "--candidate", "vault"]);
        command.args(kept_in(folder.path())).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    for run in [start(), start()] {
        let (code, said) = told(&run.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("1 pass"), "{said}");
    }
    assert_eq!(Run::list(folder.path()).len(), 2);
}

#[test]
fn a_report_can_be_printed_again_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = conformance(&["run", "--check", "audit.rotation-recorded", "--candidate", "vault"])
        .args(kept_in(folder.path()))
        .output()
        .unwrap();
    assert_eq!(told(&run).0, Some(0), "{}", told(&run).1);
    let written = std::fs::read_to_string(Run::list(folder.path())[0].folder.join("scorecard.json")).unwrap();
    let args = ["report", "latest", "--format", "json"];
    let printed = conformance(&args).args(kept_in(folder.path())).output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), written);
}
