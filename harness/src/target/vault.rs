//! `[vault]`: a Vault or OpenBao server that is there already.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, NotifierTarget, SecretRef, Section, each_environment, no_stand_in, web_address};
use crate::cell::Environment;
use crate::verdict::Grade;

/// A Vault or OpenBao server that somebody else runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultTarget {
    /// How strong evidence from it is: `self-hosted` or `live`.
    pub grade: Grade,
    /// `https://host:port`.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// A token that may do what `ci/targets/README.md` lists.
    pub token: SecretRef,
    /// The KV version 2 mount of each environment.
    pub mounts: BTreeMap<Environment, String>,
    /// The `AppRole` mount.
    #[serde(default = "default_auth_mount")]
    pub auth_mount: String,
    /// Its audit log.
    pub audit: AuditTarget,
    /// Its notifier, without which nothing pushes.
    pub notifier: Option<NotifierTarget>,
}

/// Where the audit log of a server can be read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditTarget {
    /// The name of the audit device.
    pub device: String,
    /// Its file, as this machine sees it.
    pub file: PathBuf,
}

fn default_auth_mount() -> String {
    "approle".into()
}

impl Section for VaultTarget {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let notifier = self.notifier.as_mut().map(|notifier| &mut notifier.token_file);
        [self.token.path(), notifier, self.ca_file.as_mut(), Some(&mut self.audit.file)].into_iter().flatten().collect()
    }

    fn check(&self) -> Result<(), Fault> {
        no_stand_in(self.grade)?;
        web_address("address", &self.address)?;
        each_environment("mounts", &self.mounts, "mount", "name the KV version 2 mount of dev, staging and prod")
    }
}
