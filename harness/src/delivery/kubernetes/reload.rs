//! `reload`: an init container renders the env file, the sidecar stays beside the app and signals it.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use async_trait::async_trait;
use sidecar::config::{DeliverConfig, DeliveryConfig, ReloadConfig, SourceConfig};
use sidecar::status::{Event, Status};

use super::{files, first, probe, sidecar};
use crate::candidate::{Account, Trigger};
use crate::delivery::{Choice, Delivery, Deployment, Scene};
use crate::evidence::TriggerUse;
use crate::platform::kubernetes::{Namespace, Plan, Token};
use crate::platform::{line, take_err, take_out};

/// The sidecar in the app's pod.
pub(super) struct Reload {
    pub(super) namespace: Rc<Namespace>,
    pub(super) choice: Choice,
    /// Whether the sidecar is let in as the pod's service account, and has no credentials.
    pub(super) by_account: bool,
}

impl Reload {
    /// Where the sidecar reads, the token that it has for that, and the files that it must not have.
    async fn source(&self, scene: &mut Scene<'_>) -> Result<(SourceConfig, Option<Token>, Vec<PathBuf>)> {
        if !self.by_account {
            return Ok((scene.candidate.source(scene.reader)?, None, Vec::new()));
        }
        let token = Token::for_backend(scene.platform.folder());
        let account = Account {
            name: scene.reader.container.clone(),
            namespace: self.namespace.name.clone(),
            audience: token.audience.clone(),
            token_file: token.file.clone(),
        };
        let reviewer = self.namespace.reviewer().await?;
        let source = scene.candidate.source_by_account(scene.reader, &reviewer, &account).await?;
        let credentials = scene.reader.files.iter().filter(|(role, _)| **role != "ca");
        Ok((source, Some(token), credentials.map(|(_, file)| file.clone()).collect()))
    }
}

#[async_trait(?Send)]
impl Delivery for Reload {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (env_file, pid_file) = (scene.file("env"), scene.file("pid"));
        let (trigger, config) = scene.trigger(self.choice).await?;
        let mut app = probe(scene);
        app.env.insert("PROBE_ENV_FILE".into(), env_file.display().to_string());
        app.env.insert("PROBE_PID_FILE".into(), pid_file.display().to_string());
        let (source, token, withheld) = self.source(scene).await?;
        let deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source,
            trigger: config,
            delivery: DeliveryConfig::Reload(ReloadConfig { env_file, pid_file }),
        };
        let sidecar = sidecar(scene, &deliver)?;
        let mut files = files(scene, &[scene.key_file.to_owned()])?;
        files.retain(|file| !withheld.contains(file));
        let plan = Plan {
            name: scene.reader.container.clone(),
            token,
            files,
            init: vec![first(&sidecar, "render", "--once")],
            containers: vec![app, sidecar],
            app: Some(0),
            ..Plan::default()
        };
        let mut member = self.namespace.deploy(&plan).await?;
        // A sidecar that fell back to asking must not pass for one that is told.
        let (rendered, told) = (Cell::new(false), Cell::new(trigger == Trigger::VersionPoll));
        let deadline = scene.deadline;
        member
            .unless_stuck(async |member| {
                line(member, "the rendered env file and the subscription", deadline, |text| {
                    match Status::parse(text).ok()?.event {
                        Event::Rendered { .. } => rendered.set(true),
                        Event::Subscribed => told.set(true),
                        _ => {}
                    }
                    (rendered.get() && told.get()).then_some(())
                })
                .await
            })
            .await?;
        let (out, status) = (take_out(&mut member), take_err(&mut member));
        let mut deployment = Deployment::new(out, vec![Box::new(member)]);
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        Ok(deployment)
    }
}
