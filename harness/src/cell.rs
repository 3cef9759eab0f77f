//! The words of the matrix: candidate, platform, delivery, environment, and the cell that joins them with a check.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::candidate::Capability;

/// One of the four backends. The order is fixed for good: case numbers and reports follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateId {
    /// "Hetzner vault": OpenBao or Vault, run by the operator.
    Vault,
    /// Doppler.
    Doppler,
    /// 1Password Connect.
    Onepassword,
    /// AWS Secrets Manager.
    Aws,
}

impl CandidateId {
    /// Every candidate, in the fixed order.
    pub const ALL: [Self; 4] = [Self::Vault, Self::Doppler, Self::Onepassword, Self::Aws];

    /// The name used in reports for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vault => "Hetzner vault (OpenBao/Vault)",
            Self::Doppler => "Doppler",
            Self::Onepassword => "1Password Connect",
            Self::Aws => "AWS Secrets Manager",
        }
    }
}

/// Where the probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformId {
    /// Plain processes on this machine.
    Process,
    /// Containers of a Docker engine.
    Docker,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

/// How a secret reaches the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryId {
    /// The sidecar re-renders the env file and signals the app; it learns of a rotation by the best trigger there is.
    Reload,
    /// As `reload`, but the sidecar learns of a rotation by polling the version.
    ReloadPoll,
    /// As `reload`, but the sidecar learns of a rotation by the vendor's signed webhook.
    ReloadWebhook,
    /// As `reload` in a cluster, but the sidecar is let in as the pod's service account and has no credentials.
    ReloadServiceAccount,
    /// The sidecar starts a new instance, waits until it is ready and drains the old one.
    Restart,
    /// The vendor's own agent renders the env file and signals the app.
    NativeTemplate,
    /// The vendor's own agent starts the app with the values in its environment, and restarts it.
    NativeExec,
    /// The External Secrets Operator writes the Secret that the app has in its environment, and Stakater's Reloader rolls it.
    NativeEso,
    /// A provider of the Secrets Store CSI driver mounts the values and keeps a Secret, and Stakater's Reloader rolls the app.
    NativeCsi,
    /// The vendor's own operator writes the Secret that the app has in its environment, and rolls it.
    NativeOperator,
    /// As `reload`, laid out as the candidate's deploy template for a host that has Compose alone.
    Compose,
    /// Negative control: values are read once, at deploy time; only another deploy brings new ones.
    Redeploy,
}

/// What a rotation does to the instances of the probe under a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The same instance sees the new value.
    SameInstance,
    /// A new instance of the same deployment sees the new value.
    NewInstance,
    /// No instance sees the new value until somebody deploys again.
    Nothing,
}

impl DeliveryId {
    /// Every delivery, in the order of the reports.
    pub const ALL: [Self; 12] = [
        Self::Reload,
        Self::ReloadPoll,
        Self::ReloadWebhook,
        Self::ReloadServiceAccount,
        Self::Restart,
        Self::NativeTemplate,
        Self::NativeExec,
        Self::NativeEso,
        Self::NativeCsi,
        Self::NativeOperator,
        Self::Compose,
        Self::Redeploy,
    ];

    /// The deliveries that there are for a candidate on a platform. Where the best trigger is the only one, no delivery
    /// names it; that a sidecar can be told in other ways is shown once, on `process`.
    pub fn offered_by(candidate: CandidateId, platform: PlatformId) -> &'static [Self] {
        match (candidate, platform) {
            (CandidateId::Vault, PlatformId::Docker) => {
                &[Self::Reload, Self::Restart, Self::NativeTemplate, Self::NativeExec, Self::Compose, Self::Redeploy]
            }
            (_, PlatformId::Docker) => &[Self::Reload, Self::Restart, Self::Compose, Self::Redeploy],
            (CandidateId::Vault, PlatformId::Kubernetes) => &[
                Self::Reload,
                Self::ReloadServiceAccount,
                Self::Restart,
                Self::NativeTemplate,
                Self::NativeExec,
                Self::NativeEso,
                Self::NativeCsi,
                Self::Redeploy,
            ],
            (CandidateId::Doppler | CandidateId::Onepassword, PlatformId::Kubernetes) => {
                &[Self::Reload, Self::Restart, Self::NativeEso, Self::NativeOperator, Self::Redeploy]
            }
            (CandidateId::Aws, PlatformId::Kubernetes) => {
                &[Self::Reload, Self::Restart, Self::NativeEso, Self::NativeCsi, Self::Redeploy]
            }
            (CandidateId::Vault, PlatformId::Process) => {
                &[Self::Reload, Self::ReloadPoll, Self::Restart, Self::NativeTemplate, Self::NativeExec, Self::Redeploy]
            }
            (CandidateId::Doppler, PlatformId::Process) => {
                &[Self::Reload, Self::ReloadWebhook, Self::Restart, Self::Redeploy]
            }
            (CandidateId::Onepassword, PlatformId::Process) => &[Self::Reload, Self::Restart, Self::Redeploy],
            (CandidateId::Aws, PlatformId::Process) => &[Self::Reload, Self::ReloadPoll, Self::Restart, Self::Redeploy],
        }
    }

    /// What a rotation does to the instances of the probe.
    pub fn reach(self) -> Reach {
        match self {
            Self::Reload
            | Self::ReloadPoll
            | Self::ReloadWebhook
            | Self::ReloadServiceAccount
            | Self::NativeTemplate
            | Self::Compose => Reach::SameInstance,
            Self::Restart | Self::NativeExec | Self::NativeEso | Self::NativeCsi | Self::NativeOperator => {
                Reach::NewInstance
            }
            Self::Redeploy => Reach::Nothing,
        }
    }
}

