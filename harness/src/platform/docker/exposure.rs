//! What the engine itself shows of a cell's secrets to whoever may ask it: `docker inspect` and `docker history`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use testcontainers::bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};

use super::MEMBER_LABEL;
use super::network::{CELL_LABEL, Network};
use crate::platform::Exposure;
use crate::redact::Redactor;

/// Where an inspection shows the environment that a container was made with.
const ENVIRONMENT: &str = "Config.Env";

/// Every place of all containers of a cell, running or not, and of their images, that holds a secret.
pub(super) async fn exposed(network: &Network, redactor: &Redactor) -> Result<Vec<Exposure>> {
    let docker = network.docker();
    let filters = HashMap::from([("label", vec![format!("{CELL_LABEL}={}", network.name())])]);
    let all = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let mut found = Vec::new();
    let mut images = BTreeMap::new();
    for container in docker.list_containers(Some(all)).await.context("failed to list the containers of the cell")? {
        let id = container.id.context("failed to list the containers of the cell: one has no id")?;
        let inspection = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
        let inspection = inspection.with_context(|| format!("failed to inspect the container {id}"))?;
        let labels = inspection.config.as_ref().and_then(|config| config.labels.as_ref());
        let member = labels.and_then(|labels| labels.get(MEMBER_LABEL)).or(inspection.name.as_ref());
        let member = member.map_or(id.as_str(), |name| name.trim_start_matches('/')).to_owned();
        found.extend(places(&inspection, redactor)?.into_iter().map(|place| Exposure {
            environment: place == ENVIRONMENT,
            place: format!("docker inspect {member}: {place}"),
            member: member.clone(),
        }));
        if let Some(image) = inspection.image {
            images.insert(image, member);
        }
    }
    for (image, member) in images {
        let shown =
            docker.inspect_image(&image).await.with_context(|| format!("failed to inspect the image {image}"))?;
        let history = docker.image_history(&image).await;
        let history = history.with_context(|| format!("failed to read the history of the image {image}"))?;
        let inspected = places(&shown, redactor)?.into_iter().map(|place| ("inspect", place));
        let past = places(&history, redactor)?.into_iter().map(|place| ("history", place));
        found.extend(inspected.chain(past).map(|(by, place)| Exposure {
            environment: false,
            place: format!("docker {by} of the image of {member}: {place}"),
            member: member.clone(),
        }));
    }
    Ok(found)
}

/// The fields that hold a secret, as `Config.Env`; members of a list are not told apart.
fn places(shown: &impl Serialize, redactor: &Redactor) -> Result<BTreeSet<String>> {
    let mut places = BTreeSet::new();
    // An error of the serialiser could repeat what it stumbled upon.
    let shown = serde_json::to_value(shown).map_err(|_| anyhow::anyhow!("failed to search what the engine shows"))?;
    look(&shown, redactor, "", &mut places);
    Ok(places)
}

fn look(value: &Value, redactor: &Redactor, path: &str, places: &mut BTreeSet<String>) {
    let holds = |text: &str| redactor.clean(text) != text;
    match value {
        Value::String(text) if holds(text) => {
            places.insert(path.to_owned());
        }
        Value::Array(values) => values.iter().for_each(|value| look(value, redactor, path, places)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if holds(name) {
                    places.insert(path.to_owned());
                }
                let path =
                    if path.is_empty() { redactor.clean(name) } else { format!("{path}.{}", redactor.clean(name)) };
                look(value, redactor, &path, places);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands_and_not_repeated() {
        let redactor = Redactor::default();
        redactor.learn(&"s3cr3t-value".into());
        let shown = json!({
            "Config": {
                "Env": ["PATH=/bin", "X=s3cr3t-value"],
                "Cmd": ["--token", "czNjcjN0LXZhbHVl"],
                "Labels": { "s3cr3t-value": "1", "other": "harmless" },
            },
            "Args": ["harmless"],
        });
        let places: Vec<_> = places(&shown, &redactor).unwrap().into_iter().collect();
        assert_eq!(places, ["Config.Cmd", "Config.Env", "Config.Labels"]);
    }
}
