//! Suite `rotation`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::{redeploy_alone, restart_alone, rotating_deliveries};

#[apply(rotating_deliveries)]
#[tokio::test]
async fn propagates(#[case] place: Place) {
    holds("rotation.propagates", place).await;
}

#[apply(rotating_deliveries)]
#[tokio::test]
async fn no_redeploy(#[case] place: Place) {
    holds("rotation.no-redeploy", place).await;
}

#[apply(rotating_deliveries)]
#[tokio::test]
async fn burst(#[case] place: Place) {
    holds("rotation.burst", place).await;
}

#[apply(redeploy_alone)]
#[tokio::test]
async fn redeploy_only(#[case] place: Place) {
    holds("rotation.redeploy-only", place).await;
}

#[apply(restart_alone)]
#[tokio::test]
async fn no_downtime(#[case] place: Place) {
    holds("rotation.no-downtime", place).await;
}
