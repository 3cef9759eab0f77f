//! `[doppler]`: a workplace of Doppler.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, SecretRef, Section, web_address};
use crate::verdict::Grade;

/// A Doppler workplace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DopplerTarget {
    /// How strong evidence from it is: `live`, or `stand-in` for one that is there already.
    pub grade: Grade,
    /// `https://host:port` of the API.
    #[serde(default = "default_address")]
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// A personal or service account token that may make and remove projects.
    pub token: SecretRef,
    /// What receives webhooks; without it the delivery `reload-webhook` is not supported.
    pub webhooks: Option<WebhookTarget>,
}

/// A notifier that Doppler can reach.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTarget {
    /// Where Doppler sends webhooks: `https://…/webhook`, a way to the notifier.
    pub url: String,
    /// The secret that they are signed with; the notifier knows it too.
    pub signing_secret: SecretRef,
    /// Where sidecars subscribe: `http://host:port` of the notifier.
    pub notifier: String,
    /// The file with the token for subscribers; the sidecar reads it too.
    pub token_file: PathBuf,
}

fn default_address() -> String {
    "https://api.doppler.com".into()
}

impl Section for DopplerTarget {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let webhooks =
            self.webhooks.as_mut().map(|webhooks| [webhooks.signing_secret.path(), Some(&mut webhooks.token_file)]);
        let paths = [self.token.path(), self.ca_file.as_mut()].into_iter().chain(webhooks.into_iter().flatten());
        paths.flatten().collect()
    }

    fn check(&self) -> Result<(), Fault> {
        web_address("address", &self.address)?;
        let Some(webhooks) = &self.webhooks else { return Ok(()) };
        web_address("webhooks.url", &webhooks.url)?;
        web_address("webhooks.notifier", &webhooks.notifier)
    }
}
