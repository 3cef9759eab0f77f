//! The stream of observations: what the probe said, in order, each with the harness's own time of arrival.

use std::collections::BTreeMap;
use std::time::Duration;

use probe::observation::{Observation, RunKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

/// The values of one secret, by name.
pub type Values = BTreeMap<String, SecretString>;

/// An observation and when the harness had it: one clock for both ends of a latency.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When the line arrived.
    pub at: Instant,
    /// What the probe said.
    pub observation: Observation,
}

impl Recorded {
    /// The digest that this observation gives for a name, if it has a value.
    pub fn digest(&self, name: &str) -> Option<&str> {
        self.observation.values.get(name)?.as_ref().map(|seen| seen.digest.as_str())
    }
}

/// How a wait for an observation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Awaited {
    /// The observation with this index satisfied the condition.
    Seen(usize),
    /// The deadline came first.
    Late,
    /// The stream ended: nobody is left to observe.
    Ended,
}

/// All that the probes of one deployment said.
#[derive(Debug)]
pub struct Observations {
    lines: UnboundedReceiver<Recorded>,
    seen: Vec<Recorded>,
}

impl Observations {
    /// Follows a stream of observations.
    pub fn new(lines: UnboundedReceiver<Recorded>) -> Self {
        Self { lines, seen: Vec::new() }
    }

    /// What has been taken from the stream so far; [`Self::drain`] takes what is waiting.
    pub fn seen(&self) -> &[Recorded] {
        &self.seen
    }

    /// Takes whatever has arrived, without waiting.
    pub fn drain(&mut self) -> &[Recorded] {
        while let Ok(recorded) = self.lines.try_recv() {
            self.seen.push(recorded);
        }
        &self.seen
    }

    /// Takes what is left of a stream that is about to end, for at most as long as `limit`.
    pub async fn rest(&mut self, limit: Duration) -> &[Recorded] {
        let deadline = Instant::now() + limit;
        while let Ok(Some(recorded)) = timeout_at(deadline, self.lines.recv()).await {
            self.seen.push(recorded);
        }
        &self.seen
    }

    /// Waits for the first observation at or after index `from` that satisfies the condition. The condition and the
    /// deadline stay apart: a condition knows nothing of time.
    pub async fn wait(&mut self, from: usize, deadline: Instant, condition: impl Fn(&Recorded) -> bool) -> Awaited {
        let mut next = from;
        loop {
            while let Some(recorded) = self.seen.get(next) {
                if condition(recorded) {
                    return Awaited::Seen(next);
                }
                next += 1;
            }
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(recorded)) => self.seen.push(recorded),
                Ok(None) => return Awaited::Ended,
                Err(_) => return Awaited::Late,
            }
        }
    }
}

/// The digests that a probe must show for these values.
pub fn digests(key: &RunKey, values: &Values) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), key.digest(value.expose_secret().as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use probe::observation::{Event, Seen, Source};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    fn line(digest: &str) -> Recorded {
        let seen = Seen { digest: digest.into(), length: 5, source: Source::Env };
        let observation = Observation {
            event: Event::Reloaded,
            instance: "a".into(),
            pid: 1,
            sequence: 1,
            address: None,
            values: BTreeMap::from([("POC_TEST_VALUE".into(), Some(seen))]),
            monotonic_ns: 0,
            wall_ns: 0,
        };
        Recorded { at: Instant::now(), observation }
    }

    fn stream() -> (UnboundedSender<Recorded>, Observations) {
        let (sender, receiver) = unbounded_channel();
        (sender, Observations::new(receiver))
    }

    fn shows(digest: &'static str) -> impl Fn(&Recorded) -> bool {
        move |recorded| recorded.digest("POC_TEST_VALUE") == Some(digest)
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_arrival_is_kept() {
        let (sender, mut observations) = stream();
        let start = Instant::now();
        let feeder = tokio::spawn(async move {
            for (after, digest) in [(10, "old"), (30, "new")] {
                tokio::time::sleep_until(start + Duration::from_millis(after)).await;
                sender.send(line(digest)).ok();
            }
            std::future::pending::<()>().await;
        });
        let awaited = observations.wait(0, start + Duration::from_secs(1), shows("new")).await;
        assert_eq!(awaited, Awaited::Seen(1));
        assert_eq!(observations.seen()[1].at - start, Duration::from_millis(30));
        feeder.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_kept_to_the_millisecond() {
        let (_sender, mut observations) = stream();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(250);
        assert_eq!(observations.wait(0, deadline, shows("new")).await, Awaited::Late);
        assert_eq!(start.elapsed(), Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_is_not_taken_for_a_late_value() {
        let (sender, mut observations) = stream();
        drop(sender);
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(observations.wait(0, deadline, shows("new")).await, Awaited::Ended);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_before_the_start_index_does_not_count() {
        let (sender, mut observations) = stream();
        sender.send(line("new")).ok();
        assert_eq!(observations.drain().len(), 1);
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(observations.wait(0, deadline, shows("new")).await, Awaited::Seen(0));
        assert_eq!(observations.wait(1, deadline, shows("new")).await, Awaited::Late);
    }
}
