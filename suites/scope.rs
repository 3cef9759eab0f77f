//! Suite `scope`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::any_delivery;
use crate::holds;

#[apply(any_delivery)]
#[tokio::test]
async fn isolated(#[case] place: Place) {
    holds("scope.isolated", place).await;
}

#[apply(any_delivery)]
#[tokio::test]
async fn same_name(#[case] place: Place) {
    holds("scope.same-name", place).await;
}

#[apply(any_delivery)]
#[tokio::test]
async fn reader_cannot_write(#[case] place: Place) {
    holds("scope.reader-cannot-write", place).await;
}
