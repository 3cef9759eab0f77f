//! The candidate `aws`: a stand-in of the cell's own, or the account that a target names.
//!
//! One secret per environment and cell, a JSON object of all values; a federated user per container, for one secret.

mod audit;
mod client;
mod principal;
mod remote;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sidecar::config::{AwsConfig, AwsIngest, IngestConfig, PollConfig, PushConfig, SourceConfig, TriggerConfig};
use tokio::time::Instant;

pub use self::client::{Key, Service};
pub use self::remote::{Refusal, Remote};
use super::api::text;
use super::notifier::Notifier;
use super::standin::Standin;
use super::{Access, AuditEntry, Candidate, Capability, GIVEN, Gap, Reader, Setup, Trigger, Written};
use crate::cell::Environment;
use crate::files::write_private;
use crate::observations::Values;
use crate::random;
use crate::redact::Redactor;

/// How often the sidecar calls `DescribeSecret` when nothing pushes: each call is paid for.
const POLL_INTERVAL_MS: u64 = 1000;

/// How long CloudTrail may take to show an event: "about 5 minutes on average", not guaranteed, is stated for trails
/// (docs.aws.amazon.com/awscloudtrail, "How CloudTrail works").
const TRAIL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// Where the service comes from.
enum Backend {
    /// Started by this cell, gone with it.
    Own { standin: Box<Standin>, notifier: Option<Notifier> },
    /// Given by a target.
    Remote(Remote),
}

/// The driver.
pub struct Aws {
    backend: Backend,
    /// Where the harness finds it.
    service: Service,
    /// Where members of the cell find it.
    inside: Option<String>,
    user_agent: String,
    redactor: Redactor,
    rotator: Option<Client>,
    trail: Option<aws_sdk_cloudtrail::Client>,
    account: Option<principal::Account>,
    looked_up: tokio::sync::Mutex<Option<Instant>>,
    /// The name of its secrets, before the environment's.
    scope: String,
    /// The ARN of each environment's secret, since its first write.
    arns: BTreeMap<Environment, String>,
    versions: BTreeMap<Environment, u64>,
    /// Who is behind a principal's name, which stands in the log.
    identities: BTreeMap<String, String>,
    steps: Vec<String>,
    began: Timestamp,
}

impl Aws {
    /// Starts a stand-in, or uses the target's account.
    ///
    /// # Errors
    /// The stand-in does not start, or the target cannot be used.
    pub async fn new(setup: Setup<'_>) -> Result<Self> {
        let (scope, user_agent, redactor) = (setup.scope.clone(), setup.user_agent.clone(), setup.redactor.clone());
        let (backend, service, inside) = match Remote::of(setup.targets, &setup.scope)? {
            Some(remote) => {
                let service = remote.service.clone();
                let inside = service.endpoint.clone();
                (Backend::Remote(remote), service, inside)
            }
            None => {
                let standin = Box::new(Standin::start(setup, "aws", &[]).await?);
                let region = text(&standin.credentials, "/region")?.to_owned();
                let service = Service { region, endpoint: Some(standin.outside.clone()) };
                let inside = Some(standin.inside.clone());
                (Backend::Own { standin, notifier: None }, service, inside)
            }
        };
        Ok(Self {
            backend,
            service,
            inside,
            user_agent,
            redactor,
            rotator: None,
            trail: None,
            account: None,
            looked_up: tokio::sync::Mutex::default(),
            scope,
            arns: BTreeMap::new(),
            versions: BTreeMap::new(),
            identities: BTreeMap::new(),
            steps: Vec::new(),
            began: Timestamp::now(),
        })
    }

    fn name(&self, environment: Environment) -> String {
        format!("{}-{environment}", self.scope)
    }

    /// The name that a container has in the log: at most 32 characters, and this cell's alone.
    fn federated_user(&self, container: &str) -> String {
        let unique = self.scope.rsplit('-').next().unwrap_or_default();
        format!("{container}.{unique}")
    }

