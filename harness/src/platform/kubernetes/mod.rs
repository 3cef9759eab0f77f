//! The platform `kubernetes`: pods in a namespace of the cell's own, deployed as an operator would deploy them.
//!
//! Containers that belong together are one pod: they share a folder in memory at the path that the cell's folder has on this
//! machine, with the files that the harness wrote there laid into it from a Secret. The backend stays outside the cluster,
//! as the candidates are.

mod cluster;
mod custom;
mod faults;
mod identity;
mod images;
mod inspect;
mod k3s;
mod manifest;
mod member;
mod namespace;
mod outside;
mod pods;
mod reap;
mod resume;
mod rights;
mod source;

pub use self::cluster::{
    CONTEXT, Choice, Cluster, HOST, KEEP, LOAD, PRODUCTION, REGISTRY, chosen, images_from, reason,
};
pub use self::custom::Kind;
pub use self::faults::has_own;
pub use self::identity::Token;
pub use self::images::write_all;
pub use self::inspect::Rights;
pub use self::manifest::{LINGER_MS, PORT, Plan, container_name};
pub use self::member::DeployedMember;
pub use self::namespace::{Namespace, NamespacePlatform};
pub use self::outside::Outside;
pub use self::reap::{await_gone, reap};
pub use self::source::{CLUSTER, Made, Source, bad_input};

/// The label that every object of a run carries: the run's id.
pub const RUN_LABEL: &str = "conformance.run";

/// The annotation beside it: the process whose end is the end of the run.
pub const OWNER_ANNOTATION: &str = "conformance.owner";

/// The annotation that names the machine of that process, by the id of its boot.
pub const BOOT_ANNOTATION: &str = "conformance.boot";

/// The id of this machine's boot: a process id means something on one machine until it is started anew.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// An API call's error, in the API server's own words.
fn failed(what: &str, error: &kube::Error) -> anyhow::Error {
    anyhow::anyhow!("failed to {what}: {}", reason(error))
}

/// Whether this user may not do that.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether an object is not there, or not any more.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
