//! `[aws]`: an AWS account.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, NotifierTarget, SecretRef, Section, each_environment, web_address};
use crate::cell::Environment;
use crate::verdict::Grade;

/// An AWS account. The suite makes no IAM principals there, so they are named here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsTarget {
    /// How strong evidence from it is: `live`, or `stand-in` for one that is there already.
    pub grade: Grade,
    /// The region.
    pub region: String,
    /// `https://host:port` of both services, where it is not AWS's own.
    pub endpoint: Option<String>,
    /// A principal that may create, rotate and delete secrets named `conformance-*`, and look up events.
    pub rotator: AwsPrincipal,
    /// One principal for each environment that may read `conformance-*-<environment>` and nothing else.
    pub readers: BTreeMap<Environment, AwsPrincipal>,
    /// Its notifier, which an EventBridge rule sends `Secret Label Updated` to; without one nothing pushes.
    pub notifier: Option<NotifierTarget>,
}

/// An IAM user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsPrincipal {
    /// The name under which CloudTrail records it.
    pub user_name: String,
    /// Its access key's id.
    pub access_key_id: SecretRef,
    /// Its secret access key.
    pub secret_access_key: SecretRef,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretRef>,
}

impl Section for AwsTarget {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let principals = [&mut self.rotator].into_iter().chain(self.readers.values_mut());
        let secrets = principals.flat_map(|principal| {
            [
                Some(&mut principal.access_key_id),
                Some(&mut principal.secret_access_key),
                principal.session_token.as_mut(),
            ]
        });
        let notifier = self.notifier.as_mut().map(|notifier| &mut notifier.token_file);
        secrets.flatten().filter_map(SecretRef::path).chain(notifier).collect()
    }

    fn check(&self) -> Result<(), Fault> {
        if let Some(endpoint) = &self.endpoint {
            web_address("endpoint", endpoint)?;
        }
        each_environment("readers", &self.readers, "principal", "name a principal for each of dev, staging and prod")
    }
}