impl DeliveryId {
    /// What the delivery needs of the candidate.
    pub fn needs(self) -> &'static [Capability] {
        match self {
            Self::ReloadWebhook => &[Capability::Webhook],
            Self::ReloadServiceAccount => &[Capability::ServiceAccounts],
            Self::Reload
            | Self::ReloadPoll
            | Self::Restart
            | Self::NativeTemplate
            | Self::NativeExec
            | Self::NativeEso
            | Self::NativeCsi
            | Self::NativeOperator
            | Self::Compose
            | Self::Redeploy => &[],
        }
    }
}

/// Scopes that must not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// Development.
    Dev,
    /// Staging.
    Staging,
    /// Production.
    Prod,
}

impl Environment {
    /// Every environment, from the least to the most precious.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Prod];
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Prod => "prod",
        })
    }
}

/// Writes and reads a value by the name that clap knows it under: one spelling for flags, files and reports.
macro_rules! named {
    ($($word:ty: $noun:literal),+) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_possible_value().map_or(Err(fmt::Error), |value| f.pad(value.get_name()))
            }
        }

        impl FromStr for $word {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                <$word as ValueEnum>::from_str(text, false).map_err(|_| format!("unknown {} `{text}`", $noun))
            }
        }
    )+};
}

named!(CandidateId: "candidate", PlatformId: "platform", DeliveryId: "delivery");

/// Where in the matrix a check is held: candidate × platform × delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The backend under test.
    pub candidate: CandidateId,
    /// Where the probe runs.
    pub platform: PlatformId,
    /// How values reach the probe.
    pub delivery: DeliveryId,
}

impl Place {
    /// A place by its three words.
    pub const fn new(candidate: CandidateId, platform: PlatformId, delivery: DeliveryId) -> Self {
        Self { candidate, platform, delivery }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.candidate, self.platform, self.delivery)
    }
}

/// Check × candidate × platform × delivery: one nextest case, one evidence file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Stable id of the check.
    pub check: String,
    /// Where it is held.
    #[serde(flatten)]
    pub place: Place,
}

impl Cell {
    /// A cell from a check's id and a place.
    pub fn new(check: &str, place: Place) -> Self {
        Self { check: check.to_owned(), place }
    }

    /// The cell as a file name without ending: `rotation.propagates.vault.process.reload`.
    pub fn file_stem(&self) -> String {
        let Place { candidate, platform, delivery } = self.place;
        format!("{}.{candidate}.{platform}.{delivery}", self.check)
    }

    /// The path of the function whose cases hold the check: `rotation::no_redeploy`.
    pub fn case_path(&self) -> String {
        self.check.replace('.', "::").replace('-', "_")
    }

    /// How rstest names the place: `vault_process_reload_poll`.
    pub fn case_place(&self) -> String {
        self.place.to_string().replace(['/', '-'], "_")
    }

    /// A regular expression that matches exactly the name of this cell's nextest case.
    pub fn case_pattern(&self) -> String {
        format!("^{}::case_[0-9]+_{}$", self.case_path(), self.case_place())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.check, self.place)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(CandidateId::Onepassword, "onepassword")]
    #[case(DeliveryId::ReloadPoll, "reload-poll")]
    #[case(PlatformId::Kubernetes, "kubernetes")]
    fn a_word_reads_back_as_it_was_written<T>(#[case] word: T, #[case] text: &str)
    where
        T: fmt::Display + FromStr<Err = String> + PartialEq + fmt::Debug,
    {
        assert_eq!(word.to_string(), text);
        assert_eq!(text.parse::<T>().as_ref(), Ok(&word));
    }

    #[test]
    fn a_cell_names_its_file_and_its_case() {
        let place = Place::new(CandidateId::Vault, PlatformId::Process, DeliveryId::ReloadPoll);
        let cell = Cell::new("rotation.no-redeploy", place);
        assert_eq!(cell.to_string(), "rotation.no-redeploy/vault/process/reload-poll");
        assert_eq!(cell.file_stem(), "rotation.no-redeploy.vault.process.reload-poll");
        assert_eq!(cell.case_pattern(), "^rotation::no_redeploy::case_[0-9]+_vault_process_reload_poll$");
    }
}
