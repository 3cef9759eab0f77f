//! Clusters that cannot be used: one clear error each. Those that are told before anything is begun need no cluster here.

use std::fs;

use harness::cell::{Cell, DeliveryId};
use harness::hold::hold_sabotaged;
use harness::run::Run;
use harness::verdict::Verdict;
use harness::way::Sabotage;
use rstest::rstest;

use crate::command::{conformance, kept_in, told};
use crate::saboteurs::Limit;
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
