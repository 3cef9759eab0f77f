//! Clusters that cannot be used: one clear error each. Those that are told before anything is begun need no cluster here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::Component;
use harness::cell::{Cell, DeliveryId};
use harness::hold::hold_sabotaged;
use harness::reap::sweep_namespaces;
use harness::run::Run;
use harness::verdict::Verdict;
use harness::way::Sabotage;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rstest::rstest;
use serde_json::{Value, json};

use crate::command::{conformance, kept_in, told};
use crate::saboteurs::{Limit, own_cluster, schedulable};
use crate::vault_kubernetes;

/// Nobody listens there: the same on every machine.
const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: "https://127.0.0.1:1"}}, {name: live, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: tester, user: {token: "plainly-a-secret"}}]
contexts:
  - {name: test, context: {cluster: nowhere, user: tester}}
  - {name: eu-prod-1, context: {cluster: nowhere, user: tester}}
  - {name: hidden, context: {cluster: live, user: tester}}
"#;

#[rstest]
#[case::missing(None, &[], &["KUBECONFIG", "failed to read a kubeconfig", "remedy"])]
#[case::malformed(Some("clusters: ["), &[], &["KUBECONFIG", "failed to read a kubeconfig"])]
#[case::no_context(Some(KUBECONFIG), &[], &["it has no current context", "test, eu-prod-1, hidden"])]
#[case::unknown_context(Some(KUBECONFIG), &["--context", "staging"], &["no context `staging`", "test, eu-prod-1"])]
#[case::away(Some(KUBECONFIG), &["--context", "test"], &["context `test`", "does not answer", "refused"])]
#[case::production(Some(KUBECONFIG), &["--context", "eu-prod-1"], &["says `eu-prod-1`", "looks like production", "--use-production"])]
#[case::production_cluster(Some(KUBECONFIG), &["--context", "hidden"], &["the cluster's name says `live`"])]
#[case::production_wanted(Some(KUBECONFIG), &["--context", "eu-prod-1", "--use-production"], &["does not answer"])]
fn is_told_before_anything_is_begun(#[case] text: Option<&str>, #[case] args: &[&str], #[case] words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    if let Some(text) = text {
        fs::write(&kubeconfig, text).unwrap();
    }
    let output = folder.path().join("runs");
    let mut command = conformance(&["run", "--platform", "kubernetes", "--check", "scope.isolated"]);
    command.env("KUBECONFIG", &kubeconfig).args(kept_in(&output)).args(args);
    let (code, said) = told(&command.output().unwrap());
    assert_eq!(code, Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(!said.contains("plainly-a-secret"), "{said}");
    assert_eq!(fs::read_dir(&output).unwrap().count(), 0, "a run was begun");
}

/// A kubeconfig for the API server of the cluster of our own, as this user.
pub(crate) fn kubeconfig(folder: &Path, user: &Value) -> PathBuf {
    let cluster = own_cluster().unwrap();
    let server = format!("https://{}:6443", cluster.node().unwrap());
    let ca = cluster.folder().join("pki/ca.crt");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "limited",
        "contexts": [{ "name": "limited", "context": { "cluster": "limited", "user": "limited" } }],
        "clusters": [{ "name": "limited", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "limited", "user": user }],
    });
    let file = folder.join("kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// A run of one cell of a stand-in, and what came of it.
fn run_of_one(folder: &Path, kubeconfig: &Path, set: &[(&str, &str)]) -> (Option<i32>, String) {
    let cell = ["--check", "delivery.initial-value", "--candidate", "doppler", "--delivery", "redeploy"];
    let mut command = conformance(&["run", "--platform", "kubernetes"]);
    command.args(cell).args(kept_in(&folder.join("runs"))).env("KUBECONFIG", kubeconfig).envs(set.iter().copied());
    told(&command.output().unwrap())
}

#[test]
fn an_expired_certificate_of_a_kubernetes_user_is_told_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(own_cluster().unwrap().folder().join("pki").join(name)).unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "cluster");
    let authority = Issuer::new(authority, KeyPair::from_pem(&read("ca.key")).unwrap());
    let mut about = CertificateParams::default();
    about.distinguished_name.push(DnType::CommonName, "admin");
    about.distinguished_name.push(DnType::OrganizationName, "system:masters");
    about.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (about.not_before, about.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    let key = KeyPair::generate().unwrap();
    fs::write(folder.path().join("old.crt"), about.signed_by(&key, &authority).unwrap().pem()).unwrap();
    fs::write(folder.path().join("old.key"), key.serialize_pem()).unwrap();
    let user = json!({
        "client-certificate": folder.path().join("old.crt"),
        "client-key": folder.path().join("old.key"),
    });
    let (code, said) = run_of_one(folder.path(), &kubeconfig(folder.path(), &user), &[]);
    assert_eq!(code, Some(2), "{said}");
    for words in ["context `limited`", "Unauthorized", "renew its credentials"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
}

/// Whoever may make no namespace learns it before anything is begun.
#[tokio::test]
async fn a_kubernetes_user_without_rights_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let admin = kube::Client::try_default().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, "default");
    let account = json!({ "metadata": { "name": "may-nothing" } });
    accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    let made = accounts.create_token_request("may-nothing", &PostParams::default(), &TokenRequest::default()).await;
    let user = json!({ "token": made.unwrap().status.unwrap().token });
    let (code, said) = run_of_one(folder.path(), &kubeconfig(folder.path(), &user), &[]);
    accounts.delete("may-nothing", &DeleteParams::default()).await.unwrap();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("context `limited`: its user may not list namespaces"), "{said}");
    assert!(said.contains("ci/kubernetes/harness.yaml"), "{said}");
    assert!(!said.contains(user["token"].as_str().unwrap()), "the token is told");
}

