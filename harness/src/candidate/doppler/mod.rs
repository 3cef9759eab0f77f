//! The candidate `doppler`: a stand-in of the cell's own, or the workplace that a target names.
//!
//! One project per cell with an environment for each of ours; a service token per container, for one config.

mod audit;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use probe::observation::RunKey;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sidecar::config::{
    DopplerConfig, DopplerIngest, IngestConfig, PushConfig, SourceConfig, TriggerConfig, WatchConfig,
};

use super::api::{Api, ApiError, Dialect, text};
use super::notifier::Notifier;
use super::standin::Standin;
use super::{Access, AuditEntry, Candidate, Capability, Gap, Reader, Setup, Trigger, Written};
use crate::cell::Environment;
use crate::error::BadInput;
use crate::files::write_private;
use crate::observations::Values;
use crate::random;
use crate::target::{Targets, WebhookTarget};

/// Doppler's API (docs.doppler.com/reference). A token out of scope is told by words, not by its status: 400 has been seen
/// for it in public reports.
pub const DIALECT: Dialect = Dialect {
    product: "Doppler",
    prefix: "/v3/",
    header: "authorization",
    scheme: "Bearer ",
    detail: |body| {
        let messages = body["messages"].as_array().into_iter().flatten().filter_map(Value::as_str);
        messages.collect::<Vec<_>>().join(", ")
    },
    denied: |status, detail| status == StatusCode::FORBIDDEN || detail.contains("does not have access"),
};

/// A workplace that somebody else runs.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where the API is.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// A token that may make and remove projects.
    pub token: SecretString,
    /// What receives webhooks, and the secret that they are signed with.
    pub webhooks: Option<(WebhookTarget, SecretString)>,
    /// The project, or the beginning of its name.
    pub scope: String,
}

impl Remote {
    /// The workplace that the targets name; none if the harness is to start a stand-in.
    ///
    /// # Errors
    /// A credential is not where the target says.
    pub fn of(targets: &Targets, scope: &str) -> Result<Option<Self>, BadInput> {
        let Some(target) = &targets.doppler else { return Ok(None) };
        let webhooks = target.webhooks.as_ref().map(|webhooks| {
            let secret = webhooks.signing_secret.resolve("target field `doppler.webhooks.signing_secret`")?;
            Ok((webhooks.clone(), secret))
        });
        Ok(Some(Self {
            address: target.address.clone(),
            ca_file: target.ca_file.clone(),
            token: target.token.resolve("target field `doppler.token`")?,
            webhooks: webhooks.transpose()?,
            scope: scope.to_owned(),
        }))
    }
}

/// Where the service comes from.
enum Backend {
    /// Started by this cell, gone with it.
    Own { standin: Box<Standin>, notifier: Option<Notifier> },
    /// Given by a target.
    Remote(Remote),
}

/// The driver.
pub struct Doppler {
    backend: Backend,
    address: String,
    admin: Api,
    project: String,
    rotators: BTreeMap<Environment, Api>,
    versions: BTreeMap<Environment, u64>,
    /// The log shows values; entries carry their digest under this key instead.
    key: RunKey,
    /// Log entries with their diffs, which never change, by id.
    diffs: RefCell<BTreeMap<String, Value>>,
}

impl Doppler {
    /// Starts a stand-in, or uses the target's workplace.
    ///
    /// # Errors
    /// The stand-in does not start, or the target cannot be used.
    pub async fn new(setup: Setup<'_>) -> Result<Self> {
        let (project, user_agent, redactor) = (setup.scope.clone(), setup.user_agent.clone(), setup.redactor);
        let (backend, address, admin) = match Remote::of(setup.targets, &setup.scope)? {
            Some(remote) => {
                let ca = remote.ca_file.as_ref().map(fs::read).transpose().context("failed to read the CA file")?;
                let api = Api::new(&DIALECT, &remote.address, ca.as_deref(), &user_agent)?;
                let api = api.redacting(redactor).with_token(remote.token.clone());
                (Backend::Remote(remote.clone()), remote.address, api)
            }
            None => {
                let standin = Box::new(Standin::start(setup, "doppler", &["--allow-http-webhooks"]).await?);
                let api = Api::new(&DIALECT, &standin.outside, None, &user_agent)?;
                let api = api.redacting(redactor).with_token(standin.secret("/token")?);
                let address = standin.inside.clone();
                (Backend::Own { standin, notifier: None }, address, api)
            }
        };
        Ok(Self {
            backend,
            address,
            admin,
            project,
            rotators: BTreeMap::new(),
            versions: BTreeMap::new(),
            key: RunKey::new(random::token(32)?.expose_secret().as_bytes()),
            diffs: RefCell::default(),
        })
    }

