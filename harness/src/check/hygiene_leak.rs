//! `hygiene.no-leak`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::cell::Reach;
use crate::platform::Exposure;
use crate::procfs;
use crate::redact::{leaking_files, leaks};
use crate::verdict::Judgement;
use crate::way::{HOME, Way, probed_names};

/// A value is where it has to be and nowhere else.
pub(super) struct NoLeak;

const ABOUT: About = About {
    id: "hygiene.no-leak",
    sentence: "A value stands in no log, argument list or temporary file, and the platform shows none: \
               only where the delivery keeps it by design",
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
        // While everything is there that could show something.
        let exposed = way.exposed().await?;
        let environments = way.deployment(app).secret_environments.clone();
        let (shown, leaked) = parted(exposed, &environments);
        way.record.exposed.clone_from(&shown);
        found.extend(leaked);
        way.stop_containers().await?;
        let (folder, logs) = way.folders();
        found.extend(leaking_files(&marker, &folder, &by_design));
        // The logs are redacted as they are written: what was taken out of them counts as well. Asking for it also brings
        // everything into the files that are searched next.
        found.extend(way.leaks());
        found.extend(leaking_files(&marker, &logs, &[]));
        Ok(judge(arrived, &found, &shown))
    }
}

/// The processes of this machine whose arguments hold the marker.
fn in_arguments(marker: &str) -> Vec<String> {
    let holds = |pid: &u32| leaks(marker, &procfs::arguments(*pid));
    procfs::pids().into_iter().filter(holds).map(|pid| format!("arguments of process {pid}")).collect()
}

/// What the platform shows by design, since the delivery puts values into the environment of these members, and what it
/// shows otherwise.
fn parted(exposed: Vec<Exposure>, environments: &[String]) -> (Vec<String>, Vec<String>) {
    let by_design = |exposure: &Exposure| exposure.environment && environments.contains(&exposure.member);
    let (shown, leaked): (Vec<_>, Vec<_>) = exposed.into_iter().partition(by_design);
    let places = |exposures: Vec<Exposure>| exposures.into_iter().map(|exposure| exposure.place).collect();
    (places(shown), places(leaked))
}

fn judge(arrived: bool, found: &[String], shown: &[String]) -> Judgement {
    let mut faults = Vec::new();
    if !arrived {
        faults.push("no value arrived, so none could leak".to_owned());
    }
    if !found.is_empty() {
        faults.push(format!("a value stands in: {}", found.join(", ")));
    }
    Judgement::from_faults(&faults, || {
        let nowhere = "no log, argument list or temporary file holds a value";
        match shown {
            [] => format!("{nowhere}, and the platform shows none"),
            _ => format!("{nowhere}; by the delivery's design the platform itself shows one: {}", shown.join(", ")),
        }
    })
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
        assert_eq!(judge(arrived, &found, &[]).verdict, verdict);
    }

    #[rstest]
    #[case::by_design("app.probe", true, &["app.probe"], true)]
    #[case::another_member("app.sidecar", true, &["app.probe"], false)]
    #[case::another_place("app.probe", false, &["app.probe"], false)]
    #[case::no_such_design("app.probe", true, &[], false)]
    fn only_an_environment_that_holds_values_by_design_may_show(
        #[case] member: &str,
        #[case] environment: bool,
        #[case] environments: &[&str],
        #[case] by_design: bool,
    ) {
        let place = "docker inspect".to_owned();
        let exposure = Exposure { member: member.into(), place: place.clone(), environment };
        let environments: Vec<_> = environments.iter().map(ToString::to_string).collect();
        let (shown, leaked) = parted(vec![exposure], &environments);
        assert_eq!((shown.contains(&place), leaked.contains(&place)), (by_design, !by_design));
        // It is never silent.
        assert!(judge(true, &leaked, &shown).reason.contains(&place));
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
