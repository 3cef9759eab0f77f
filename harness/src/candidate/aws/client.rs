//! Clients of the AWS SDK with credentials of our own, and the files that hold them.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::Credentials;
use std::time::Duration;

use anyhow::Result;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::candidate::api::text;

/// Where the services are.
#[derive(Clone, Debug)]
pub struct Service {
    /// The region.
    pub region: String,
    /// `http(s)://host:port` of all services, where it is not AWS's own.
    pub endpoint: Option<String>,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id. Not secret by itself, but no log needs it.
    pub id: SecretString,
    /// The secret half.
    pub secret: SecretString,
    /// The session token of temporary credentials.
    pub session: Option<SecretString>,
}

impl From<standins::aws::AccessKey> for Key {
    fn from(key: standins::aws::AccessKey) -> Self {
        Self { id: key.access_key_id.into(), secret: key.secret_access_key, session: key.session_token }
    }
}

impl Key {
    /// An AWS shared credentials file (docs.aws.amazon.com/sdkref, "Shared config and credentials files").
    pub(super) fn to_file(&self) -> SecretString {
        let mut text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.id.expose_secret(),
            self.secret.expose_secret()
        );
        if let Some(session) = &self.session {
            text += &format!("aws_session_token = {}\n", session.expose_secret());
        }
        text.into()
    }

    /// The key in the stand-in's answer to its creation.
    ///
    /// # Errors
    /// It holds none.
    pub(super) fn from_document(document: &Value) -> Result<Self> {
        Ok(Self {
            id: text(document, "/access_key_id")?.into(),
            secret: text(document, "/secret_access_key")?.into(),
            session: document["session_token"].as_str().map(Into::into),
        })
    }

    /// The key in a file that [`Self::to_file`] made.
    pub(super) fn from_file(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))?;
            Some(SecretString::from(line.trim()))
        };
        Some(Self {
            id: value("aws_access_key_id")?,
            secret: value("aws_secret_access_key")?,
            session: value("aws_session_token"),
        })
    }
}

impl Service {
    async fn config(&self, key: &Key, user_agent: &str) -> SdkConfig {
        let session = key.session.as_ref().map(|session| session.expose_secret().to_owned());
        let credentials =
            Credentials::new(key.id.expose_secret(), key.secret.expose_secret(), session, None, "conformance");
        let mut config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(credentials)
            // Throttled calls are made again after a pause; the SDK also corrects a clock that is off.
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(Duration::from_secs(15))
                    .build(),
            );
        // An app name takes no spaces, dots or parentheses.
        let name = user_agent.split(' ').next().unwrap_or_default().replace(['/', '.'], "-");
        if let Ok(name) = AppName::new(name) {
            config = config.app_name(name);
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config.load().await
    }

    /// A client of Secrets Manager.
    pub(super) async fn secrets(&self, key: &Key, user_agent: &str) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config(key, user_agent).await)
    }

    /// A client of STS.
    pub(super) async fn tokens(&self, key: &Key, user_agent: &str) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.config(key, user_agent).await)
    }

    /// A client of CloudTrail.
    pub(super) async fn trail(&self, key: &Key, user_agent: &str) -> aws_sdk_cloudtrail::Client {
        aws_sdk_cloudtrail::Client::new(&self.config(key, user_agent).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_file() {
        let key = Key { id: "AKIAEXAMPLE".into(), secret: "a+b/c=".into(), session: Some("s=t".into()) };
        let read = Key::from_file(key.to_file().expose_secret()).unwrap();
        assert_eq!(read.id.expose_secret(), "AKIAEXAMPLE");
        assert_eq!(read.secret.expose_secret(), "a+b/c=");
        assert_eq!(read.session.unwrap().expose_secret(), "s=t");
        assert!(Key::from_file("[default]\naws_access_key_id = x\n").is_none());
    }
}
