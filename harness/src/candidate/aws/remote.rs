//! An AWS account that a target names, and what its principals may do.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use sidecar::config::PushConfig;

use super::client::{Key, Service};
use super::failure;
use super::principal::Account;
use crate::error::BadInput;
use crate::target::{NotifierTarget, Targets};

/// An account that somebody else owns.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where the services are.
    pub service: Service,
    /// The key of the user who creates and rotates, and makes the readers.
    pub rotator: Key,
    /// Where its notifier takes subscribers; without one nothing pushes.
    pub notifier: Option<PushConfig>,
    /// Whether it is AWS itself, whose trail takes its time.
    pub live: bool,
    /// The name of secrets, or its beginning.
    pub scope: String,
}

impl Remote {
    /// The account that the targets name; none if the harness is to start a stand-in.
    ///
    /// # Errors
    /// A credential is not where the target says.
    pub fn of(targets: &Targets, scope: &str) -> Result<Option<Self>, BadInput> {
        let Some(target) = &targets.aws else { return Ok(None) };
        let place = |field: &str| format!("target field `aws.rotator.{field}`");
        let rotator = Key {
            id: target.rotator.access_key_id.resolve(&place("access_key_id"))?,
            secret: target.rotator.secret_access_key.resolve(&place("secret_access_key"))?,
            session: None,
        };
        Ok(Some(Self {
            service: Service { region: target.region.clone(), endpoint: target.endpoint.clone() },
            rotator,
            notifier: target.notifier.as_ref().map(NotifierTarget::subscription),
            live: target.endpoint.is_none(),
            scope: scope.to_owned(),
        }))
    }
}

/// How calls before a run name themselves.
const USER_AGENT: &str = "secrets-conformance/preflight";

/// Why a principal cannot do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// AWS does not know the key, or its signature is wrong or expired.
    #[error("{0}")]
    Key(String),
    /// The key is right, a permission is missing.
    #[error("{0}")]
    Right(String),
    /// There was no answer, or none that could be used.
    #[error("{0}")]
    Unreachable(String),
}

/// How AWS names what is wrong with a key (docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html
/// and that of STS).
const KEY: [&str; 10] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "ExpiredTokenException",
    "ExpiredToken",
    "MissingAuthenticationTokenException",
    "MissingAuthenticationToken",
    "OptInRequired",
];

impl Refusal {
    /// An answer that lacks something.
    pub(super) fn without(what: &str) -> Self {
        Self::Unreachable(format!("failed to find {what} in the answer"))
    }

    /// An SDK's error.
    pub(super) fn of<E>(what: &str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let words = failure(what, error).to_string();
        match error.code() {
            Some(code) if code.contains("AccessDenied") => Self::Right(words),
            Some(code) if KEY.contains(&code) => Self::Key(words),
            _ => Self::Unreachable(words),
        }
    }
}

impl Remote {
    /// Removes a secret that is not there as the rotator.
    ///
    /// # Errors
    /// It would not be allowed if it were: cells would leave theirs behind.
    pub async fn removes(&self) -> Result<(), Refusal> {
        let client = self.service.secrets(&self.rotator, USER_AGENT).await;
        let deleted = client.delete_secret().secret_id(format!("{}-none", self.scope));
        match deleted.force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(Refusal::of("delete a secret", &error)),
        }
    }

    /// Looks up one event as the rotator.
    ///
    /// # Errors
    /// It may not.
    pub async fn looks_up(&self) -> Result<(), Refusal> {
        let trail = self.service.trail(&self.rotator, USER_AGENT).await;
        let looked = trail.lookup_events().max_results(1).send().await;
        looked.map(drop).map_err(|error| Refusal::of("look up events", &error))
    }

    /// Makes a federated user, and reads as it a secret that is not there.
    ///
    /// # Errors
    /// It may not be made, or would not be allowed to read if the secret were there.
    pub async fn reads(&self) -> Result<(), Refusal> {
        let tokens = self.service.tokens(&self.rotator, USER_AGENT).await;
        let secret = format!("{}-none", self.scope);
        let key = Account::of(tokens, &self.service.region).await?.reader("preflight", &secret).await?;
        let client = self.service.secrets(&key, USER_AGENT).await;
        let read = client.get_secret_value().secret_id(secret).send().await;
        match read {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(Refusal::of("read a secret", &error)),
        }
    }
}