    /// The query that names a config; slugs and project names need no escape.
    fn config(&self, environment: Environment) -> String {
        format!("project={}&config={environment}", self.project)
    }

    async fn service_token(&self, environment: Environment, name: &str, access: &str) -> Result<SecretString> {
        let body =
            json!({ "project": self.project, "config": environment.to_string(), "name": name, "access": access });
        let made = self.admin.post("configs/config/tokens", &body).await?.body;
        let token = text(&made, "/token/key")?.into();
        self.admin.learn(&token);
        Ok(token)
    }

    fn with_token_of(&self, reader: &Reader) -> Result<Api> {
        let file = reader.file("token")?;
        let token = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        Ok(self.admin.with_token(token.into()))
    }

    fn body(&self, environment: Environment, values: &Values) -> Value {
        let secrets: Map<_, _> =
            values.iter().map(|(name, value)| (name.clone(), json!(value.expose_secret()))).collect();
        json!({ "project": self.project, "config": environment.to_string(), "secrets": secrets })
    }

    /// Makes the webhook, and the notifier that receives it, once.
    async fn webhook(&mut self) -> Result<PushConfig> {
        let (url, secret, subscription) = match &mut self.backend {
            Backend::Own { notifier: Some(notifier), .. } => return Ok(notifier.subscription.clone()),
            Backend::Own { notifier, standin } => {
                let secret = random::token(32)?;
                let signing_secret_file = standin.platform.folder().join("webhook.secret");
                write_private(&signing_secret_file, secret.expose_secret())?;
                let ingest = IngestConfig::Doppler(DopplerIngest { signing_secret_file });
                let started = Notifier::start(standin.platform.as_mut(), ingest).await?;
                let subscription = started.subscription.clone();
                let url = format!("{}/webhook", started.address);
                *notifier = Some(started);
                (url, secret, subscription)
            }
            Backend::Remote(Remote { webhooks: Some((webhooks, secret)), .. }) => {
                let subscription =
                    PushConfig { notifier: webhooks.notifier.clone(), token_file: webhooks.token_file.clone() };
                (webhooks.url.clone(), secret.clone(), subscription)
            }
            Backend::Remote(_) => bail!("failed to make a webhook: the target names nothing that receives it"),
        };
        self.admin.learn(&secret);
        let configs = Environment::ALL.map(|environment| environment.to_string());
        let body = json!({ "url": url, "secret": secret.expose_secret(), "enableConfigs": configs });
        self.admin.post(&format!("webhooks?project={}", self.project), &body).await?;
        Ok(subscription)
    }
}

/// Removes every project whose name begins with the scope of `remote`, and says which.
///
/// # Errors
/// The workplace cannot be reached, or the token may not list or delete.
pub async fn reap(remote: &Remote) -> Result<Vec<String>> {
    let ca = remote.ca_file.as_ref().map(fs::read).transpose().context("failed to read the CA file")?;
    let api = Api::new(&DIALECT, &remote.address, ca.as_deref(), "secrets-conformance/reap")?;
    let api = api.with_token(remote.token.clone());
    let mut names = Vec::new();
    for page in 1.. {
        let listed = api.get(&format!("projects?page={page}&per_page={PAGE}")).await?.body;
        let projects = listed["projects"].as_array().context("failed to find the projects in the answer")?;
        names.extend(projects.iter().filter_map(|project| project["name"].as_str().map(str::to_owned)));
        // A page that is not full may be the vendor's own limit.
        if projects.is_empty() {
            break;
        }
    }
    names.retain(|name| name.starts_with(&remote.scope));
    for name in &names {
        api.delete("projects/project", Some(&json!({ "project": name }))).await?;
    }
    Ok(names.into_iter().map(|name| format!("project {name}")).collect())
}

