//! Waits for readiness, with growing pauses. The only user of `backoff`: its pauses quantise what they measure, so it
//! must never stand between the two ends of a latency.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// Asks again until the answer is there: `ask` returns none when it is not there yet, and an error when asking again
/// cannot help.
///
/// # Errors
/// The error of `ask`, or that `what` was not there within `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let mut pauses = ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(2))
        .with_multiplier(1.5)
        .with_max_interval(Duration::from_millis(250))
        .with_max_elapsed_time(Some(limit))
        .build();
    loop {
        if let Some(ready) = ask().await.with_context(|| format!("failed to wait for {what}"))? {
            return Ok(ready);
        }
        let Some(pause) = pauses.next_backoff() else { bail!("failed to wait for {what}: not there after {limit:?}") };
        tokio::time::sleep(pause).await;
    }
}
