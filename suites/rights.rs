//! The rights that `ci/kubernetes` lists are those that a run needs, in a cluster of our own: enough, and each of them missed.

use std::fs;
use std::path::Path;

use harness::tools::workspace;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::Value;

use crate::bad_cluster::kubeconfig;
use crate::command::{conformance, kept_in, told};

/// Applies the documents of a manifest as `kubectl` would, after `change`.
async fn apply(client: &kube::Client, manifest: &str, change: impl Fn(&mut Value)) {
    let text = fs::read_to_string(workspace().join("ci/kubernetes").join(manifest)).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for mut document in documents {
        change(&mut document);
        let object: DynamicObject = serde_json::from_value(document).unwrap();
        let types = object.types.clone().unwrap();
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
        let objects = match &object.metadata.namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind),
            None => Api::<DynamicObject>::all_with(client.clone(), &kind),
        };
        let parameters = PatchParams::apply("suites").force();
        let name = object.metadata.name.clone().unwrap();
        objects.patch(&name, &parameters, &Patch::Apply(&object)).await.unwrap();
    }
}

/// Takes the rule for this resource and verb out of the harness's role.
fn without(resource: &str, verb: &str) -> impl Fn(&mut Value) {
    move |document| {
        if document["metadata"]["name"] == "conformance-harness" && document["kind"] == "ClusterRole" {
            let has = |list: &Value, wanted: &str| list.as_array().is_some_and(|all| all.iter().any(|it| it == wanted));
            let rules = document["rules"].as_array_mut().unwrap();
            let before = rules.len();
            rules.retain(|rule| !(has(&rule["resources"], resource) && has(&rule["verbs"], verb)));
            assert_eq!(rules.len() + 1, before, "no rule for {verb} {resource}");
        }
    }
}

/// A run of these cells as the account that the manifest makes, and what came of it.
async fn run(client: &kube::Client, folder: &Path, cells: &[&str]) -> (Option<i32>, String) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "conformance");
    let made = accounts.create_token_request("harness", &PostParams::default(), &TokenRequest::default()).await;
    let token = made.unwrap().status.unwrap().token;
    let mut command = conformance(&["run", "--platform", "kubernetes"]);
    command.args(cells).args(kept_in(&folder.join("runs")));
    command.env("KUBECONFIG", kubeconfig(folder, &serde_json::json!({ "token": token })));
    let (code, said) = told(&command.output().unwrap());
    assert!(!said.contains(&token), "the token is told");
    (code, said)
}

const REVIEWED: [&str; 6] =
    ["--candidate", "vault", "--delivery", "reload-service-account", "--check", "delivery.initial-value"];

/// One test, since they are rights in the whole cluster: less than the manifests list, what they list, and that is enough.
#[tokio::test]
async fn what_a_kubernetes_harness_is_granted_is_what_it_needs() {
    let client = kube::Client::try_default().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Between them these cells take every right that is not optional.
    let cells = ["--candidate", "doppler", "--delivery", "restart", "--check", "cluster", "--check", "rollout"];
    for (resource, verb, words) in [
        ("namespaces", "create", "its user may not list namespaces"),
        ("rolebindings", "create", "its user may neither create Deployments in every namespace nor bind"),
        ("clusterroles", "bind", "its user may neither create Deployments in every namespace nor bind"),
    ] {
        apply(&client, "harness.yaml", without(resource, verb)).await;
        let (code, said) = run(&client, folder.path(), &cells).await;
        assert_eq!(code, Some(2), "without {verb} {resource}: {said}");
        assert!(said.contains(words) && said.contains("ci/kubernetes/harness.yaml"), "{said}");
    }

    apply(&client, "harness.yaml", |_| ()).await;
    let (code, said) = run(&client, folder.path(), &cells).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(": 4 pass"), "{said}");
    let (code, said) = run(&client, folder.path(), &REVIEWED).await;
    assert!(said.contains("the right to review tokens cannot be granted in this cluster"), "{code:?}: {said}");

    apply(&client, "reviews.yaml", |_| ()).await;
    let (code, said) = run(&client, folder.path(), &REVIEWED).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 pass"), "{said}");

    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for name in ["conformance-harness", "conformance-reviews"] {
        bindings.delete(name, &DeleteParams::default()).await.unwrap();
        roles.delete(name, &DeleteParams::default()).await.unwrap();
    }
    roles.delete("conformance-cell", &DeleteParams::default()).await.unwrap();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    namespaces.delete("conformance", &DeleteParams::default()).await.unwrap();
}
