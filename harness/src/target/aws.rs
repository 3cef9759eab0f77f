//! `[aws]`: an AWS account.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, NotifierTarget, SecretRef, Section, web_address};
use crate::verdict::Grade;

/// An AWS account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsTarget {
    /// How strong evidence from it is: `live`, or `stand-in` for one that is there already.
    pub grade: Grade,
    /// The region.
    pub region: String,
    /// `https://host:port` of all services, where it is not AWS's own.
    pub endpoint: Option<String>,
    /// An IAM user who may create, rotate, read and delete secrets named `conformance-*`, look up events, and make
    /// federated users: the readers.
    pub rotator: AwsUser,
    /// Its notifier, which an EventBridge rule sends `Secret Label Updated` to; without one nothing pushes.
    pub notifier: Option<NotifierTarget>,
}

/// The access key of an IAM user; temporary credentials make no federated users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsUser {
    /// Its id.
    pub access_key_id: SecretRef,
    /// Its secret half.
    pub secret_access_key: SecretRef,
}

impl Section for AwsTarget {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let secrets = [&mut self.rotator.access_key_id, &mut self.rotator.secret_access_key];
        let notifier = self.notifier.as_mut().map(|notifier| &mut notifier.token_file);
        secrets.into_iter().filter_map(SecretRef::path).chain(notifier).collect()
    }

    fn check(&self) -> Result<(), Fault> {
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| web_address("endpoint", endpoint))
    }
}
