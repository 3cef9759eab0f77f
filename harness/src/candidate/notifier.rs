//! The notifier of a cell's own backend: takes in what the backend sends, tells the sidecars that subscribed.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use secrecy::ExposeSecret;
use sidecar::config::{IngestConfig, NotifyConfig, PushConfig};
use sidecar::status::{Event, Status};
use tokio::time::Instant;

use crate::files::write_private;
use crate::platform::process::ProcessPlatform;
use crate::platform::{Member, Platform, Workload, line};
use crate::random;

/// The notifier answers in milliseconds; this is for a machine in trouble.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running notifier.
pub(super) struct Notifier {
    member: Box<dyn Member>,
    /// `http://host:port`, for the backend.
    pub(super) address: String,
    /// Where and how sidecars subscribe.
    pub(super) subscription: PushConfig,
}

impl Notifier {
    /// Starts `sidecar notify` on an address of this IP, to take in what `ingest` says.
    pub(super) async fn start(
        platform: &mut ProcessPlatform,
        sidecar: &Path,
        ip: IpAddr,
        ingest: IngestConfig,
    ) -> Result<Self> {
        let folder = platform.folder().to_owned();
        let token_file = folder.join("subscribe.token");
        write_private(&token_file, random::token(32)?.expose_secret())?;
        let notify = NotifyConfig {
            listen: SocketAddr::new(ip, 0),
            allow_remote: false,
            subscribe_token_file: token_file.clone(),
            ingest,
        };
        let notify_file = folder.join("notify.toml");
        write_private(&notify_file, &toml::to_string(&notify)?)?;
        let mut member = platform
            .start(Workload {
                name: "notifier".into(),
                program: sidecar.to_owned(),
                args: vec!["notify".into(), "--config".into(), notify_file.display().to_string()],
                ..Workload::default()
            })
            .await?;
        let deadline = Instant::now() + START_LIMIT;
        let listening =
            line(member.as_mut(), "the notifier's address", deadline, |text| match Status::parse(text).ok()?.event {
                Event::Listening { address } => Some(address),
                _ => None,
            })
            .await?;
        let address = format!("http://{listening}");
        Ok(Self { member, subscription: PushConfig { notifier: address.clone(), token_file }, address })
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.member.stop(Duration::from_secs(1)).await
    }
}
