//! The suite's images as testcontainers takes them. A default one is the newest that was made here, doing the least that
//! its program can do alone: it is for whoever wants to look at one. The platform gives each a tag and arguments.
//!
//! A registry named `localhost` is this machine: an image that went missing is never looked for anywhere else.

use testcontainers::Image;
use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::core::{ContainerPort, WaitFor};

/// The tag of the image that was made last.
pub(super) const NEWEST: &str = "newest";

/// Names of the images.
pub(super) const PROBE: &str = "localhost/conformance/probe";
pub(super) const SIDECAR: &str = "localhost/conformance/sidecar";
pub(super) const STANDIN: &str = "localhost/conformance/standin";
pub(super) const BAO: &str = "localhost/conformance/bao";

/// The probe. It is ready when it has said what it read.
#[derive(Clone, Debug)]
pub struct ProbeImage {
    tag: String,
}

/// The sidecar, as `deliver`, `notify` or `signal`. By default it says its version, since it does nothing without a
/// configuration.
#[derive(Clone, Debug)]
pub struct SidecarImage {
    tag: String,
    ready: Vec<WaitFor>,
}

/// A stand-in; by default Doppler's. It is ready when it listens.
#[derive(Clone, Debug)]
pub struct StandinImage {
    tag: String,
}

/// OpenBao, or Vault, as server or agent; by default a server in dev mode. It is ready when it says that it started.
#[derive(Clone, Debug)]
pub struct BaoImage {
    tag: String,
}

impl ProbeImage {
    pub(super) fn tagged(tag: String) -> Self {
        Self { tag }
    }
}

impl SidecarImage {
    /// For these arguments: a notifier is ready when it listens, a delivery when it first says how it fares. Whether that
    /// is well is for the delivery to judge.
    pub(super) fn tagged(tag: String, args: &[String]) -> Self {
        let ready = match args.first().map(String::as_str) {
            Some("notify") => vec![WaitFor::message_on_stderr(r#""event":"listening""#)],
            Some("deliver") => vec![WaitFor::message_on_stderr(r#""event":"#)],
            _ => Vec::new(),
        };
        Self { tag, ready }
    }
}

impl StandinImage {
    pub(super) fn tagged(tag: String) -> Self {
        Self { tag }
    }
}

impl BaoImage {
    pub(super) fn tagged(tag: String) -> Self {
        Self { tag }
    }
}

impl Default for ProbeImage {
    fn default() -> Self {
        Self::tagged(NEWEST.to_owned())
    }
}

impl Default for SidecarImage {
    fn default() -> Self {
        Self { tag: NEWEST.to_owned(), ready: vec![WaitFor::exit(ExitWaitStrategy::new().with_exit_code(0))] }
    }
}

impl Default for StandinImage {
    fn default() -> Self {
        Self::tagged(NEWEST.to_owned())
    }
}

impl Default for BaoImage {
    fn default() -> Self {
        Self::tagged(NEWEST.to_owned())
    }
}

impl Image for ProbeImage {
    fn name(&self) -> &str {
        PROBE
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        vec![WaitFor::message_on_stdout(r#""event":"started""#)]
    }

    fn env_vars(
        &self,
    ) -> impl IntoIterator<Item = (impl Into<std::borrow::Cow<'_, str>>, impl Into<std::borrow::Cow<'_, str>>)> {
        // A file that the engine puts into every container. As a key it keeps nothing secret; whoever has secrets names
        // another one.
        [("PROBE_KEY_FILE", "/etc/hostname")]
    }
}

impl Image for SidecarImage {
    fn name(&self) -> &str {
        SIDECAR
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        self.ready.clone()
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<std::borrow::Cow<'_, str>>> {
        ["--version"]
    }
}

impl Image for StandinImage {
    fn name(&self) -> &str {
        STANDIN
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        vec![WaitFor::message_on_stdout(r#""event":"listening""#)]
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<std::borrow::Cow<'_, str>>> {
        // In memory, where whoever runs it may write whatever user that is.
        ["doppler", "--listen", "0.0.0.0:8080", "--allow-remote", "--credentials-file", "/dev/shm/credentials.json"]
    }

    fn expose_ports(&self) -> &[ContainerPort] {
        &[ContainerPort::Tcp(8080)]
    }
}

impl Image for BaoImage {
    fn name(&self) -> &str {
        BAO
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        // Server and agent, OpenBao and Vault all say it so.
        vec![WaitFor::message_on_stdout("started!")]
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<std::borrow::Cow<'_, str>>> {
        ["server", "-dev", "-dev-no-store-token", "-dev-listen-address=0.0.0.0:8200"]
    }

    fn expose_ports(&self) -> &[ContainerPort] {
        &[ContainerPort::Tcp(8200)]
    }
}
