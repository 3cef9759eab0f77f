//! Suite `rotation`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::{rotating_deliveries, vault};

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

#[rstest]
#[case::vault_process_redeploy(vault(DeliveryId::Redeploy))]
#[tokio::test]
async fn redeploy_only(#[case] place: Place) {
    holds("rotation.redeploy-only", place).await;
}

#[rstest]
#[case::vault_process_restart(vault(DeliveryId::Restart))]
#[tokio::test]
async fn no_downtime(#[case] place: Place) {
    holds("rotation.no-downtime", place).await;
}
