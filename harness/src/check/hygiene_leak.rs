//! `hygiene.no-leak`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::Reach;
use crate::procfs;
use crate::redact::{leaking_files, leaks};
use crate::verdict::Judgement;
use crate::way::{HOME, Way, probed_names};

/// A value is where it has to be and nowhere else.
pub(super) struct NoLeak;

const ABOUT: About = About {
    id: "hygiene.no-leak",
    sentence: "A value stands in no log, argument list, or temporary file: only where the delivery keeps it by design",
    answers: &[Question::Hygiene],
    spread: Spread::Every,
    needs: &[],
};

#[async_trait(?Send)]
impl Check for NoLeak {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let first = way.fresh_values()?;
        way.provision(&first).await?;
        let app = way.deploy(&probed_names()).await?;
        let mut arrived = way.observe(app, &first).await?.is_some();
        let rotated = way.fresh_values()?;
        if way.delivery_id.reach() == Reach::Nothing {
            way.write(HOME, &rotated).await?;
        } else {
            arrived &= way.rotate(app, &rotated).await?.seen.is_some();
        }
        let marker = way.marker().to_owned();
        let mut found = in_arguments(&marker);
        let by_design = way.deployment(app).secret_files.clone();
        way.stop_containers().await?;
        let (folder, logs) = way.folders();
        found.extend(leaking_files(&marker, &folder, &by_design));
        // The logs are redacted as they are written: what was taken out of them counts as well. Asking for it also brings
        // everything into the files that are searched next.
        found.extend(way.leaks());
        found.extend(leaking_files(&marker, &logs, &[]));
        Ok(judge(arrived, &found))
    }
}

/// The processes of this machine whose arguments hold the marker.
fn in_arguments(marker: &str) -> Vec<String> {
    let holds = |pid: &u32| leaks(marker, &procfs::arguments(*pid));
    procfs::pids().into_iter().filter(holds).map(|pid| format!("arguments of process {pid}")).collect()
}

fn judge(arrived: bool, found: &[String]) -> Judgement {
    let mut faults = Vec::new();
    if !arrived {
        faults.push("no value arrived, so none could leak".to_owned());
    }
    if !found.is_empty() {
        faults.push(format!("a value stands in: {}", found.join(", ")));
    }
    Judgement::from_faults(&faults, || "no log, argument list or temporary file holds a value".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case(true, &[], Verdict::Pass)]
    #[case(true, &["app.probe stdout line 3"], Verdict::Fail)]
    #[case(false, &[], Verdict::Fail)]
    fn one_place_is_enough(#[case] arrived: bool, #[case] found: &[&str], #[case] verdict: Verdict) {
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(judge(arrived, &found).verdict, verdict);
    }

    #[test]
    fn files_are_searched_but_for_those_that_hold_values_by_design() {
        let folder = tempfile::tempdir().unwrap();
        let (env, backup) = (folder.path().join("app.env"), folder.path().join("app.env.bak"));
        fs::write(&env, "X=canary-1-2").unwrap();
        fs::write(&backup, "X=canary-1-2").unwrap();
        assert_eq!(leaking_files("canary-1-2", folder.path(), &[env]), [backup.display().to_string()]);
    }
}
