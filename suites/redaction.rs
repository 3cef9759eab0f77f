//! No value of a cell reaches the harness's own log.

use harness::cell::{Cell, DeliveryId};
use harness::hold::hold_sabotaged;
use harness::run::Run;
use harness::verdict::Verdict;
use harness::way::Sabotage;
use tracing_test::traced_test;

use crate::vault;

#[traced_test]
#[tokio::test]
async fn a_cell_logs_what_it_does_and_no_value() {
    let run = Run::current().unwrap();
    let cell = Cell::new("audit.no-plaintext", vault(DeliveryId::ReloadPoll));
    let evidence = hold_sabotaged(&run, &cell, Sabotage::default()).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
    // The log is the one that would have shown a value.
    assert!(logs_contain("wrote the secret"));
    assert!(logs_contain("deployed the probe"));
    // Every value of the cell begins with the run's marker; its tokens begin as OpenBao's do.
    assert!(!logs_contain(&format!("canary-{}", run.id)));
    assert!(!logs_contain("hvs."));
    assert!(!logs_contain(" s."));
}
