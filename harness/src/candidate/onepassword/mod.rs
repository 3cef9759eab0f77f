//! The candidate `onepassword`: a stand-in of the cell's own, or the 1Password Connect server that a target names.
//!
//! One vault per environment, one item per cell in each; a Connect token per container, for one vault.

mod audit;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sidecar::config::{OnepasswordConfig, PollConfig, SourceConfig, TriggerConfig};

use super::api::{Api, ApiError, Dialect, text};
use super::standin::Standin;
use super::{Access, AuditEntry, Candidate, Capability, Gap, Reader, Role, Setup, Trigger, Written};
use crate::cell::Environment;
use crate::error::BadInput;
use crate::files::write_private;
use crate::observations::Values;
use crate::target::Targets;

/// The API of Connect (github.com/1Password/connect, docs/openapi/spec.yaml 1.7.1).
pub const DIALECT: Dialect = Dialect {
    product: "1Password Connect",
    prefix: "/v1/",
    header: "authorization",
    scheme: "Bearer ",
    detail: |body| body["message"].as_str().unwrap_or_default().to_owned(),
    denied: |status, _| status == StatusCode::FORBIDDEN,
};

/// How often the sidecar asks for the version: Connect answers from its own cache, without a limit.
const POLL_INTERVAL_MS: u64 = 250;

/// A Connect server that somebody else runs.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where the API is.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// The id of each environment's vault.
    pub vaults: BTreeMap<Environment, String>,
    /// The rotator's token.
    pub rotator: SecretString,
    /// Each environment's token.
    pub readers: BTreeMap<Environment, SecretString>,
    /// The title of items, or its beginning.
    pub scope: String,
}

impl Remote {
    /// The server that the targets name; none if the harness is to start a stand-in.
    ///
    /// # Errors
    /// A token is not where the target says.
    pub fn of(targets: &Targets, scope: &str) -> Result<Option<Self>, BadInput> {
        let Some(target) = &targets.onepassword else { return Ok(None) };
        let readers = target.readers.iter().map(|(environment, token)| {
            Ok((*environment, token.resolve(&format!("target field `onepassword.readers.{environment}`"))?))
        });
        Ok(Some(Self {
            address: target.address.clone(),
            ca_file: target.ca_file.clone(),
            vaults: target.vaults.clone(),
            rotator: target.rotator.resolve("target field `onepassword.rotator`")?,
            readers: readers.collect::<Result<_, BadInput>>()?,
            scope: scope.to_owned(),
        }))
    }
}

/// Where the server comes from.
enum Backend {
    /// Started by this cell, gone with it.
    Own(Box<Standin>),
    /// Given by a target.
    Remote(Remote),
}

/// The driver.
pub struct Onepassword {
    backend: Backend,
    address: String,
    rotator: Api,
    /// The title of its items.
    title: String,
    vaults: BTreeMap<Environment, String>,
    /// The item of each environment, since its first write.
    items: BTreeMap<Environment, String>,
    /// How this cell's own calls name themselves in the log.
    user_agent: String,
    /// The newest entry of the log before this cell began.
    before: Option<String>,
    /// Who is behind a token, by the token's id: it stands in the log.
    identities: RefCell<BTreeMap<String, String>>,
}

impl Onepassword {
    /// Starts a stand-in, or uses the target's server.
    ///
    /// # Errors
    /// The stand-in does not start, or the target cannot be used.
    pub async fn new(setup: Setup<'_>) -> Result<Self> {
        let (title, user_agent, redactor) = (setup.scope.clone(), setup.user_agent.clone(), setup.redactor);
        let remote = Remote::of(setup.targets, &setup.scope)?;
        let (backend, address, rotator, vaults) = match remote {
            Some(remote) => {
                let ca = remote.ca_file.as_ref().map(fs::read).transpose().context("failed to read the CA file")?;
                let api = Api::new(&DIALECT, &remote.address, ca.as_deref(), &user_agent)?;
                let (address, vaults) = (remote.address.clone(), remote.vaults.clone());
                let rotator = api.redacting(redactor).with_token(remote.rotator.clone());
                (Backend::Remote(remote), address, rotator, vaults)
            }
            None => {
                let standin = Box::new(Standin::start(setup, "onepassword", &[]).await?);
                let api = Api::new(&DIALECT, &standin.outside, None, &user_agent)?.redacting(redactor);
                let address = standin.inside.clone();
                (Backend::Own(standin), address, api, BTreeMap::new())
            }
        };
        let identities = RefCell::default();
        Ok(Self {
            backend,
            address,
            rotator,
            title,
            vaults,
            items: BTreeMap::new(),
            user_agent,
            before: None,
            identities,
        })
    }

    fn vault(&self, environment: Environment) -> Result<&str> {
        self.vaults.get(&environment).map(String::as_str).context("failed to find the vault: nothing is provisioned")
    }

