//! Saboteurs of the suite `network`, and of its verdicts: who sabotages the app's surroundings is a fault, who breaks the
//! suite's is an error.

use std::path::{Path, PathBuf};

use anyhow::Result;
use async_trait::async_trait;
use harness::cell::{CandidateId, Cell, DeliveryId, Place, PlatformId};
use harness::delivery::{Delivery, Deployment, Scene, by_id};
use harness::fault::Faults;
use harness::hold::hold_sabotaged;
use harness::platform::{Endpoint, Exposure, Member, Platform, Program, Workload};
use harness::run::Run;
use harness::verdict::{Patience, Sla, Verdict};
use harness::way::Sabotage;
use rstest::rstest;

use super::PATIENCE;
use super::backend::{self, Tamper};

/// What keeps the app from what it is to have.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// The backend, or what it does to the env file.
    Backend(Tamper),
    /// Nothing brings new values.
    NeverCatchesUp,
    /// The host starts nothing anew.
    NoHost,
}

/// Held on Doppler's stand-in, whose cells have the fewest containers.
#[rstest]
#[case::on_docker_unreachable("network.backend-unreachable", Harm::Backend(Tamper::EmptiesEnvFile))]
#[case::on_docker_unreachable_for_good("network.backend-unreachable", Harm::NeverCatchesUp)]
#[case::on_docker_slow("network.backend-slow", Harm::NeverCatchesUp)]
#[case::on_docker_lossy("network.lossy", Harm::Backend(Tamper::OldValueAgain))]
#[case::on_docker_reset("network.reset", Harm::Backend(Tamper::EmptiesEnvFile))]
#[case::on_docker_dns_gone("network.dns-gone", Harm::Backend(Tamper::EmptiesEnvFile))]
#[case::on_docker_restarted("network.backend-restarted", Harm::Backend(Tamper::LostRotation))]
#[case::on_docker_paused("network.backend-paused", Harm::Backend(Tamper::LostRotation))]
#[case::on_docker_sidecar_killed("network.sidecar-killed", Harm::NoHost)]
#[case::on_docker_probe_killed("network.probe-killed", Harm::NoHost)]
#[case::on_docker_disk_full("network.disk-full", Harm::Backend(Tamper::LostRotation))]
#[tokio::test]
async fn is_caught(#[case] check: &str, #[case] harm: Harm) {
    let limits = Some((Sla(PATIENCE), Patience(PATIENCE)));
    let sabotage = match harm {
        Harm::Backend(tamper) => Sabotage { candidate: Some(backend::tampered(tamper)), limits, ..Sabotage::default() },
        Harm::NeverCatchesUp => Sabotage { delivery: Some(Box::new(CutOff)), limits, ..Sabotage::default() },
        Harm::NoHost => Sabotage { delivery: Some(Box::new(NoHost)), limits, ..Sabotage::default() },
    };
    let judgement = held(check, sabotage).await;
    println!("{check}: {judgement:?}");
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
}

async fn held(check: &str, sabotage: Sabotage) -> harness::verdict::Judgement {
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let place = Place::new(CandidateId::Doppler, PlatformId::Docker, DeliveryId::Reload);
    hold_sabotaged(&run, &Cell::new(check, place), sabotage).await.unwrap().judgement
}

/// `reload`, whose sidecar is one that has delivered its first value and does nothing more: it signals another app.
struct CutOff;

#[async_trait(?Send)]
impl Delivery for CutOff {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let deployment = by_id(DeliveryId::Reload)?.deploy(scene).await?;
        for file in &deployment.secret_files {
            // The app's process id is gone, so nobody can be signalled.
            std::fs::remove_file(file.with_extension("pid"))?;
        }
        Ok(deployment)
    }
}

/// `reload` on a platform that starts nothing anew.
struct NoHost;

#[async_trait(?Send)]
impl Delivery for NoHost {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let mut platform = Unkept(&mut *scene.platform);
        let mut unkept = Scene {
            platform: &mut platform,
            candidate: &mut *scene.candidate,
            reader: scene.reader,
            names: scene.names,
            tools: scene.tools,
            key_file: scene.key_file,
            deadline: scene.deadline,
        };
        by_id(DeliveryId::Reload)?.deploy(&mut unkept).await
    }
}

struct Unkept<'a>(&'a mut dyn Platform);

#[async_trait(?Send)]
impl Platform for Unkept<'_> {
    fn folder(&self) -> &Path {
        self.0.folder()
    }

    fn values(&self) -> &Path {
        self.0.values()
    }

    fn path(&self, program: &Program) -> PathBuf {
        self.0.path(program)
    }

    fn endpoint(&mut self, name: &str, port: u16) -> Result<Endpoint> {
        self.0.endpoint(name, port)
    }

    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        self.0.start(Workload { keep: false, ..workload }).await
    }

    async fn shared_processes(&mut self, container: &str) -> Result<Option<String>> {
        self.0.shared_processes(container).await
    }

    fn leaks(&self) -> Vec<String> {
        self.0.leaks()
    }

    async fn exposed(&self) -> Result<Vec<Exposure>> {
        self.0.exposed().await
    }

    fn faults(&mut self) -> Option<&mut dyn Faults> {
        self.0.faults()
    }

    async fn end(&mut self) -> Result<()> {
        self.0.end().await
    }
}

/// A fault that cannot be made is the suite's trouble: this platform has none to make.
#[tokio::test]
async fn a_fault_that_cannot_be_made_is_an_error() {
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let place = Place::new(CandidateId::Doppler, PlatformId::Process, DeliveryId::Reload);
    let cell = Cell::new("network.backend-paused", place);
    let judgement = hold_sabotaged(&run, &cell, Sabotage::default()).await.unwrap().judgement;
    assert_eq!(judgement.verdict, Verdict::Error, "{}", judgement.reason);
    assert!(judgement.reason.contains("this platform makes none"), "{}", judgement.reason);
}