/// An image that nobody has is told in the kubelet's own words.
#[test]
fn an_image_that_a_kubernetes_node_cannot_pull_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = [("CONFORMANCE_KUBERNETES_REGISTRY", "127.0.0.1:1/nobody")];
    let (code, said) = run_of_one(folder.path(), &own_cluster().unwrap().kubeconfig(), &nobody);
    assert_eq!(code, Some(3), "{said}");
    for words in ["error ", "127.0.0.1:1/nobody/", "refused"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
}

/// What only the whole cluster can lack. It is everybody's: nobody else may be in it.
#[rstest]
#[case::no_node(Limit::NoNode, "Unschedulable: 0/1 nodes are available")]
#[case::no_api_server(Limit::NoApiServer, "failed to deploy the probe: failed to make the Secret app-env: ")]
#[tokio::test]
async fn a_broken_kubernetes_cluster_is_an_error(#[case] limit: Limit, #[case] words: &str) {
    let sabotage = Sabotage { namespaced: Some(limit.deploys(DeliveryId::Redeploy)), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("delivery.initial-value", vault_kubernetes(DeliveryId::Redeploy));
    let held = hold_sabotaged(&run, &cell, sabotage).await;
    if matches!(limit, Limit::NoApiServer) {
        let mut cluster = own_cluster().unwrap();
        cluster.start(Component::KubeApiserver).unwrap();
        cluster.until_ready(Duration::from_secs(60)).await.unwrap();
    }
    schedulable(&kube::Client::try_default().await.unwrap(), true).await.unwrap();
    // What the cell could not remove is found by its label.
    sweep_namespaces(&run.id).await.unwrap();
    let judgement = held.unwrap().judgement;
    assert_eq!(judgement.verdict, Verdict::Error, "{}", judgement.reason);
    assert!(judgement.reason.contains(words), "{}", judgement.reason);
}

/// Every deployment has an account of its own: nobody waits for the default one.
#[tokio::test]
async fn a_kubernetes_namespace_needs_no_default_service_account() {
    let limit = Limit::NoDefaultAccount.deploys(DeliveryId::Redeploy);
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("delivery.initial-value", vault_kubernetes(DeliveryId::Redeploy));
    let held = hold_sabotaged(&run, &cell, Sabotage { namespaced: Some(limit), ..Sabotage::default() }).await;
    let judgement = held.unwrap().judgement;
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.reason);
}

/// A namespace that takes no pods: the suite's surroundings, never the candidate's failure.
#[rstest]
#[case::quota(Limit::Quota, "exceeded quota")]
#[case::admission(Limit::Memory, "maximum memory usage per Container is 1Mi")]
#[tokio::test]
async fn a_kubernetes_cluster_that_rejects_is_an_error(#[case] limit: Limit, #[case] words: &str) {
    let sabotage = Sabotage { namespaced: Some(limit.deploys(DeliveryId::Redeploy)), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("delivery.initial-value", vault_kubernetes(DeliveryId::Redeploy));
    let evidence = hold_sabotaged(&run, &cell, sabotage).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Error, "{}", evidence.judgement.reason);
    assert!(evidence.judgement.reason.contains(words), "{}", evidence.judgement.reason);
    let told = evidence.record.notes.join("\n");
    assert!(told.contains("event ReplicaSet"), "the evidence does not hold the events: {told}");
}
