//! Constant requests to the probe's one address, while a rotation goes on.

use std::time::Duration;

use anyhow::{Context, Result};
use probe::observation::Answer;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::net::trusting;

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

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Front {
    /// The address, to which paths are appended.
    pub address: String,
    /// The authorities to trust on the way, as PEM; empty where it is not encrypted, or they are public ones.
    pub ca: String,
    /// What to show on the way, where somebody asks.
    pub token: Option<SecretString>,
}

impl Front {
    /// An address that is reached as it is.
    pub fn at(address: String) -> Self {
        Self { address, ca: String::new(), token: None }
    }

    fn client(&self, idle: usize) -> Result<reqwest::Client> {
        let mut http =
            reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).pool_max_idle_per_host(idle).tcp_nodelay(true);
        let ca = Some(self.ca.as_bytes()).filter(|ca| !ca.is_empty());
        http = trusting(http, &self.address, ca)?;
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
            bearer.set_sensitive(true);
            http = http.default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]));
        }
        http.build().context("failed to make an HTTP client")
    }
}

/// Requests under way.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    answered: watch::Receiver<String>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    /// Sends requests to `front`: half of the clients keep their connection, half make a new one each time.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn start(front: &Front, name: &str, clients: usize) -> Result<Self> {
        Self::at_pace(front, name, clients, PACE)
    }

    /// The same, with this time between two requests of one client.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn at_pace(front: &Front, name: &str, clients: usize, pace: Duration) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (answering, answered) = watch::channel(String::new());
        let url = format!("{}/observation", front.address);
        let clients = (0..clients).map(|number| {
            let idle = if number % 2 == 0 { usize::MAX } else { 0 };
            let client = Client {
                http: front.client(idle)?,
                url: url.clone(),
                name: name.to_owned(),
                answering: answering.clone(),
            };
            Ok(tokio::spawn(client.send(pace, stopped.clone())))
        });
        Ok(Self { stop, answered, clients: clients.collect::<Result<_>>()? })
    }

    /// Waits until a request is answered with this digest; false if none was before the deadline.
    pub async fn answered_with(&mut self, digest: &str, deadline: Instant) -> bool {
        let answered = self.answered.wait_for(|answered| answered == digest);
        timeout_at(deadline, answered).await.is_ok_and(|answered| answered.is_ok())
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

struct Client {
    http: reqwest::Client,
    url: String,
    name: String,
    answering: watch::Sender<String>,
}

impl Client {
    async fn send(self, pace: Duration, stopped: watch::Receiver<bool>) -> Vec<Request> {
        let mut pace = interval(pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::new();
        while !*stopped.borrow() {
            pace.tick().await;
            let started = Instant::now();
            let outcome = self.ask().await.map_err(|error| format!("{error:#}"));
            if let Ok(digest) = &outcome {
                self.answering.send_replace(digest.clone());
            }
            requests.push(Request { started, ended: Instant::now(), outcome });
        }
        requests
    }

    async fn ask(&self) -> Result<String> {
        let answer: Answer = self.http.get(&self.url).send().await?.error_for_status()?.json().await?;
        let seen = answer.values.get(&self.name).and_then(Option::as_ref).context("the answer has no value")?;
        Ok(seen.digest.clone())
    }
}