    /// The key that the operator gives: the target's, or of a user that the stand-in's control makes as an administrator
    /// would.
    async fn operator(&mut self) -> Result<Key> {
        let key = match &self.backend {
            Backend::Remote(remote) => remote.rotator.clone(),
            Backend::Own { standin, .. } => {
                let user =
                    json!({ "user_name": self.rotator(), "policies": [principal::operators_policy(&self.scope)] });
                Key::from_document(&standin.control("principals", &user).await?)?
            }
        };
        self.redactor.learn(&key.secret);
        Ok(key)
    }

    fn rotating(&self) -> Result<&Client> {
        self.rotator.as_ref().context("failed to write: nothing is provisioned")
    }

    async fn client_of(&self, reader: &Reader) -> Result<Client> {
        let file = reader.file("credentials")?;
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let key = Key::from_file(&text).with_context(|| format!("failed to understand {}", file.display()))?;
        Ok(self.service.secrets(&key, &self.user_agent).await)
    }

    /// Where sidecars subscribe: the target's notifier, or one that is started and told of events, once.
    async fn subscription(&mut self) -> Result<PushConfig> {
        let rule = format!("{GIVEN}an EventBridge rule for `Secret Label Updated` with its API destination");
        if !self.steps.contains(&rule) {
            self.steps.push(rule);
        }
        let (notifier, standin) = match &mut self.backend {
            Backend::Remote(remote) => return remote.notifier.clone().context("failed to subscribe: nothing pushes"),
            Backend::Own { notifier: Some(notifier), .. } => return Ok(notifier.subscription.clone()),
            Backend::Own { notifier, standin } => (notifier, standin),
        };
        let token = random::token(32)?;
        self.redactor.learn(&token);
        let token_file = standin.platform.folder().join("event.token");
        write_private(&token_file, token.expose_secret())?;
        let started = Notifier::start(standin.platform.as_mut(), IngestConfig::Aws(AwsIngest { token_file })).await?;
        let header = json!({ "name": "authorization", "value": format!("Bearer {}", token.expose_secret()) });
        let target = json!({ "url": format!("{}/event", started.address), "api_key": header });
        standin.control("event-targets", &target).await?;
        let subscription = started.subscription.clone();
        *notifier = Some(started);
        Ok(subscription)
    }
}

/// Removes every secret whose name begins with the scope of `remote`, and says which.
///
/// # Errors
/// The account cannot be reached, or its rotator may not list or delete.
pub async fn reap(remote: &Remote) -> Result<Vec<String>> {
    let client = remote.service.secrets(&remote.rotator, "secrets-conformance/reap").await;
    let mut removed = Vec::new();
    let mut pages = client.list_secrets().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failure("list secrets", &error))?;
        let names = page.secret_list().iter().filter_map(|secret| secret.name());
        for name in names.filter(|name| name.starts_with(&remote.scope)) {
            let deleted = client.delete_secret().secret_id(name).force_delete_without_recovery(true).send().await;
            deleted.map_err(|error| failure("delete a secret", &error))?;
            removed.push(format!("secret {name}"));
        }
    }
    Ok(removed)
}

/// Errors whose message names a secret or a principal. Others may repeat the request, its session token included.
const TOLD: [&str; 5] = ["AccessDenied", "ResourceNotFound", "ResourceExists", "LimitExceeded", "Throttling"];

/// An SDK's error in words. Its own long form holds the whole answer, which may hold a value.
fn failure<E>(what: &str, error: &SdkError<E>) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or("an error without a name");
        let message = service.message().filter(|_| TOLD.iter().any(|told| code.contains(told)));
        let message = message.map_or_else(String::new, |message| format!(": {message}"));
        return anyhow::anyhow!("failed to {what}: AWS answers {code}{message}");
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words += &format!(": {inner}");
        cause = inner.source();
    }
    anyhow::anyhow!("failed to {what}: {words}")
}

