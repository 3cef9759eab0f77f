//! The notifier of a cell's own backend: takes in what the backend sends, tells the sidecars that subscribed.

use std::time::Duration;

use anyhow::Result;
use secrecy::ExposeSecret;
use sidecar::config::{IngestConfig, NotifyConfig, PushConfig};
use sidecar::status::{Event, Status};
use tokio::time::Instant;

use crate::files::write_private;
use crate::platform::{Member, Platform, Program, Workload, line};
use crate::random;

/// The notifier answers in milliseconds; this is for a machine in trouble.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The port that it listens on where a platform lets it choose.
const PORT: u16 = 9000;

/// A running notifier.
pub(super) struct Notifier {
    member: Box<dyn Member>,
    /// `http://host:port` for the backend and other members.
    pub(super) address: String,
    /// Where and how sidecars subscribe.
    pub(super) subscription: PushConfig,
}

impl Notifier {
    /// Starts `sidecar notify`, to take in what `ingest` says.
    pub(super) async fn start(platform: &mut dyn Platform, ingest: IngestConfig) -> Result<Self> {
        let endpoint = platform.endpoint("notifier", PORT)?;
        let folder = platform.folder().to_owned();
        let token_file = folder.join("subscribe.token");
        write_private(&token_file, random::token(32)?.expose_secret())?;
        let notify = NotifyConfig {
            listen: endpoint.listen,
            // Elsewhere than on loopback it is on the network of the cell, which the run made itself.
            allow_remote: !endpoint.listen.ip().is_loopback(),
            subscribe_token_file: token_file.clone(),
            ingest,
        };
        let notify_file = folder.join("notify.toml");
        write_private(&notify_file, &toml::to_string(&notify)?)?;
        let mut member = platform
            .start(Workload {
                name: "notifier".into(),
                program: Program::Sidecar,
                endpoint: Some(endpoint.clone()),
                inside_only: true,
                args: vec!["notify".into(), "--config".into(), notify_file.display().to_string()],
                ..Workload::default()
            })
            .await?;
        let deadline = Instant::now() + START_LIMIT;
        line(member.as_mut(), "the notifier listening", deadline, |text| {
            matches!(Status::parse(text).ok()?.event, Event::Listening { .. }).then_some(())
        })
        .await?;
        let address = format!("http://{}", endpoint.inside);
        Ok(Self { member, subscription: PushConfig { notifier: address.clone(), token_file }, address })
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.member.stop(Duration::ZERO).await
    }
}
