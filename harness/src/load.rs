//! Constant requests to the probe's one address, while a rotation goes on.

use std::time::Duration;

use anyhow::{Context, Result};
use probe::observation::Answer;
use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two requests of one client: often enough to fall into any gap of a restart, rare enough to leave the
/// machine to what is being measured.
const PACE: Duration = Duration::from_millis(2);

/// A request that takes longer has failed its caller.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was sent.
    pub started: Instant,
    /// When its answer, or its failure, was here.
    pub ended: Instant,
    /// The digest of the value that answered, or why nothing did.
    pub outcome: Result<String, String>,
}

/// Requests under way.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    /// Sends requests to `address`: half of the clients keep their connection, half make a new one each time.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn start(address: &str, name: &str, clients: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let url = format!("{address}/observation");
        let clients = (0..clients).map(|number| {
            let idle = if number % 2 == 0 { usize::MAX } else { 0 };
            let http =
                Client::builder().no_proxy().timeout(REQUEST_LIMIT).pool_max_idle_per_host(idle).tcp_nodelay(true);
            let http = http.build().context("failed to make an HTTP client")?;
            Ok(tokio::spawn(send(http, url.clone(), name.to_owned(), stopped.clone())))
        });
        Ok(Self { stop, clients: clients.collect::<Result<_>>()? })
    }

    /// Lets the requests under way end, and returns all of them.
    ///
    /// # Errors
    /// A client broke.
    pub async fn stop(self) -> Result<Vec<Request>> {
        self.stop.send_replace(true);
        let mut requests = Vec::new();
        for client in self.clients {
            requests.extend(client.await.context("failed to wait for a client")?);
        }
        Ok(requests)
    }
}

async fn send(http: Client, url: String, name: String, stopped: watch::Receiver<bool>) -> Vec<Request> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut requests = Vec::new();
    while !*stopped.borrow() {
        pace.tick().await;
        let started = Instant::now();
        let outcome = ask(&http, &url, &name).await.map_err(|error| format!("{error:#}"));
        requests.push(Request { started, ended: Instant::now(), outcome });
    }
    requests
}

async fn ask(http: &Client, url: &str, name: &str) -> Result<String> {
    let answer: Answer = http.get(url).send().await?.error_for_status()?.json().await?;
    let seen = answer.values.get(name).and_then(Option::as_ref).context("the answer has no value")?;
    Ok(seen.digest.clone())
}
