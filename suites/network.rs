//! Suite `network`: see the checks' own sentences in `cargo conformance matrix`.

use harness::cell::{DeliveryId, Place};
use rstest::rstest;
use rstest_reuse::apply;

use crate::holds;
use crate::{containers, containers_reloaded};

#[apply(containers_reloaded)]
#[tokio::test]
async fn backend_unreachable(#[case] place: Place) {
    holds("network.backend-unreachable", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn backend_slow(#[case] place: Place) {
    holds("network.backend-slow", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn lossy(#[case] place: Place) {
    holds("network.lossy", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn reset(#[case] place: Place) {
    holds("network.reset", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn dns_gone(#[case] place: Place) {
    holds("network.dns-gone", place).await;
}

#[apply(containers)]
#[tokio::test]
async fn backend_restarted(#[case] place: Place) {
    holds("network.backend-restarted", place).await;
}

#[apply(containers)]
#[tokio::test]
async fn backend_paused(#[case] place: Place) {
    holds("network.backend-paused", place).await;
}

#[apply(containers)]
#[tokio::test]
async fn sidecar_killed(#[case] place: Place) {
    holds("network.sidecar-killed", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn probe_killed(#[case] place: Place) {
    holds("network.probe-killed", place).await;
}

#[apply(containers_reloaded)]
#[tokio::test]
async fn disk_full(#[case] place: Place) {
    holds("network.disk-full", place).await;
}
