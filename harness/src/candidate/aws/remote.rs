//! An AWS account that a target names, and what its principals may do.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use sidecar::config::PushConfig;

use super::client::{Key, Service};
use super::failure;
use crate::cell::Environment;
use crate::error::BadInput;
use crate::target::{AwsPrincipal, NotifierTarget, Targets};

/// An account that somebody else owns.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where the services are.
    pub service: Service,
    /// The principal that creates and rotates.
    pub rotator: (String, Key),
    /// The principal of each environment.
    pub readers: BTreeMap<Environment, (String, Key)>,
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
        let key = |principal: &AwsPrincipal, place: &str| {
            let place = |field: &str| format!("target field `aws.{place}.{field}`");
            let key = Key {
                id: principal.access_key_id.resolve(&place("access_key_id"))?,
                secret: principal.secret_access_key.resolve(&place("secret_access_key"))?,
                session: principal.session_token.as_ref().map(|it| it.resolve(&place("session_token"))).transpose()?,
            };
            Ok((principal.user_name.clone(), key))
        };
        let readers = target.readers.iter();
        let readers = readers.map(|(name, principal)| Ok((*name, key(principal, &format!("readers.{name}"))?)));
        Ok(Some(Self {
            service: Service { region: target.region.clone(), endpoint: target.endpoint.clone() },
            rotator: key(&target.rotator, "rotator")?,
            readers: readers.collect::<Result<_, BadInput>>()?,
            notifier: target.notifier.as_ref().map(NotifierTarget::subscription),
            live: target.endpoint.is_none(),
            scope: scope.to_owned(),
        }))
    }
}

/// Why a principal cannot do what it is for.
#[derive(Debug)]
pub enum Refusal {
    /// AWS does not know the key, or its signature is wrong or expired.
    Key(String),
    /// The key is right, a permission is missing.
    Right(String),
    /// There was no answer.
    Unreachable(String),
}

/// How AWS names what is wrong with a key (docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html).
const KEY: [&str; 8] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
    "OptInRequired",
];

impl Refusal {
    fn of<E>(what: &str, error: &SdkError<E>) -> Self
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
        let client = self.service.secrets(&self.rotator.1, "secrets-conformance/preflight").await;
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
        let trail = self.service.trail(&self.rotator.1, "secrets-conformance/preflight").await;
        let looked = trail.lookup_events().max_results(1).send().await;
        looked.map(drop).map_err(|error| Refusal::of("look up events", &error))
    }

    /// Reads a secret that is not there as the reader of an environment.
    ///
    /// # Errors
    /// It would not be allowed if it were.
    pub async fn reads(&self, environment: Environment) -> Result<(), Refusal> {
        let Some((_, key)) = self.readers.get(&environment) else { return Ok(()) };
        let client = self.service.secrets(key, "secrets-conformance/preflight").await;
        let read = client.get_secret_value().secret_id(format!("{}-{environment}", self.scope)).send().await;
        match read {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(Refusal::of("read a secret", &error)),
        }
    }
}
