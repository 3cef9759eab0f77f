//! The deliveries on `kubernetes`: each one pod template, as an operator would write it.

mod native;
mod operator;
mod redeploy;
mod reload;
mod rollout;

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

pub use self::operator::look;
use super::{Choice, Delivery, Scene};
use crate::candidate::Trigger;
use crate::cell::DeliveryId;
use crate::files::{below, write_private};
use crate::platform::kubernetes::{LINGER_MS, Namespace, PORT};
use crate::platform::{Program, Workload};

/// The delivery of this name in a namespace.
///
/// # Errors
/// There is none on a cluster.
pub fn by_id(namespace: &Rc<Namespace>, id: DeliveryId) -> Result<Box<dyn Delivery>> {
    let namespace = Rc::clone(namespace);
    let by_account = id == DeliveryId::ReloadServiceAccount;
    let reload = |choice| Box::new(reload::Reload { namespace: Rc::clone(&namespace), choice, by_account });
    Ok(match id {
        DeliveryId::Reload | DeliveryId::ReloadServiceAccount => reload(Choice::Best),
        DeliveryId::ReloadPoll => reload(Choice::Only(Trigger::VersionPoll)),
        DeliveryId::ReloadWebhook => reload(Choice::Only(Trigger::Webhook)),
        DeliveryId::Restart => Box::new(rollout::Rollout(namespace)),
        DeliveryId::NativeTemplate | DeliveryId::NativeExec => Box::new(native::Native(namespace, id)),
        DeliveryId::NativeEso | DeliveryId::NativeCsi | DeliveryId::NativeOperator => {
            Box::new(operator::ByOperator(namespace, id))
        }
        DeliveryId::Redeploy => Box::new(redeploy::Redeploy(namespace)),
        DeliveryId::Compose => bail!("failed to deliver by {id}: a cluster has no Compose"),
    })
}

/// The name of the Deployment that delivers to a container by rollouts.
pub fn controller(container: &str) -> String {
    format!("{container}-delivery")
}

/// The probe as a container of a pod.
fn probe(scene: &Scene<'_>) -> Workload {
    let mut probe = scene.probe();
    probe.env.insert("PROBE_LISTEN".into(), format!("0.0.0.0:{PORT}"));
    probe.env.insert("PROBE_LINGER_MS".into(), LINGER_MS.to_string());
    probe
}

/// A sidecar with this configuration, written to a file of the container.
fn sidecar(scene: &Scene<'_>, deliver: &sidecar::config::DeliverConfig) -> Result<Workload> {
    let config = scene.file("deliver.toml");
    write_private(&config, &toml::to_string(deliver)?)?;
    Ok(Workload {
        name: scene.sidecar(),
        program: Program::Sidecar,
        args: vec!["deliver".into(), "--config".into(), config.display().to_string()],
        ..Workload::default()
    })
}

/// The same workload under another name, with a further argument: what runs to its end before the app.
fn first(workload: &Workload, name: &str, argument: &str) -> Workload {
    let mut first = workload.clone();
    first.name = match workload.name.rsplit_once('.') {
        Some((container, _)) => format!("{container}.{name}"),
        None => name.to_owned(),
    };
    first.args.push(argument.to_owned());
    first
}

/// The files that this container is to see: its own, which are named after it, and these.
fn files(scene: &Scene<'_>, further: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let own = format!("{}.", scene.reader.container);
    let mut files = further.to_vec();
    for path in below(scene.platform.folder()) {
        let name = path.file_name().context("failed to name a file")?.to_string_lossy();
        if name.starts_with(&own) {
            files.push(path.clone());
        }
    }
    Ok(files)
}