/// What came of a call that may be refused for lack of rights.
fn access<T, E>(what: &str, outcome: Result<T, SdkError<E>>) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.code() == Some("AccessDeniedException") => Ok(None),
        Err(error) => Err(failure(what, &error)),
    }
}

fn secret_string(values: &Values) -> String {
    let values: Map<_, _> = values.iter().map(|(name, value)| (name.clone(), json!(value.expose_secret()))).collect();
    Value::Object(values).to_string()
}

#[async_trait(?Send)]
impl Candidate for Aws {
    fn versions(&self) -> BTreeMap<String, String> {
        BTreeMap::from([match &self.backend {
            Backend::Own { .. } => {
                ("stand-in for AWS Secrets Manager".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
            }
            Backend::Remote(remote) => ("region".to_owned(), remote.service.region.clone()),
        }])
    }

    fn gap(&self, capability: Capability) -> Option<Gap> {
        let (reason, source) = match (capability, &self.backend) {
            (Capability::Webhook, _) => ("AWS sends events, not webhooks", "docs.aws.amazon.com/secretsmanager"),
            (Capability::OwnServers, Backend::Remote(_)) => super::NOT_OURS,
            _ => return None,
        };
        Some(Gap { reason: reason.into(), source })
    }

    fn steps(&self) -> Vec<String> {
        self.steps.clone()
    }

    async fn provision(&mut self) -> Result<()> {
        let key = self.operator().await?;
        self.steps.push(format!("{GIVEN}an IAM user's access key"));
        self.rotator = Some(self.service.secrets(&key, &self.user_agent).await);
        self.trail = Some(self.service.trail(&key, &self.user_agent).await);
        let tokens = self.service.tokens(&key, &self.user_agent).await;
        let account = principal::Account::of(tokens, &self.service.region).await?;
        self.steps.push("POST / sts.GetCallerIdentity".into());
        self.identities.insert(account.user_name.clone(), self.rotator().to_owned());
        self.account = Some(account);
        Ok(())
    }

    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        let client = self.rotating()?.clone();
        let text = secret_string(values);
        let sent = Instant::now();
        let version_id = match self.arns.get(&environment) {
            None => {
                let name = self.name(environment);
                let created = client.create_secret().name(&name).secret_string(text).send().await;
                let created = created.map_err(|error| failure("create the secret", &error))?;
                self.steps.push(format!("POST / secretsmanager.CreateSecret {name}"));
                self.arns
                    .insert(environment, created.arn().context("failed to find the ARN in the answer")?.to_owned());
                created.version_id
            }
            Some(arn) => {
                let put = client.put_secret_value().secret_id(arn).secret_string(text).send().await;
                let put = put.map_err(|error| failure("write the secret", &error))?;
                self.steps.push(format!("POST / secretsmanager.PutSecretValue {}", self.name(environment)));
                put.version_id
            }
        };
        let acknowledged = Instant::now();
        let version = self.versions.entry(environment).or_default();
        *version += 1;
        let logged_as = Some(version_id.context("failed to find the version's id in the answer")?);
        Ok(Written { version: *version, logged_as, sent, acknowledged })
    }