/// Entries of a page of a list: the API's own default.
const PAGE: usize = 20;

#[async_trait(?Send)]
impl Candidate for Doppler {
    fn versions(&self) -> BTreeMap<String, String> {
        BTreeMap::from([match &self.backend {
            Backend::Own { .. } => ("stand-in for Doppler".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            Backend::Remote(remote) => ("address".to_owned(), remote.address.clone()),
        }])
    }

    fn gap(&self, capability: Capability) -> Option<Gap> {
        const LOGS: &str = "doppler-openapi.json in @dopplerhq/mcp-server 1.0.5: change logs are the only logs";
        let (reason, source) = match capability {
            Capability::AuditReads => ("reads are visible on the dashboard only", LOGS),
            Capability::AuditDenials => ("denied calls are in no log that the API shows", LOGS),
            Capability::AuditConceals => (
                "the change log shows old and new values to whoever may read it",
                "docs.doppler.com/reference/config_logs-get: `diff`",
            ),
            Capability::Webhook if matches!(&self.backend, Backend::Remote(Remote { webhooks: None, .. })) => {
                ("nothing receives webhooks: the target has no `webhooks`", "the target file")
            }
            Capability::ServiceAccounts => (
                "its service account identities are not tried by this suite",
                "docs.doppler.com/docs/service-account-identities",
            ),
            Capability::OwnServers if matches!(&self.backend, Backend::Remote(_)) => super::NOT_OURS,
            Capability::Webhook
            | Capability::ProvisionByApi
            | Capability::AuditWrites
            | Capability::ScopedReaders
            | Capability::OwnServers
            | Capability::KeepsState => return None,
        };
        Some(Gap { reason: reason.into(), source })
    }

    fn steps(&self) -> Vec<String> {
        self.admin.steps()
    }

    async fn provision(&mut self) -> Result<()> {
        // Not in the specification, but sent by Doppler's own Terraform provider; where it is ignored, there are further
        // environments that nobody uses.
        let project = json!({ "name": self.project, "create_default_environments": false });
        self.admin.post("projects", &project).await?;
        let listed = self.admin.get(&format!("environments?project={}", self.project)).await?.body;
        let there: Vec<_> =
            listed["environments"].as_array().into_iter().flatten().filter_map(|one| one["slug"].as_str()).collect();
        for environment in Environment::ALL {
            let slug = environment.to_string();
            if !there.contains(&slug.as_str()) {
                let body = json!({ "name": slug, "slug": slug });
                self.admin.post(&format!("environments?project={}", self.project), &body).await?;
            }
            let token = self.service_token(environment, self.rotator(), "read/write").await?;
            self.rotators.insert(environment, self.admin.with_token(token));
        }
        Ok(())
    }

    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        let rotator = self.rotators.get(&environment).context("failed to write: nothing is provisioned")?;
        let reply = rotator.post("configs/config/secrets", &self.body(environment, values)).await?;
        // Doppler counts no versions, and its log names none.
        let version = self.versions.entry(environment).or_default();
        *version += 1;
        Ok(Written { version: *version, logged_as: None, sent: reply.sent, acknowledged: reply.answered })
    }

