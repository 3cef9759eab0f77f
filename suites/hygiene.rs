//! Suite `hygiene`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::every_delivery;
use crate::holds;

#[apply(every_delivery)]
#[tokio::test]
async fn no_leak(#[case] place: Place) {
    holds("hygiene.no-leak", place).await;
}
