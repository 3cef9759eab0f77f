//! Suite `rollout`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::rolling;

#[apply(rolling)]
#[tokio::test]
async fn zero_downtime(#[case] place: Place) {
    holds("rollout.zero-downtime", place).await;
}

#[apply(rolling)]
#[tokio::test]
async fn revision(#[case] place: Place) {
    holds("rollout.revision", place).await;
}
