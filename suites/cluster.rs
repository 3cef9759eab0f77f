//! Suite `cluster`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::{in_a_cluster, in_a_scratch_cluster, with_accounts};

#[apply(in_a_cluster)]
#[tokio::test]
async fn secret_not_in_spec(#[case] place: Place) {
    holds("cluster.secret-not-in-spec", place).await;
}

#[apply(with_accounts)]
#[tokio::test]
async fn least_privilege(#[case] place: Place) {
    holds("cluster.least-privilege", place).await;
}

#[apply(in_a_scratch_cluster)]
#[tokio::test]
async fn node_restart(#[case] place: Place) {
    holds("cluster.node-restart", place).await;
}

#[apply(in_a_scratch_cluster)]
#[tokio::test]
async fn apiserver_away(#[case] place: Place) {
    holds("cluster.apiserver-away", place).await;
}
