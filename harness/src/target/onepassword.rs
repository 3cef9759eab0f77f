//! `[onepassword]`: a 1Password Connect server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, SecretRef, Section, each_environment, web_address};
use crate::cell::Environment;
use crate::verdict::Grade;

/// A 1Password Connect server. Its API makes neither vaults nor tokens, so they are named here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnepasswordTarget {
    /// How strong evidence from it is: `live`, or `stand-in` for one that is there already.
    pub grade: Grade,
    /// `https://host:port`.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// The id of each environment's vault.
    pub vaults: BTreeMap<Environment, String>,
    /// The rotator's token: reads and writes in the three vaults.
    pub rotator: SecretRef,
    /// One token for each environment that reads its vault and no other.
    pub readers: BTreeMap<Environment, SecretRef>,
}

impl Section for OnepasswordTarget {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let readers = self.readers.values_mut().map(SecretRef::path);
        [self.rotator.path(), self.ca_file.as_mut()].into_iter().chain(readers).flatten().collect()
    }

    fn check(&self) -> Result<(), Fault> {
        web_address("address", &self.address)?;
        each_environment("vaults", &self.vaults, "vault", "name the ids of the vaults of dev, staging and prod")?;
        each_environment("readers", &self.readers, "token", "name a token for each of dev, staging and prod")
    }
}
