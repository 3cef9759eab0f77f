//! Suite `delivery`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::every_delivery;
use crate::holds;

#[apply(every_delivery)]
#[tokio::test]
async fn initial_value(#[case] place: Place) {
    holds("delivery.initial-value", place).await;
}

#[apply(every_delivery)]
#[tokio::test]
async fn byte_exact(#[case] place: Place) {
    holds("delivery.byte-exact", place).await;
}
