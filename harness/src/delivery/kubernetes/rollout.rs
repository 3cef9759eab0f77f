//! `restart`: a controller with a service account of its own writes the Secret and rolls the Deployment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use sidecar::config::{DeliverConfig, DeliveryConfig, RolloutConfig};
use sidecar::delivery::rollout::{ANNOTATION, mark};
use sidecar::status::{Event, Status};

use super::{controller, files, probe, sidecar};
use crate::candidate::Trigger;
use crate::delivery::{Choice, Delivery, Deployment, Scene};
use crate::evidence::TriggerUse;
use crate::platform::kubernetes::{Namespace, Plan, container_name, reason};
use crate::platform::{line, take_err, take_out};

/// The controller, and the app that it rolls.
pub(super) struct Rollout(pub(super) Rc<Namespace>);

#[async_trait(?Send)]
impl Delivery for Rollout {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let name = scene.reader.container.clone();
        let secrets = ["a", "b"].map(|which| format!("{name}-env-{which}"));
        let app = probe(scene);
        let (trigger, config) = scene.trigger(Choice::Best).await?;
        let deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source: scene.candidate.source(scene.reader)?,
            trigger: config,
            delivery: DeliveryConfig::Rollout(RolloutConfig::new(&self.0.name, &secrets, &name, &container_name(&app))),
        };
        let plan = Plan {
            name: controller(&name),
            rules: rules(&secrets, &name),
            containers: vec![sidecar(scene, &deliver)?],
            files: files(scene, &[])?,
            ..Plan::default()
        };
        for secret in &secrets {
            self.0.secret(secret, BTreeMap::new()).await?;
        }
        let mut controller = self.0.deploy(&plan).await?;
        // A controller that fell back to asking must not pass for one that is told.
        let (delivered, told) = (Cell::new(false), Cell::new(trigger == Trigger::VersionPoll));
        let deadline = scene.deadline;
        let status = take_out(&mut controller);
        *crate::platform::Member::err(&mut controller) = status;
        controller
            .unless_stuck(async |controller| {
                line(controller, "the written Secret and the subscription", deadline, |text| {
                    match Status::parse(text).ok()?.event {
                        Event::Delivered { .. } => delivered.set(true),
                        Event::Subscribed => told.set(true),
                        _ => {}
                    }
                    (delivered.get() && told.get()).then_some(())
                })
                .await
            })
            .await?;
        let [secret, _] = secrets;
        let written = self.0.api::<Secret>().get(&secret).await;
        let written = written.map_err(|error| anyhow::anyhow!("failed to look at {secret}: {}", reason(&error)))?;
        let version = written.metadata.resource_version.context("failed to find the Secret's version")?;
        let app = Plan {
            name,
            files: vec![scene.key_file.to_owned()],
            containers: vec![app],
            app: Some(0),
            // As the controller would annotate it: it finds nothing to roll.
            annotations: BTreeMap::from([(ANNOTATION.to_owned(), mark(&secret, &version))]),
            env_from: Some((secret, scene.names.to_vec())),
            ..Plan::default()
        };
        let mut app = self.0.deploy(&app).await?;
        app.available(deadline).await?;
        app.rolls();
        let (out, status) = (take_out(&mut app), take_err(&mut controller));
        let mut deployment = Deployment::new(out, vec![Box::new(controller), Box::new(app)]);
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        Ok(deployment)
    }
}

/// What the controller may do: nothing but write these Secrets, look at this Deployment and roll it.
fn rules(secrets: &[String], deployment: &str) -> Vec<PolicyRule> {
    let rule = |group: &str, resource: &str, names: &[String], verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(names.to_vec()),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        non_resource_urls: None,
    };
    let deployment = [deployment.to_owned()];
    vec![rule("", "secrets", secrets, &["patch"]), rule("apps", "deployments", &deployment, &["get", "patch"])]
}
