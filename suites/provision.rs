//! Suite `provision`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::every_delivery;
use crate::holds;

#[apply(every_delivery)]
#[tokio::test]
async fn end_to_end(#[case] place: Place) {
    holds("provision.end-to-end", place).await;
}
