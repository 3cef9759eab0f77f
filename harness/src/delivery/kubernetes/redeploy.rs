//! `redeploy`, the negative control: a Secret that is written at deploy time, and read when the pod starts.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use secrecy::ExposeSecret;

use super::probe;
use crate::candidate::Access;
use crate::delivery::{Delivery, Deployment, Scene};
use crate::platform::kubernetes::{Namespace, Plan};
use crate::platform::take_out;

/// Nothing stays beside the app that could bring a new value.
pub(super) struct Redeploy(pub(super) Rc<Namespace>);

#[async_trait(?Send)]
impl Delivery for Redeploy {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let (access, values) = scene.candidate.read(scene.reader, scene.reader.environment).await?;
        ensure!(access == Access::Allowed, "failed to deploy: the reader may not read its own environment");
        let name = scene.reader.container.clone();
        let secret = format!("{name}-env");
        let wanted = values.iter().filter(|(name, _)| scene.names.contains(name));
        let data: BTreeMap<_, _> =
            wanted.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
        let keys = data.keys().cloned().collect();
        self.0.secret(&secret, data).await?;
        let plan = Plan {
            name,
            files: vec![scene.key_file.to_owned()],
            containers: vec![probe(scene)],
            app: Some(0),
            env_from: Some((secret, keys)),
            ..Plan::default()
        };
        let mut member = self.0.deploy(&plan).await?;
        member.available(scene.deadline).await?;
        Ok(Deployment::new(take_out(&mut member), vec![Box::new(member)]))
    }
}
