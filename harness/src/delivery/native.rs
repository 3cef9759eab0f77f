//! `native`: the vendor's own agent, as the vendor documents it.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use super::{Delivery, Deployment, Scene};
use crate::candidate::NativeRequest;
use crate::cell::DeliveryId;
use crate::platform::{Program, take_out};
use crate::ready;

/// The vendor's mechanism of this name.
pub(super) struct Native(pub(super) DeliveryId);

#[async_trait(?Send)]
impl Delivery for Native {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let pid_file = scene.file("pid");
        let mut plan = scene.candidate.native(&NativeRequest {
            delivery: self.0,
            reader: scene.reader,
            names: scene.names,
            folder: scene.platform.folder(),
            app: &scene.platform.path(&Program::Probe),
            sidecar: &scene.platform.path(&Program::Sidecar),
            pid_file: &pid_file,
        })?;
        plan.agent.name = format!("{}.agent", scene.reader.container);
        let Some(env_file) = plan.env_file else {
            // The agent is the app's parent: the app's settings go through it, and so do the observations.
            plan.agent.env.extend(scene.probe_settings());
            let mut agent = scene.platform.start(plan.agent).await?;
            let mut deployment = Deployment::new(take_out(agent.as_mut()), vec![agent]);
            deployment.unavoidable = plan.unavoidable;
            return Ok(deployment);
        };
        let mut first = scene.platform.start(plan.agent.clone()).await?;
        let limit = scene.deadline.duration_since(tokio::time::Instant::now());
        if let Err(error) =
            ready::until("the agent's env file", limit, async || Ok(env_file.exists().then_some(()))).await
        {
            // The vendor's doing, so not an error: the probe starts without values, and the check says what is missing.
            tracing::warn!(%error, "the agent renders nothing");
        }
        let mut probe = scene.probe();
        probe.env.insert("PROBE_ENV_FILE".into(), env_file.display().to_string());
        probe.env.insert("PROBE_PID_FILE".into(), pid_file.display().to_string());
        first.stop(Duration::ZERO).await?;
        plan.agent.beside = Some(probe.name.clone());
        let mut probe = scene.platform.start(probe).await?;
        let agent = scene.platform.start(plan.agent).await?;
        let mut deployment = Deployment::new(take_out(probe.as_mut()), vec![agent, probe]);
        deployment.secret_files.push(env_file);
        deployment.unavoidable = plan.unavoidable;
        Ok(deployment)
    }
}
