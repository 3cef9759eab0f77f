//! A stand-in of the cell's own: a member of the platform, told what an operator would do elsewhere.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::Setup;
use super::api::text;
use crate::platform::{Member, Platform, Program, Workload, tail};
use crate::ready;

/// A stand-in answers in milliseconds; this is for a machine in trouble, or a container.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The port that it listens on where a platform lets it choose.
const PORT: u16 = 8080;

/// A running stand-in.
pub(super) struct Standin {
    /// Where its own processes run, and what goes with it.
    pub(super) platform: Box<dyn Platform>,
    /// `http://host:port` for members of the cell.
    pub(super) inside: String,
    /// `http://host:port` for the harness.
    pub(super) outside: String,
    /// What only an operator knows: the administrator's credential, and more by vendor.
    pub(super) credentials: Value,
    member: Box<dyn Member>,
    http: Client,
}

impl Standin {
    /// Starts the stand-in of this vendor; everything secret about it is told to the redactor.
    pub(super) async fn start(setup: Setup<'_>, vendor: &str, args: &[&str]) -> Result<Self> {
        let mut platform = setup.platform;
        let name = format!("standin-{vendor}");
        let endpoint = platform.endpoint(&name, PORT)?;
        let credentials_file = platform.folder().join("credentials.json");
        let mut arguments = vec![vendor.to_owned(), "--listen".to_owned(), endpoint.listen.to_string()];
        if !endpoint.listen.ip().is_loopback() {
            // On the network of the cell, which the run made itself.
            arguments.push("--allow-remote".into());
        }
        arguments.extend(["--credentials-file".to_owned(), credentials_file.display().to_string()]);
        if setup.durable {
            arguments.extend(["--state".to_owned(), platform.folder().join("state").display().to_string()]);
        }
        arguments.extend(args.iter().map(ToString::to_string));
        let inside = format!("http://{}", endpoint.inside);
        let workload = Workload {
            name,
            program: Program::Standin,
            endpoint: Some(endpoint),
            args: arguments,
            ..Workload::default()
        };
        let mut member = platform.start(workload).await?;
        listening(member.as_mut()).await?;
        let outside = format!("http://{}", member.outside().context("failed to find where the stand-in listens")?);
        let credentials = fs::read_to_string(&credentials_file)
            .with_context(|| format!("failed to read {}", credentials_file.display()))?;
        // Its text may be a secret: an error of the parser would repeat it.
        let credentials: Value = serde_json::from_str(&credentials)
            .map_err(|_| anyhow::anyhow!("failed to understand {}", credentials_file.display()))?;
        for field in ["token", "control_token", "admin/secret_access_key"] {
            if let Some(secret) = credentials.pointer(&format!("/{field}")).and_then(Value::as_str) {
                setup.redactor.learn(&secret.into());
            }
        }
        let http = Client::builder().no_proxy().build().context("failed to make an HTTP client")?;
        Ok(Self { platform, inside, outside, credentials, member, http })
    }

    /// A secret among its credentials.
    pub(super) fn secret(&self, pointer: &str) -> Result<SecretString> {
        Ok(text(&self.credentials, pointer)?.into())
    }

    /// Does what a vendor does elsewhere: in its own console, command line or account.
    pub(super) async fn control(&self, verb: &str, body: &Value) -> Result<Value> {
        let token = self.secret("/control_token")?;
        let request = self.http.post(format!("{}/_standin/{verb}", self.outside)).bearer_auth(token.expose_secret());
        let answer = request.json(body).send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("failed to tell the stand-in: {verb}"))?;
        let status = answer.status();
        ensure!(status.is_success(), "failed to tell the stand-in: {verb} answered {status}");
        answer.json().await.map_err(reqwest::Error::without_url).context("failed to understand the stand-in")
    }

    /// Waits until it serves after it was started again.
    pub(super) async fn revive(&self) -> Result<()> {
        // Any answer will do: this is about somebody being there.
        ready::until("the stand-in to answer", START_LIMIT, async || {
            Ok(self.http.get(&self.outside).send().await.ok().map(drop))
        })
        .await
    }

    /// Stops it, and with it all that it knew.
    pub(super) async fn stop(&mut self) -> Result<()> {
        // All that it knows goes with it: there is nothing to shut down gently.
        self.member.stop(Duration::ZERO).await
    }
}

/// Waits for the line that says where it listens.
async fn listening(member: &mut dyn Member) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while let Ok(Some(line)) = timeout_at(deadline, member.out().recv()).await {
        if serde_json::from_str::<Value>(&line.text).is_ok_and(|said| said["event"] == "listening") {
            return Ok(());
        }
    }
    let said: Vec<_> = std::iter::from_fn(|| member.err().try_recv().ok()).map(|line| line.text).collect();
    anyhow::bail!("failed to see the stand-in listen; it said last: {}", tail(&said))
}
