//! cargo-nextest: the runner of the cases.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cell::Cell;
use crate::error::BadInput;
use crate::matrix;
use crate::tools::{cargo, workspace};

/// The version that the suite was built with; an older one of the 0.9 series may do.
const VERSION: &str = "0.9.143";

/// The profile of the platform `docker`.
pub(super) const DOCKER_PROFILE: &str = "docker";

/// The profile of everything that takes no more than this machine and a Docker engine.
pub(super) const ENGINE_PROFILE: &str = "engine";

/// The profile of the platform `kubernetes`.
pub(super) const KUBERNETES_PROFILE: &str = "kubernetes";

/// Installs cargo-nextest if it is missing.
pub(super) fn install() -> Result<()> {
    let here =
        Command::new(cargo()).args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if here.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    anstream::eprintln!("installing cargo-nextest {VERSION} (once; takes some minutes)");
    let status = Command::new(cargo())
        .args(["install", "--quiet", "--locked", "cargo-nextest", "--version", VERSION])
        .stdin(Stdio::null())
        .status()
        .context("failed to start cargo")?;
    ensure!(status.success(), "failed to install cargo-nextest: cargo says why above");
    Ok(())
}

/// Checks that a profile exists.
pub(super) fn check_profile(name: &str) -> Result<()> {
    let file = workspace().join(".config/nextest.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let config: toml::Table = toml::from_str(&text).with_context(|| format!("failed to read {}", file.display()))?;
    let profiles = config.get("profile").and_then(toml::Value::as_table).context("failed to find profiles")?;
    if profiles.contains_key(name) {
        return Ok(());
    }
    let known: Vec<_> = profiles.keys().map(String::as_str).collect();
    Err(BadInput::new(
        "--profile",
        format!("there is no profile `{name}`"),
        format!("use one of: {}", known.join(", ")),
    )
    .into())
}

/// The command that holds these cells.
pub(super) fn command(profile: &str, cells: &[Cell]) -> Vec<OsString> {
    // The whole workspace, so that this and `cargo nextest run` share one build; the filter leaves the cells.
    // A profile's own filter is for those who give none.
    let words =
        ["nextest", "run", "--workspace", "--no-tests", "fail", "--ignore-default-filter", "--profile", profile];
    let mut command = vec![cargo()];
    command.extend(words.map(OsString::from));
    command.extend(["-E".into(), filter(cells).into()]);
    command
}

/// A filter expression that fits exactly these cells' cases.
fn filter(cells: &[Cell]) -> String {
    let mut by_check = BTreeMap::<String, Vec<&Cell>>::new();
    for cell in cells {
        by_check.entry(cell.case_path()).or_default().push(cell);
    }
    let all = matrix::cells();
    let tests = by_check.into_iter().flat_map(|(path, wanted)| {
        // A check that is wanted under every delivery needs no list of them.
        if all.iter().filter(|cell| cell.case_path() == path).count() == wanted.len() {
            return vec![format!("test(/^{path}::case_/)")];
        }
        wanted.iter().map(|cell| format!("test(/{}/)", cell.case_pattern())).collect()
    });
    format!("package(suites) and ({})", tests.collect::<Vec<_>>().join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{CandidateId, DeliveryId, Place, PlatformId};

    #[test]
    fn a_filter_names_whole_checks_and_single_cells() {
        let reload = Place::new(CandidateId::Vault, PlatformId::Process, DeliveryId::Reload);
        let mut cells: Vec<_> = matrix::cells().into_iter().filter(|cell| cell.check == "scope.isolated").collect();
        cells.push(Cell::new("rotation.burst", reload));
        assert_eq!(
            filter(&cells),
            "package(suites) and \
             (test(/^rotation::burst::case_[0-9]+_vault_process_reload$/) or test(/^scope::isolated::case_/))"
        );
    }

    #[test]
    fn an_unknown_profile_is_bad_input_that_names_the_known_ones() {
        let error = check_profile("nightlly").unwrap_err().to_string();
        assert!(error.contains("use one of: cluster, default, docker"), "{error}");
        check_profile("default").unwrap();
    }
}