    /// The item of an environment, where there is one.
    fn item_path(&self, environment: Environment) -> Result<String> {
        let item = self.items.get(&environment).context("failed to find the item: nothing was written")?;
        Ok(format!("vaults/{}/items/{item}", self.vault(environment)?))
    }

    /// A token for this container; it is made where this cell runs the server, and named by the target elsewhere.
    async fn token(&self, name: &str, role: Role) -> Result<SecretString> {
        let token = match (&self.backend, role) {
            (Backend::Own(standin), role) => {
                let (environments, write) = match role {
                    Role::Rotator => (Environment::ALL.to_vec(), true),
                    Role::Reader(environment) => (vec![environment], false),
                };
                let grants = environments
                    .iter()
                    .map(|environment| Ok(json!({ "vault": self.vault(*environment)?, "read": true, "write": write })));
                let grants = grants.collect::<Result<Vec<_>>>()?;
                let rights = if write { "rw" } else { "r" };
                let vaults = environments.iter().map(|one| format!("{one},{rights}")).collect::<Vec<_>>().join(" ");
                self.rotator
                    .step(format!("op connect token create {name} --vaults {vaults}, by the stand-in's control"));
                let made = standin.control("tokens", &json!({ "name": name, "grants": grants })).await?;
                text(&made, "/token")?.into()
            }
            (Backend::Remote(remote), Role::Rotator) => remote.rotator.clone(),
            (Backend::Remote(remote), Role::Reader(environment)) => {
                remote.readers.get(&environment).cloned().context("failed to find the token in the target")?
            }
        };
        self.rotator.learn(&token);
        self.identities.borrow_mut().insert(token_id(&token)?, name.to_owned());
        Ok(token)
    }

    fn item(&self, environment: Environment, values: &Values) -> Result<Value> {
        // The ids are those of a form's fields: letters and digits of our own choice.
        let fields = values.iter().enumerate().map(|(index, (name, value))| {
            json!({ "id": format!("field{index}"), "type": "CONCEALED", "label": name, "value": value.expose_secret() })
        });
        Ok(json!({
            "title": self.title,
            "category": "API_CREDENTIAL",
            "vault": { "id": self.vault(environment)? },
            "fields": fields.collect::<Vec<_>>(),
        }))
    }

    fn api_of(&self, reader: &Reader) -> Result<Api> {
        let file = reader.file("token")?;
        let token = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        Ok(self.rotator.with_token(token.into()))
    }
}

/// The id of a token, which is a JSON web token (RFC 7519, claim `jti`).
fn token_id(token: &SecretString) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = || {
        let payload = token.expose_secret().split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        Some(claims["jti"].as_str()?.to_owned())
    };
    claims().context("failed to find the claim `jti` in a token: it is no Connect token")
}

/// Removes every item whose title begins with the scope of `remote`, and says which.
///
/// # Errors
/// The server cannot be reached, or the rotator's token may not list or delete.
pub async fn reap(remote: &Remote) -> Result<Vec<String>> {
    let ca = remote.ca_file.as_ref().map(fs::read).transpose().context("failed to read the CA file")?;
    let api = Api::new(&DIALECT, &remote.address, ca.as_deref(), "secrets-conformance/reap")?;
    let api = api.with_token(remote.rotator.clone());
    let mut removed = Vec::new();
    for (environment, vault) in &remote.vaults {
        let listed = api.get(&format!("vaults/{vault}/items")).await?.body;
        for item in listed.as_array().context("failed to find the items in the answer")? {
            let (id, title) = (text(item, "/id")?, text(item, "/title")?);
            if title.starts_with(&remote.scope) {
                api.delete(&format!("vaults/{vault}/items/{id}"), None).await?;
                removed.push(format!("item {title} of {environment}"));
            }
        }
    }
    Ok(removed)
}