    async fn revive(&mut self) -> Result<()> {
        match &self.backend {
            Backend::Own { standin, .. } => standin.revive().await,
            Backend::Remote(_) => Ok(()),
        }
    }

    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader> {
        let token = self.service_token(environment, container, "read").await?;
        let files = BTreeMap::from([("token", folder.join(format!("{container}.token")))]);
        write_private(&files["token"], token.expose_secret())?;
        Ok(Reader { container: container.to_owned(), environment, folder: folder.to_owned(), files })
    }

    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        let api = self.with_token_of(reader)?;
        let path = format!("configs/config/secrets/download?format=json&{}", self.config(environment));
        match api.get(&path).await {
            Ok(reply) => {
                let values = reply.body.as_object().context("failed to find the values in the answer")?;
                // Doppler adds variables of its own, which name project, environment and config.
                let own = values.iter().filter(|(name, _)| !name.starts_with("DOPPLER_"));
                let values = own.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.into())));
                Ok((Access::Allowed, values.collect()))
            }
            Err(ApiError::Denied { .. }) => Ok((Access::Denied, Values::new())),
            Err(error) => Err(error.into()),
        }
    }

    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access> {
        let values = Values::from([(super::PROBED_NAME.to_owned(), "written by a reader".into())]);
        let api = self.with_token_of(reader)?;
        match api.post("configs/config/secrets", &self.body(environment, &values)).await {
            Ok(_) => Ok(Access::Allowed),
            Err(ApiError::Denied { .. }) => Ok(Access::Denied),
            Err(error) => Err(error.into()),
        }
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>> {
        let mut entries = Vec::new();
        for environment in Environment::ALL {
            for log in self.logs(environment).await? {
                entries.extend(audit::entry(&log, environment, &self.key)?);
            }
        }
        Ok(entries)
    }

    async fn audit_raw(&self) -> Result<Vec<u8>> {
        let mut raw = Vec::new();
        for environment in Environment::ALL {
            for log in self.logs(environment).await? {
                serde_json::to_writer(&mut raw, &log)?;
                raw.push(b'\n');
            }
        }
        Ok(raw)
    }

    async fn fingerprint(&self, value: &SecretString) -> Result<Option<String>> {
        Ok(Some(self.key.digest(value.expose_secret().as_bytes())))
    }

    fn rotator(&self) -> &'static str {
        "rotator"
    }

    fn source(&self, reader: &Reader) -> Result<SourceConfig> {
        Ok(SourceConfig::Doppler(DopplerConfig {
            address: self.address.clone(),
            ca_file: match &self.backend {
                Backend::Remote(Remote { ca_file: Some(file), .. }) => Some(reader.copy(file, "ca.pem")?),
                _ => None,
            },
            project: self.project.clone(),
            config: reader.environment.to_string(),
            token_file: reader.file("token")?.to_owned(),
        }))
    }

    fn triggers(&self) -> Vec<Trigger> {
        let mut triggers = vec![Trigger::WatchStream];
        triggers.extend(self.gap(Capability::Webhook).is_none().then_some(Trigger::Webhook));
        triggers
    }

    async fn trigger(&mut self, trigger: Trigger, reader: &Reader) -> Result<TriggerConfig> {
        match trigger {
            Trigger::WatchStream => Ok(TriggerConfig::Watch(WatchConfig {})),
            Trigger::Webhook => Ok(TriggerConfig::Push(reader.subscription(&self.webhook().await?)?)),
            other => bail!("failed to set up the trigger {other}: Doppler has none"),
        }
    }

    fn leaks(&self) -> Vec<String> {
        match &self.backend {
            Backend::Own { standin, .. } => standin.platform.leaks(),
            Backend::Remote(_) => Vec::new(),
        }
    }

    async fn remove(&mut self) -> Result<()> {
        match &mut self.backend {
            Backend::Own { standin, notifier } => {
                let notifier = async {
                    match notifier {
                        Some(notifier) => notifier.stop().await,
                        None => Ok(()),
                    }
                };
                let (standin, notifier) = tokio::join!(standin.stop(), notifier);
                standin.and(notifier)
            }
            // What was never made is not there to be removed.
            Backend::Remote(_) if self.admin.steps().is_empty() => Ok(()),
            Backend::Remote(_) => {
                self.admin.delete("projects/project", Some(&json!({ "project": self.project }))).await?;
                Ok(())
            }
        }
    }
}