    async fn revive(&mut self) -> Result<()> {
        match &self.backend {
            Backend::Own { standin, .. } => standin.revive().await,
            Backend::Remote(_) => Ok(()),
        }
    }

    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader> {
        let account = self.account.as_ref().context("failed to make a reader: nothing is provisioned")?;
        let user = self.federated_user(container);
        let key = account.reader(&user, &self.name(environment)).await?;
        self.steps.push(format!("POST / sts.GetFederationToken {user}"));
        [Some(&key.secret), key.session.as_ref()].into_iter().flatten().for_each(|secret| self.redactor.learn(secret));
        self.identities.insert(user, container.to_owned());
        let files = BTreeMap::from([("credentials", folder.join(format!("{container}.credentials")))]);
        write_private(&files["credentials"], key.to_file().expose_secret())?;
        Ok(Reader { container: container.to_owned(), environment, folder: folder.to_owned(), files })
    }

    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        let client = self.client_of(reader).await?;
        let found = client.get_secret_value().secret_id(self.name(environment)).send().await;
        let Some(found) = access("read the secret", found)? else { return Ok((Access::Denied, Values::new())) };
        let text = found.secret_string().context("failed to find the values in the answer")?;
        // Serde's error may repeat a value.
        let values: BTreeMap<String, SecretString> =
            serde_json::from_str(text).map_err(|_| anyhow::anyhow!("failed to understand the values in the answer"))?;
        Ok((Access::Allowed, values.into_iter().collect()))
    }

    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access> {
        let values = Values::from([(super::PROBED_NAME.to_owned(), "written by a reader".into())]);
        let client = self.client_of(reader).await?;
        let put = client.put_secret_value().secret_id(self.name(environment)).secret_string(secret_string(&values));
        let put = access("write the secret", put.send().await)?;
        Ok(if put.is_some() { Access::Allowed } else { Access::Denied })
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>> {
        let names = Environment::ALL.map(|environment| (self.name(environment), environment)).into();
        let arns = self.arns.iter().map(|(environment, arn)| (arn.clone(), *environment)).collect();
        let secrets = audit::Secrets { names, arns, identities: &self.identities };
        let events = self.events().await?;
        events.iter().rev().filter_map(|event| secrets.entry(event).transpose()).collect()
    }

    async fn audit_raw(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.events().await?)?)
    }

    fn audit_patience(&self) -> std::time::Duration {
        match &self.backend {
            Backend::Remote(Remote { live: true, .. }) => TRAIL_PATIENCE,
            // Two lookups in a second are allowed, and a page holds fifty events.
            _ => std::time::Duration::from_secs(10),
        }
    }

    async fn fingerprint(&self, _: &SecretString) -> Result<Option<String>> {
        Ok(None)
    }

    fn rotator(&self) -> &'static str {
        "rotator"
    }

    fn source(&self, reader: &Reader) -> Result<SourceConfig> {
        Ok(SourceConfig::Aws(AwsConfig {
            region: self.service.region.clone(),
            secret_id: self.name(reader.environment),
            endpoint: self.inside.clone(),
            ca_file: None,
            credentials_file: Some(reader.file("credentials")?.to_owned()),
        }))
    }

    fn triggers(&self) -> Vec<Trigger> {
        match &self.backend {
            Backend::Remote(Remote { notifier: None, .. }) => vec![Trigger::VersionPoll],
            _ => vec![Trigger::LabelEvent, Trigger::VersionPoll],
        }
    }

    async fn trigger(&mut self, trigger: Trigger, reader: &Reader) -> Result<TriggerConfig> {
        match trigger {
            Trigger::LabelEvent => Ok(TriggerConfig::Push(reader.subscription(&self.subscription().await?)?)),
            Trigger::VersionPoll => Ok(TriggerConfig::Poll(PollConfig { interval_ms: POLL_INTERVAL_MS })),
            other => bail!("failed to set up the trigger {other}: AWS has none"),
        }
    }

    fn leaks(&self) -> Vec<String> {
        match &self.backend {
            Backend::Own { standin, .. } => standin.platform.leaks(),
            Backend::Remote(_) => Vec::new(),
        }
    }

    async fn remove(&mut self) -> Result<()> {
        if let Backend::Own { standin, notifier } = &mut self.backend {
            let notifier = async {
                match notifier {
                    Some(notifier) => notifier.stop().await,
                    None => Ok(()),
                }
            };
            let (standin, notifier) = tokio::join!(standin.stop(), notifier);
            return standin.and(notifier);
        }
        // By their names, not by what is known of them: the answer to a creation may have been lost.
        if let Backend::Remote(remote) = &self.backend {
            reap(remote).await?;
        }
        Ok(())
    }
}
