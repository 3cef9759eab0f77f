//! `compose`: the candidate's deploy template, as a host that has Compose alone would use it, laid out through the
//! platform. Its sidecar re-renders the env file and signals the app.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use sidecar::config::{DeliverConfig, DeliveryConfig, TriggerConfig};
use toml::{Table, Value};

use super::reload::told;
use super::{Choice, Delivery, Deployment, Scene};
use crate::candidate::Trigger;
use crate::compose::{Condition, Project, Template, Variables, reference};
use crate::evidence::TriggerUse;
use crate::files::write_private;
use crate::platform::{Member, Program, Workload, take_err, take_out};
use crate::tools::workspace;

/// The services that every template has, beside what else it needs.
const APP: &str = "app";
const SIDECAR: &str = "sidecar";

/// The templates of this folder, one below it for each candidate.
pub(super) struct Compose(pub(super) PathBuf);

impl Default for Compose {
    fn default() -> Self {
        Self(workspace().join("fixtures/deploy/compose"))
    }
}

#[async_trait(?Send)]
impl Delivery for Compose {
    async fn deploy(&self, scene: &mut Scene<'_>) -> Result<Deployment> {
        let source = Table::try_from(scene.candidate.source(scene.reader)?)?;
        let kind = source["kind"].as_str().context("failed to find the kind of the source")?;
        let folder = self.0.join(kind);
        let template = Template::read(&folder.join("compose.yaml"))?;
        let file = folder.join("deliver.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let written: DeliverConfig =
            toml::from_str(&text).with_context(|| format!("failed to understand {}", file.display()))?;
        let (trigger, cell) = scene.trigger(choice(&written.trigger)).await?;
        let mut files = BTreeMap::new();
        let mut deliver = DeliverConfig {
            names: scene.names.to_vec(),
            source: placed("source", source, &Table::try_from(&written.source)?, &mut files)?.try_into()?,
            ..written
        };
        if matches!(deliver.trigger, TriggerConfig::Push(_)) {
            let there = Table::try_from(&deliver.trigger)?;
            deliver.trigger = placed("trigger", Table::try_from(cell)?, &there, &mut files)?.try_into()?;
        }
        let runtime = scene.file("run");
        let variables = variables(scene, &template, &deliver, &files, &runtime).await?;
        let project = template.project(&variables)?;
        let mut members = start(scene, &project).await?;
        let (Some(mut app), Some(mut sidecar)) = (members.remove(APP), members.remove(SIDECAR)) else {
            anyhow::bail!("failed to find the services {APP} and {SIDECAR} in {}", template.file().display());
        };
        told(sidecar.as_mut(), trigger, scene.deadline).await?;
        let (out, status) = (take_out(app.as_mut()), take_err(sidecar.as_mut()));
        // They are stopped from the last to the first, as Compose does: who depends on another goes before it.
        let mut deployment = Deployment::new(out, members.into_values().chain([app, sidecar]).collect());
        deployment.follow(TriggerUse::of(trigger, &deliver), status);
        if let DeliveryConfig::Reload(reload) = &deliver.delivery {
            deployment.secret_files.push(on_host(&project, &reload.env_file)?);
        }
        Ok(deployment)
    }
}

/// The trigger that a template is written for.
fn choice(trigger: &TriggerConfig) -> Choice {
    match trigger {
        TriggerConfig::Poll(_) => Choice::Only(Trigger::VersionPoll),
        TriggerConfig::Watch(_) => Choice::Only(Trigger::WatchStream),
        TriggerConfig::Push(_) => Choice::Best,
    }
}

/// What the cell says of its backend, with every file where the template has it in the container; `files` learns which
/// file of the host belongs there.
fn placed(part: &str, mut cell: Table, written: &Table, files: &mut BTreeMap<PathBuf, PathBuf>) -> Result<Table> {
    for (field, value) in &mut cell {
        if let Value::Table(cell) = value {
            let none = Table::new();
            let written = written.get(field).and_then(Value::as_table).unwrap_or(&none);
            *cell = placed(&format!("{part}.{field}"), std::mem::take(cell), written, files)?;
        }
        if !field.ends_with("_file") {
            continue;
        }
        let there = written.get(field).and_then(Value::as_str);
        let there = there.with_context(|| format!("failed to place {part}.{field}: the template has no such file"))?;
        let here = value.as_str().with_context(|| format!("failed to find the file {part}.{field}"))?;
        files.insert(there.into(), here.into());
        *value = there.into();
    }
    // A service with a public certificate is found by the authorities that the template has of its host.
    let address = cell.get("address").or_else(|| cell.get("endpoint")).and_then(Value::as_str);
    let in_the_open = address.is_some_and(|address| address.starts_with("http://"));
    if let (false, false, Some(ca_file)) = (in_the_open, cell.contains_key("ca_file"), written.get("ca_file")) {
        cell.insert("ca_file".into(), ca_file.clone());
    }
    Ok(cell)
}

/// What an operator would set, with the files of this cell behind it.
async fn variables(
    scene: &mut Scene<'_>,
    template: &Template,
    deliver: &DeliverConfig,
    files: &BTreeMap<PathBuf, PathBuf>,
    runtime: &Path,
) -> Result<Variables> {
    let config = scene.file("deliver.toml");
    write_private(&config, &toml::to_string(deliver)?)?;
    DirBuilder::new()
        .mode(0o700)
        .create(runtime)
        .with_context(|| format!("failed to make the folder {}", runtime.display()))?;
    let (app_image, user) = scene.platform.image(&Program::Probe).await?;
    let (sidecar_image, _) = scene.platform.image(&Program::Sidecar).await?;
    let text = |path: &Path| path.display().to_string();
    let mut variables = Variables::from([
        ("APP_IMAGE".to_owned(), app_image),
        ("APP_USER".to_owned(), user),
        ("APP_NAMES".to_owned(), scene.names.join(",")),
        ("SIDECAR_IMAGE".to_owned(), sidecar_image),
        ("RUNTIME_DIR".to_owned(), text(runtime)),
        ("DELIVER_CONFIG".to_owned(), text(&config)),
        ("DIGEST_KEY_FILE".to_owned(), text(scene.key_file)),
    ]);
    // Which variable names which file, the template says itself: by where it puts it.
    for service in template.written()?.services.values() {
        for bind in &service.container.mounts {
            let source = text(&bind.source);
            if let (Some(file), Some(name)) = (files.get(&bind.target), reference(&source)) {
                variables.insert(name.to_owned(), text(file));
            }
        }
    }
    // A backend of the cell's own that speaks plain HTTP has no authority, and the host may have no bundle of them.
    if !variables.contains_key("CA_FILE") && !toml::to_string(deliver)?.contains("ca_file") {
        let nobody = scene.file("no-ca.pem");
        write_private(&nobody, "")?;
        variables.insert("CA_FILE".into(), text(&nobody));
    }
    Ok(variables)
}

/// Starts every service in its turn, and waits for those that have to complete first.
async fn start(scene: &mut Scene<'_>, project: &Project) -> Result<BTreeMap<String, Box<dyn Member>>> {
    let member = |name: &str| format!("{}.{name}", scene.reader.container);
    let mut members = BTreeMap::<String, Box<dyn Member>>::new();
    for name in project.order()? {
        let service = &project.services[name];
        for (other, _) in service.depends_on.iter().filter(|(_, condition)| **condition == Condition::Completed) {
            // Another service may have waited for it already.
            if let Some(mut other) = members.remove(other) {
                other.completed(scene.deadline).await?;
                other.stop(Duration::ZERO).await?;
            }
        }
        let workload = Workload {
            name: member(name),
            beside: service.beside.as_deref().map(member),
            args: service.command.clone(),
            env: service.environment.clone(),
            container: Some(service.container.clone()),
            ..Workload::default()
        };
        members.insert(name.to_owned(), scene.platform.start(workload).await?);
    }
    Ok(members)
}

/// Where a file of the sidecar's container is on the host.
fn on_host(project: &Project, path: &Path) -> Result<PathBuf> {
    let mounts = &project.services[SIDECAR].container.mounts;
    let found = mounts.iter().find_map(|bind| Some(bind.source.join(path.strip_prefix(&bind.target).ok()?)));
    let found = found.with_context(|| format!("failed to find {} on the host", path.display()))?;
    ensure!(found.exists(), "failed to find {}: nothing rendered it", found.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_where_the_template_has_it_and_the_rest_is_the_cells() {
        let cell: Table =
            toml::from_str("kind = 'x'\naddress = 'http://here:1'\n[login]\ntoken_file = '/cell/token'").unwrap();
        let written: Table = toml::from_str(
            "kind = 'x'\naddress = 'https://there'\nca_file = '/ca'\n[login]\ntoken_file = '/run/secrets/t'",
        )
        .unwrap();
        let mut files = BTreeMap::new();
        let placed = placed("source", cell.clone(), &written, &mut files).unwrap();
        assert_eq!(
            toml::to_string(&placed).unwrap(),
            "address = \"http://here:1\"\nkind = \"x\"\n\n[login]\ntoken_file = \"/run/secrets/t\"\n"
        );
        assert_eq!(files, BTreeMap::from([("/run/secrets/t".into(), "/cell/token".into())]));
        let error = super::placed("source", cell, &Table::new(), &mut files).unwrap_err().to_string();
        assert_eq!(error, "failed to place source.login.token_file: the template has no such file");
    }
}
