//! `redeploy`, the negative control: values are read once, at deploy time, as a pipeline that edits and redeploys does.

use anyhow::{Result, ensure};
use async_trait::async_trait;

use super::{Delivery, Deployment, Scene};
use crate::candidate::Access;
use crate::platform::take_out;

/// Nothing stays beside the app that could bring a new value.
pub(super) struct Redeploy;

#[async_trait(?Send)]
impl Delivery for Redeploy {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (access, mut values) = scene.candidate.read(scene.reader, scene.reader.environment).await?;
        ensure!(access == Access::Allowed, "failed to deploy: the reader may not read its own environment");
        values.retain(|name, _| scene.names.contains(name));
        let mut probe = scene.probe();
        probe.secret_env = values;
        let name = probe.name.clone();
        let mut probe = scene.platform.start(probe).await?;
        let mut deployment = Deployment::new(take_out(probe.as_mut()), vec![probe]);
        deployment.secret_environments.push(name);
        Ok(deployment)
    }
}
