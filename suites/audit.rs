//! Suite `audit`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::{any_delivery, rotating_deliveries};

#[apply(any_delivery)]
#[tokio::test]
async fn rotation_recorded(#[case] place: Place) {
    holds("audit.rotation-recorded", place).await;
}

#[apply(rotating_deliveries)]
#[tokio::test]
async fn reads_recorded(#[case] place: Place) {
    holds("audit.reads-recorded", place).await;
}

#[apply(any_delivery)]
#[tokio::test]
async fn denial_recorded(#[case] place: Place) {
    holds("audit.denial-recorded", place).await;
}

#[apply(any_delivery)]
#[tokio::test]
async fn no_plaintext(#[case] place: Place) {
    holds("audit.no-plaintext", place).await;
}
