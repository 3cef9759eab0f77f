//! `native`: the vendor's own agent, beside the app or above it, as its injector would put it there.

use std::rc::Rc;

use anyhow::Result;
use async_trait::async_trait;

use super::{files, first, probe};
use crate::candidate::NativeRequest;
use crate::cell::DeliveryId;
use crate::delivery::{Delivery, Deployment, Scene};
use crate::platform::kubernetes::{Namespace, Plan};
use crate::platform::{Program, take_out};

/// Makes the agent end when it has rendered once (openbao.org/docs/agent-and-proxy/agent, `exit_after_auth`).
const ONCE: &str = "-exit-after-auth";

/// The vendor's mechanism of this name.
pub(super) struct Native(pub(super) Rc<Namespace>, pub(super) DeliveryId);

#[async_trait(?Send)]
impl Delivery for Native {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let pid_file = scene.file("pid");
        let mut native = scene.candidate.native(&NativeRequest {
            delivery: self.1,
            reader: scene.reader,
            names: scene.names,
            folder: scene.platform.folder(),
            app: &scene.platform.path(&Program::Probe),
            sidecar: &scene.platform.path(&Program::Sidecar),
            pid_file: &pid_file,
        })?;
        let name = scene.reader.container.clone();
        native.agent.name = format!("{name}.agent");
        // The agent's configuration is not named after the container.
        let config = scene.platform.folder().join("agent.json");
        let files = files(scene, &[scene.key_file.to_owned(), config])?;
        let plan = match native.env_file {
            None => {
                // The agent is the app's parent: the app's settings go through it, and so do the observations.
                native.agent.env.extend(scene.probe_settings());
                Plan { name, files, containers: vec![native.agent], ..Plan::default() }
            }
            Some(env_file) => {
                let mut app = probe(scene);
                app.env.insert("PROBE_ENV_FILE".into(), env_file.display().to_string());
                app.env.insert("PROBE_PID_FILE".into(), pid_file.display().to_string());
                let init = vec![first(&native.agent, "render", ONCE)];
                Plan { name, files, init, containers: vec![app, native.agent], app: Some(0), ..Plan::default() }
            }
        };
        let mut member = self.0.deploy(&plan).await?;
        member.available(scene.deadline).await?;
        let mut deployment = Deployment::new(take_out(&mut member), vec![Box::new(member)]);
        deployment.unavoidable = native.unavoidable;
        Ok(deployment)
    }
}
