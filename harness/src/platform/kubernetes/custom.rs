//! Kinds of objects that somebody added to the cluster: whether they are there, made by their names alone.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::Value;

use super::{Cluster, Namespace, failed, is_gone};

/// A kind that somebody added to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its group and version, as in `external-secrets.io/v1`.
    pub version: &'static str,
    /// Its name, as in `ExternalSecret`.
    pub name: &'static str,
    /// What its objects are called in a path, as in `externalsecrets`.
    pub plural: &'static str,
}

impl Kind {
    fn resource(&self) -> ApiResource {
        let (group, version) = self.version.split_once('/').unwrap_or(("", self.version));
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, self.name), self.plural)
    }
}

impl Cluster {
    /// The plurals of the kinds of a group and version, none where the cluster has no such group or version.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn kinds(&self, version: &str) -> Result<Vec<String>> {
        match self.client.list_api_group_resources(version).await {
            Ok(found) => Ok(found.resources.into_iter().map(|resource| resource.name).collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) => Err(failed(&format!("look for the kinds of {version}"), &error)),
        }
    }

    /// The images of every Deployment, in whatever namespace.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn deployed_images(&self) -> Result<Vec<String>> {
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let found = deployments.list(&ListParams::default()).await;
        let found = found.map_err(|error| failed("list the Deployments of the cluster", &error))?;
        let specs = found.into_iter().filter_map(|deployment| deployment.spec?.template.spec);
        Ok(specs.flat_map(|spec| spec.containers).filter_map(|container| container.image).collect())
    }
}

impl Namespace {
    fn custom_api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.name, &kind.resource())
    }

    /// Makes an object of a kind that was added to the cluster, with the labels of this run.
    ///
    /// # Errors
    /// It has no name, or the API server refuses.
    pub async fn custom(&self, kind: Kind, object: &Value) -> Result<()> {
        let mut object: DynamicObject = serde_json::from_value(object.clone()).context("failed to make an object")?;
        object.metadata.labels = Some(self.labels.all.clone());
        let name = object.metadata.name.clone().context("failed to make an object without a name")?;
        let made = self.custom_api(kind).create(&PostParams::default(), &object).await;
        made.map(drop).map_err(|error| failed(&format!("make the {} {name}", kind.name), &error))
    }

    /// What the status of an object of such a kind says of it, in the words of whoever works on it.
    pub async fn conditions(&self, kind: Kind, name: &str) -> String {
        let said = match self.custom_api(kind).get(name).await {
            Ok(object) => conditions(&object.data),
            Err(error) => super::reason(&error),
        };
        format!("{} {name}: {said}", kind.name)
    }
}

/// The conditions of an object's status in one line.
fn conditions(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let words = |condition: &Value| {
        let part = |name: &str| condition[name].as_str().unwrap_or_default().trim().to_owned();
        let words = [part("type"), part("status"), part("reason"), part("message")];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let said: Vec<_> = conditions.map(words).collect();
    if said.is_empty() { "nobody has set its status".to_owned() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::nobody_works_on_it(json!({ "spec": {} }), "nobody has set its status")]
    #[case::refused(
        json!({ "status": { "conditions": [
            { "type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "could not get secret data" },
        ] } }),
        "Ready False SecretSyncedError could not get secret data"
    )]
    #[case::without_a_reason(
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "message": "" }] } }),
        "Ready True"
    )]
    fn a_status_is_told_in_the_words_of_whoever_set_it(#[case] object: Value, #[case] expected: &str) {
        assert_eq!(conditions(&object), expected);
    }

    #[test]
    fn a_kind_has_a_path() {
        let kind = Kind { version: "onepassword.com/v1", name: "OnePasswordItem", plural: "onepassworditems" };
        let resource = kind.resource();
        assert_eq!((resource.group.as_str(), resource.api_version.as_str()), ("onepassword.com", "onepassword.com/v1"));
    }
}
