//! Saboteurs: for every check there is somebody who makes it fail. A check that cannot fail would be a defect.
//!
//! Each case holds a real cell with one thing tampered with, and expects the verdict `fail`: neither `pass`, which would
//! mean that the check is blind, nor `error`, which would mean that the suite broke.

mod backend;
mod cluster;
mod delivery;
mod network;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::cell::{Cell, DeliveryId};
use harness::check;
use harness::hold::hold_sabotaged;
use harness::run::Run;
use harness::verdict::{Patience, Sla, Verdict};
use harness::way::Sabotage;
use rstest::rstest;

use self::backend::Tamper;
use self::cluster::Defect;
pub(crate) use self::cluster::{Limit, own_cluster, schedulable};
use self::delivery::Saboteur;
use crate::{vault, vault_docker, vault_kubernetes};

/// What is done to the way of a cell.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// The backend says or does something else.
    Backend(Tamper),
    /// Something else is deployed.
    Delivery(Saboteur),
    /// The claim is one that nobody can keep.
    Sla(Duration),
}

/// Long enough for anything that is going to arrive, short enough to wait for what is not.
const PATIENCE: Duration = Duration::from_millis(2500);

#[rstest]
#[case::provision_end_to_end("provision.end-to-end", DeliveryId::Reload, Harm::Backend(Tamper::AnotherValue))]
#[case::delivery_initial_value("delivery.initial-value", DeliveryId::Redeploy, Harm::Backend(Tamper::AnotherValue))]
#[case::delivery_byte_exact("delivery.byte-exact", DeliveryId::Redeploy, Harm::Backend(Tamper::TrimmedValues))]
#[case::rotation_propagates_lost("rotation.propagates", DeliveryId::Reload, Harm::Backend(Tamper::LostRotation))]
#[case::rotation_propagates_deaf("rotation.propagates", DeliveryId::Reload, Harm::Delivery(Saboteur::Redeploy))]
#[case::rotation_propagates_late("rotation.propagates", DeliveryId::Reload, Harm::Sla(Duration::from_micros(1)))]
#[case::rotation_redeploy_only("rotation.redeploy-only", DeliveryId::Redeploy, Harm::Delivery(Saboteur::Reload))]
#[case::rotation_no_redeploy("rotation.no-redeploy", DeliveryId::Reload, Harm::Delivery(Saboteur::Restart))]
#[case::rotation_no_redeploy_restart("rotation.no-redeploy", DeliveryId::Restart, Harm::Delivery(Saboteur::Reload))]
#[case::rotation_no_downtime_old(
    "rotation.no-downtime",
    DeliveryId::Restart,
    Harm::Delivery(Saboteur::AnswersFromBefore)
)]
#[case::rotation_no_downtime_down("rotation.no-downtime", DeliveryId::Restart, Harm::Delivery(Saboteur::AnswersNobody))]
#[case::rotation_burst("rotation.burst", DeliveryId::Reload, Harm::Backend(Tamper::OldValueAgain))]
#[case::audit_rotation_recorded("audit.rotation-recorded", DeliveryId::Reload, Harm::Backend(Tamper::NoWritesInLog))]
#[case::audit_reads_recorded("audit.reads-recorded", DeliveryId::Reload, Harm::Backend(Tamper::NoReadsInLog))]
#[case::audit_reads_of_old_value("audit.reads-recorded", DeliveryId::Reload, Harm::Backend(Tamper::StaleReadsInLog))]
#[case::audit_denial_recorded("audit.denial-recorded", DeliveryId::Reload, Harm::Backend(Tamper::NoDenialsInLog))]
#[case::audit_no_plaintext("audit.no-plaintext", DeliveryId::Reload, Harm::Backend(Tamper::PlaintextInLog))]
#[case::scope_isolated("scope.isolated", DeliveryId::Reload, Harm::Backend(Tamper::ReadsEverywhere))]
#[case::scope_same_name("scope.same-name", DeliveryId::Reload, Harm::Backend(Tamper::OneValueForAll))]
#[case::scope_reader_cannot_write("scope.reader-cannot-write", DeliveryId::Reload, Harm::Backend(Tamper::ReadersWrite))]
#[case::hygiene_no_leak_log("hygiene.no-leak", DeliveryId::Redeploy, Harm::Delivery(Saboteur::LeaksToLog))]
#[case::hygiene_no_leak_arguments("hygiene.no-leak", DeliveryId::Redeploy, Harm::Delivery(Saboteur::LeaksToArguments))]
#[case::hygiene_no_leak_file("hygiene.no-leak", DeliveryId::Redeploy, Harm::Delivery(Saboteur::LeaksToFile))]
#[tokio::test]
async fn is_caught(#[case] check: &str, #[case] delivery: DeliveryId, #[case] harm: Harm) {
    let limits = Some((Sla(PATIENCE), Patience(PATIENCE)));
    let sabotage = match harm {
        Harm::Backend(tamper) => Sabotage { candidate: Some(backend::tampered(tamper)), limits, ..Sabotage::default() },
        Harm::Delivery(saboteur) => Sabotage { delivery: Some(saboteur.delivery()), limits, ..Sabotage::default() },
        Harm::Sla(sla) => Sabotage { limits: Some((Sla(sla), Patience(PATIENCE))), ..Sabotage::default() },
    };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let evidence = hold_sabotaged(&run, &Cell::new(check, vault(delivery)), sabotage).await.unwrap();
    let judgement = evidence.judgement;
    println!("{check}: {}: {}", judgement.verdict, judgement.reason);
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
}

