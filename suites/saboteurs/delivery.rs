//! A delivery that is not what it is taken for.

use anyhow::Result;
use async_trait::async_trait;
use harness::candidate::PROBED_NAME;
use harness::cell::DeliveryId;
use harness::delivery::{Delivery, Deployment, Scene, by_id};
use harness::observations::Awaited;
use harness::platform::{Member, Program, Workload};
use secrecy::ExposeSecret;

/// What it really is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Saboteur {
    /// It reloads.
    Reload,
    /// It restarts.
    Restart,
    /// It does nothing until the next deploy.
    Redeploy,
    /// It restarts, but its address is that of an instance that nobody restarts.
    AnswersFromBefore,
    /// It restarts, but nobody answers at its address.
    AnswersNobody,
    /// It says the value.
    LeaksToLog,
    /// It passes the value on as an argument.
    LeaksToArguments,
    /// It leaves the value in a file.
    LeaksToFile,
    /// It reloads, and puts the value into the environment of a container beside the app's.
    LeaksToInspection,
}

impl Saboteur {
    pub(super) fn delivery(self) -> Box<dyn Delivery> {
        match self {
            Self::Reload => by_id(DeliveryId::Reload).unwrap(),
            Self::Restart => by_id(DeliveryId::Restart).unwrap(),
            Self::Redeploy => by_id(DeliveryId::Redeploy).unwrap(),
            Self::AnswersFromBefore | Self::AnswersNobody => Box::new(Misdirected(self)),
            Self::LeaksToInspection => Box::new(Exposing),
            Self::LeaksToLog | Self::LeaksToArguments | Self::LeaksToFile => Box::new(Leaky(self)),
        }
    }
}

/// `restart`, with a wrong address.
struct Misdirected(Saboteur);

#[async_trait(?Send)]
impl Delivery for Misdirected {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let mut deployment = by_id(DeliveryId::Restart)?.deploy(scene).await?;
        // Nothing listens on port 1 of the loopback address.
        deployment.address = Some("http://127.0.0.1:1".into());
        if matches!(self.0, Saboteur::AnswersFromBefore) {
            let mut before = by_id(DeliveryId::Redeploy)?.deploy(scene).await?;
            let deadline = scene.deadline;
            if let Awaited::Seen(index) = before.observations.wait(0, deadline, |_| true).await {
                let address = before.observations.seen()[index].observation.address.clone();
                deployment.address = address.map(|address| format!("http://{address}"));
            }
            deployment.join(before);
        }
        Ok(deployment)
    }
}

/// `redeploy`, with a helper beside it that cannot keep a secret.
struct Leaky(Saboteur);

#[async_trait(?Send)]
impl Delivery for Leaky {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (_, values) = scene.candidate.read(scene.reader, scene.reader.environment).await?;
        let value = &values[PROBED_NAME];
        let script = match self.0 {
            Saboteur::LeaksToLog => "echo \"starting with $VALUE\"",
            Saboteur::LeaksToFile => "echo \"$VALUE\" > left-behind.tmp; echo done",
            _ => "echo done",
        };
        let mut helper = Workload {
            name: "helper".into(),
            program: Program::Other("/bin/sh".into()),
            // A pipe that it opens for both ends never ends: it stays until it is stopped, and starts nothing that could stay.
            args: vec!["-c".into(), format!("{script}; mkfifo forever; read line <> forever")],
            ..Workload::default()
        };
        if matches!(self.0, Saboteur::LeaksToArguments) {
            helper.args.push(value.expose_secret().into());
        } else {
            helper.secret_env.insert("VALUE".into(), value.clone());
        }
        let mut helper: Box<dyn Member> = scene.platform.start(helper).await?;
        // What it does is done when it has said so.
        helper.out().recv().await;
        let mut deployment = by_id(DeliveryId::Redeploy)?.deploy(scene).await?;
        deployment.accompany(helper);
        Ok(deployment)
    }
}

/// `reload`, with a container beside it that is given the value as some are used to.
struct Exposing;

#[async_trait(?Send)]
impl Delivery for Exposing {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (_, values) = scene.candidate.read(scene.reader, scene.reader.environment).await?;
        let helper = Workload {
            name: "helper".into(),
            env: [("PROBE_KEY_FILE".to_owned(), scene.key_file.display().to_string())].into(),
            secret_env: [("VALUE".to_owned(), values[PROBED_NAME].clone())].into(),
            ..Workload::default()
        };
        let helper = scene.platform.start(helper).await?;
        let mut deployment = by_id(DeliveryId::Reload)?.deploy(scene).await?;
        deployment.accompany(helper);
        Ok(deployment)
    }
}