#[async_trait(?Send)]
impl Candidate for Onepassword {
    fn versions(&self) -> BTreeMap<String, String> {
        BTreeMap::from([match &self.backend {
            Backend::Own(_) => ("stand-in for 1Password Connect".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            Backend::Remote(remote) => ("address".to_owned(), remote.address.clone()),
        }])
    }

    fn gap(&self, capability: Capability) -> Option<Gap> {
        let (reason, source) = match capability {
            Capability::ProvisionByApi => (
                "Connect's API makes neither vaults nor tokens: `op connect token create` does, and whether it can \
                 without a person signed in is unverified",
                "docs/openapi/spec.yaml 1.7.1 and README of github.com/1Password/connect",
            ),
            Capability::Webhook => ("Connect sends nothing by itself", "docs/openapi/spec.yaml 1.7.1"),
            Capability::ServiceAccounts => {
                ("Connect takes bearer tokens of its own alone", "docs/openapi/spec.yaml 1.7.1: `ConnectToken`")
            }
            Capability::OwnServers if matches!(&self.backend, Backend::Remote(_)) => super::NOT_OURS,
            Capability::AuditWrites
            | Capability::OwnServers
            | Capability::KeepsState
            | Capability::AuditReads
            | Capability::AuditDenials
            | Capability::AuditConceals
            | Capability::ScopedReaders => return None,
        };
        Some(Gap { reason: reason.into(), source })
    }

    fn steps(&self) -> Vec<String> {
        self.rotator.steps()
    }

    async fn provision(&mut self) -> Result<()> {
        if let Backend::Own(standin) = &self.backend {
            for environment in Environment::ALL {
                self.rotator.step(format!("op vault create {environment}, by the stand-in's control"));
                let made = standin.control("vaults", &json!({ "name": environment.to_string() })).await?;
                self.vaults.insert(environment, text(&made, "/id")?.to_owned());
            }
        }
        let token = self.token(self.rotator(), Role::Rotator).await?;
        self.rotator = self.rotator.with_token(token);
        self.before = self.newest().await?;
        Ok(())
    }

    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        let mut item = self.item(environment, values)?;
        let reply = match self.items.get(&environment) {
            None => self.rotator.post(&format!("vaults/{}/items", self.vault(environment)?), &item).await?,
            Some(id) => {
                item["id"] = json!(id);
                self.rotator.put(&self.item_path(environment)?, &item).await?
            }
        };
        self.items.insert(environment, text(&reply.body, "/id")?.to_owned());
        let version = reply.body["version"].as_u64().context("failed to find the version in the answer")?;
        let logged_as = Some(version.to_string());
        Ok(Written { version, logged_as, sent: reply.sent, acknowledged: reply.answered })
    }

    async fn revive(&mut self) -> Result<()> {
        match &self.backend {
            Backend::Own(standin) => standin.revive().await,
            Backend::Remote(_) => Ok(()),
        }
    }

    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader> {
        let token = self.token(container, Role::Reader(environment)).await?;
        let files = BTreeMap::from([("token", folder.join(format!("{container}.token")))]);
        write_private(&files["token"], token.expose_secret())?;
        Ok(Reader { container: container.to_owned(), environment, folder: folder.to_owned(), files })
    }

    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        match self.api_of(reader)?.get(&self.item_path(environment)?).await {
            Ok(reply) => {
                let fields = reply.body["fields"].as_array().context("failed to find the fields in the answer")?;
                let values = fields.iter().filter_map(|field| {
                    Some((field["label"].as_str()?.to_owned(), field["value"].as_str().unwrap_or_default().into()))
                });
                Ok((Access::Allowed, values.collect()))
            }
            Err(ApiError::Denied { .. }) => Ok((Access::Denied, Values::new())),
            Err(error) => Err(error.into()),
        }
    }

    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access> {
        let values = Values::from([(super::PROBED_NAME.to_owned(), "written by a reader".into())]);
        let mut item = self.item(environment, &values)?;
        item["id"] = json!(self.items.get(&environment));
        let tried = self.api_of(reader)?.put(&self.item_path(environment)?, &item).await;
        match tried {
            Ok(_) => Ok(Access::Allowed),
            Err(ApiError::Denied { .. }) => Ok(Access::Denied),
            Err(error) => Err(error.into()),
        }
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>> {
        let log = self.log().await?;
        log.iter().rev().filter_map(|entry| audit::entry(entry, self).transpose()).collect()
    }

    async fn audit_raw(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.log().await?)?)
    }

    async fn fingerprint(&self, _: &SecretString) -> Result<Option<String>> {
        Ok(None)
    }

    fn rotator(&self) -> &'static str {
        "rotator"
    }

    fn source(&self, reader: &Reader) -> Result<SourceConfig> {
        let item = self.items.get(&reader.environment).context("failed to name the item: nothing was written")?;
        Ok(SourceConfig::Onepassword(OnepasswordConfig {
            address: self.address.clone(),
            ca_file: match &self.backend {
                Backend::Remote(Remote { ca_file: Some(file), .. }) => Some(reader.copy(file, "ca.pem")?),
                _ => None,
            },
            vault: self.vault(reader.environment)?.to_owned(),
            item: item.clone(),
            token_file: reader.file("token")?.to_owned(),
        }))
    }

    fn triggers(&self) -> Vec<Trigger> {
        vec![Trigger::VersionPoll]
    }

    async fn trigger(&mut self, trigger: Trigger, _: &Reader) -> Result<TriggerConfig> {
        ensure!(trigger == Trigger::VersionPoll, "failed to set up the trigger {trigger}: Connect has none");
        Ok(TriggerConfig::Poll(PollConfig { interval_ms: POLL_INTERVAL_MS }))
    }

    fn leaks(&self) -> Vec<String> {
        match &self.backend {
            Backend::Own(standin) => standin.platform.leaks(),
            Backend::Remote(_) => Vec::new(),
        }
    }

    async fn remove(&mut self) -> Result<()> {
        if let Backend::Own(standin) = &mut self.backend {
            return standin.stop().await;
        }
        // By its title, not by what is known of it: the answer to its creation may have been lost.
        if let Backend::Remote(remote) = &self.backend {
            reap(remote).await?;
        }
        Ok(())
    }
}