/// The same in a cluster.
#[rstest]
#[case::rollout_zero_downtime("rollout.zero-downtime", DeliveryId::Restart, Defect::Recreates)]
#[case::rollout_revision("rollout.revision", DeliveryId::Restart, Defect::RollsTwice)]
#[case::cluster_secret_not_in_spec("cluster.secret-not-in-spec", DeliveryId::Redeploy, Defect::Annotates)]
#[case::cluster_least_privilege("cluster.least-privilege", DeliveryId::Reload, Defect::Grants)]
#[tokio::test]
async fn is_caught_in_a_kubernetes_cluster(#[case] check: &str, #[case] delivery: DeliveryId, #[case] defect: Defect) {
    let sabotage = Sabotage { namespaced: Some(defect.deploys(delivery)), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let evidence = hold_sabotaged(&run, &Cell::new(check, vault_kubernetes(delivery)), sabotage).await.unwrap();
    let judgement = evidence.judgement;
    println!("{check}: {}: {}", judgement.verdict, judgement.reason);
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
}

/// What a candidate loses while the cluster is broken is not excused by the cluster.
#[rstest]
#[case::cluster_node_restart("cluster.node-restart", DeliveryId::Reload)]
#[case::cluster_apiserver_away("cluster.apiserver-away", DeliveryId::Reload)]
#[case::cluster_apiserver_away_restart("cluster.apiserver-away", DeliveryId::Restart)]
#[tokio::test]
async fn is_caught_in_a_broken_kubernetes_cluster(#[case] check: &str, #[case] delivery: DeliveryId) {
    let candidate = Some(backend::tampered(Tamper::LostRotation));
    let sabotage = Sabotage { candidate, limits: Some((Sla(PATIENCE), Patience(PATIENCE))), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let evidence = hold_sabotaged(&run, &Cell::new(check, vault_kubernetes(delivery)), sabotage).await.unwrap();
    let judgement = evidence.judgement;
    println!("{check}: {}: {}", judgement.verdict, judgement.reason);
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
}

/// A trigger that falls silent: the sidecar asks instead, and the value arrives within the SLA. That is no evidence for the
/// delivery that promised to be told, and not the candidate's failure either.
#[tokio::test]
async fn a_trigger_that_is_lost_is_no_pass() {
    let sabotage = Sabotage { candidate: Some(backend::tampered(Tamper::TriggerCutOff)), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("rotation.no-redeploy", vault(DeliveryId::Reload));
    let judgement = hold_sabotaged(&run, &cell, sabotage).await.unwrap().judgement;
    assert_eq!(judgement.verdict, Verdict::Error, "{}", judgement.reason);
    assert!(judgement.reason.contains("the trigger of app was lost"), "{}", judgement.reason);
}

/// The same where the platform is one that shows environments: the delivery promises that it puts no value into any.
#[tokio::test]
async fn a_value_that_docker_shows_is_caught() {
    let sabotage = Sabotage { delivery: Some(Saboteur::LeaksToInspection.delivery()), ..Sabotage::default() };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("hygiene.no-leak", vault_docker(DeliveryId::Reload));
    let judgement = hold_sabotaged(&run, &cell, sabotage).await.unwrap().judgement;
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
    assert_eq!(judgement.reason, "a value stands in: docker inspect helper: Config.Env");
}

/// The cases above, as their source names them: one that is missing is a check that nobody sabotages.
#[test]
fn nobody_is_left_out() {
    let sources = [include_str!("saboteurs.rs"), include_str!("saboteurs/network.rs")];
    let cases = sources.into_iter().flat_map(|source| source.split("\n#[case::").skip(1));
    // The first text in a case is the check's id.
    let sabotaged: BTreeSet<_> = cases.filter_map(|case| case.split('"').nth(1)).collect();
    let checks: BTreeSet<_> = check::ALL.iter().map(|check| check.about().id).collect();
    assert_eq!(sabotaged, checks);
}
