//! The candidate `vault`: OpenBao or Vault, run by the operator; here a server of the cell's own, or one at an address.

mod audit;
mod kubernetes;
mod native;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sidecar::config::{PollConfig, PushConfig, SourceConfig, TriggerConfig, VaultConfig, VaultLogin};

use self::server::Server;
use super::api::{Api, ApiError, Dialect, text};
use super::{
    Access, Account, AuditEntry, Candidate, Capability, Gap, NativePlan, NativeRequest, PROBED_NAME, Reader, Reviewer,
    Setup, Trigger, Written,
};
use crate::cell::Environment;
use crate::error::BadInput;
use crate::files::write_private;
use crate::observations::Values;
use crate::ready;
use crate::target::{NotifierTarget, Targets};
use crate::tools::Bao;

/// The HTTP API of OpenBao and Vault. Every path that is used is in the API reference of OpenBao (openbao.org/api-docs) and
/// was run against OpenBao 2.7.2.
pub const DIALECT: Dialect = Dialect {
    product: "OpenBao or Vault",
    prefix: "/v1/",
    header: "x-vault-token",
    scheme: "",
    detail: |body| {
        let errors = body["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        errors.map(str::trim).collect::<Vec<_>>().join(", ")
    },
    denied: |status, _| status == StatusCode::FORBIDDEN,
};

/// The audit device that writes the file.
const AUDIT_DEVICE: &str = "to-file";

/// A KV mount is upgraded to version 2 in the background after it was made; this takes milliseconds.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// How often the sidecar asks for the version when nothing pushes.
const POLL_INTERVAL_MS: u64 = 250;

/// How long a reader's token lives; it is renewed before.
const TOKEN_TTL: &str = "20m";

/// A server that somebody else runs, and what the suite may use of it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where the API is.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// A token that may do what `ci/targets` lists.
    pub token: SecretString,
    /// The KV version 2 mount of each environment.
    pub mounts: BTreeMap<Environment, String>,
    /// The AppRole mount.
    pub auth_mount: String,
    /// The file that its audit device writes, as this machine sees it.
    pub audit_file: PathBuf,
    /// The name of that audit device.
    pub audit_device: String,
    /// Where its notifier takes subscribers; without one nothing pushes.
    pub notifier: Option<PushConfig>,
    /// Prefix of everything that the suite makes there: `conformance-<run>-<cell>`.
    pub scope: String,
}

impl Remote {
    /// The server that the targets name, with its token; none if the harness is to start one.
    ///
    /// # Errors
    /// The token is not where the target says.
    pub fn of(targets: &Targets, scope: &str) -> Result<Option<Self>, BadInput> {
        let Some(target) = &targets.vault else { return Ok(None) };
        Ok(Some(Self {
            address: target.address.clone(),
            ca_file: target.ca_file.clone(),
            token: target.token.resolve("target field `vault.token`")?,
            mounts: target.mounts.clone(),
            auth_mount: target.auth_mount.clone(),
            audit_file: target.audit.file.clone(),
            audit_device: target.audit.device.clone(),
            notifier: target.notifier.as_ref().map(NotifierTarget::subscription),
            scope: scope.to_owned(),
        }))
    }
}

/// Where the server comes from.
enum Backend {
    /// Started by this cell, gone with it.
    Own { server: Box<Server>, bao: Bao },
    /// Given by a target.
    Remote(Remote),
}

/// The driver.
pub struct Vault {
    backend: Backend,
    admin: Api,
    rotator: Option<Api>,
    /// Everything made on the server is named after it.
    scope: String,
}

impl Vault {
    /// Starts a server of the cell's own, or uses the target's.
    ///
    /// # Errors
    /// The server or its notifier does not start, or the target cannot be used.
    pub async fn new(setup: Setup<'_>) -> Result<Self> {
        if let Some(remote) = Remote::of(setup.targets, &setup.scope)? {
            let token = remote.token.clone();
            let mut vault = Self::remote(remote, &setup.user_agent)?;
            vault.admin = vault.admin.redacting(setup.redactor);
            vault.admin.learn(&token);
            return Ok(vault);
        }
        let bao = &setup.tools.bao;
        let server = Server::start(setup.platform, bao, setup.durable).await?;
        let admin = Api::new(&DIALECT, &server.outside, Some(&fs::read(&server.ca_file)?), &setup.user_agent)?;
        let admin = admin.redacting(setup.redactor);
        Ok(Self {
            backend: Backend::Own { server: Box::new(server), bao: bao.clone() },
            admin,
            rotator: None,
            scope: "poc".into(),
        })
    }

    fn remote(remote: Remote, user_agent: &str) -> Result<Self> {
        let ca = remote.ca_file.as_ref().map(fs::read).transpose().context("failed to read the CA file")?;
        let admin = Api::new(&DIALECT, &remote.address, ca.as_deref(), user_agent)?.with_token(remote.token.clone());
        let scope = remote.scope.clone();
        Ok(Self { backend: Backend::Remote(remote), admin, rotator: None, scope })
    }

    /// Where members of the cell find it.
    fn address(&self) -> &str {
        match &self.backend {
            Backend::Own { server, .. } => &server.inside,
            Backend::Remote(remote) => &remote.address,
        }
    }

    fn ca_file(&self) -> Option<&Path> {
        match &self.backend {
            Backend::Own { server, .. } => Some(&server.ca_file),
            Backend::Remote(remote) => remote.ca_file.as_deref(),
        }
    }

    fn auth_mount(&self) -> &str {
        match &self.backend {
            Backend::Own { .. } => "approle",
            Backend::Remote(remote) => &remote.auth_mount,
        }
    }

    fn mount(&self, environment: Environment) -> String {
        match &self.backend {
            Backend::Own { .. } => environment.to_string(),
            Backend::Remote(remote) => remote.mounts[&environment].clone(),
        }
    }

    /// Where sidecars subscribe, if anything pushes.
    fn subscription(&self) -> Option<&PushConfig> {
        match &self.backend {
            Backend::Own { server, .. } => server.subscription(),
            Backend::Remote(remote) => remote.notifier.as_ref(),
        }
    }

    fn audit_device(&self) -> (&Path, &str) {
        match &self.backend {
            Backend::Own { server, .. } => (&server.audit_file, AUDIT_DEVICE),
            Backend::Remote(remote) => (&remote.audit_file, &remote.audit_device),
        }
    }

    fn secret_path(&self) -> String {
        format!("{}/app", self.scope)
    }

    fn data_path(&self, environment: Environment) -> String {
        format!("{}/data/{}", self.mount(environment), self.secret_path())
    }

    fn reader_role(&self, environment: Environment) -> String {
        format!("{}-reader-{environment}", self.scope)
    }

    fn rotator_role(&self) -> String {
        format!("{}-rotator", self.scope)
    }

    /// Mounts and AppRole exist on a server that somebody else runs; on one of our own they have to be made.
    async fn furnish(&mut self) -> Result<()> {
        let Backend::Own { server, .. } = &mut self.backend else { return Ok(()) };
        let root = server.initialise(&self.admin).await?;
        self.admin = self.admin.with_token(root);
        for environment in Environment::ALL {
            let kv = json!({ "type": "kv", "options": { "version": "2" } });
            self.admin.post(&format!("sys/mounts/{environment}"), &kv).await?;
        }
        self.admin.post("sys/auth/approle", &json!({ "type": "approle" })).await?;
        for environment in Environment::ALL {
            let path = format!("{environment}/config");
            ready::until("the KV mounts", UPGRADE_LIMIT, async || match self.admin.get(&path).await {
                Ok(_) => Ok(Some(())),
                Err(ApiError::Status { status: StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, .. }) => Ok(None),
                Err(error) => Err(error.into()),
            })
            .await?;
        }
        Ok(())
    }

    async fn role(&self, role: &str, policy: &str) -> Result<()> {
        self.admin.post(&format!("sys/policies/acl/{role}"), &json!({ "policy": policy })).await?;
        let settings = json!({ "token_policies": [role], "token_ttl": TOKEN_TTL, "token_no_default_policy": true });
        self.admin.post(&format!("auth/{}/role/{role}", self.auth_mount()), &settings).await?;
        Ok(())
    }

    /// Role id and a fresh secret id whose metadata names the container: it stands in every audit line of its logins.
    async fn credentials(&self, role: &str, container: &str) -> Result<(String, SecretString)> {
        let path = format!("auth/{}/role/{role}", self.auth_mount());
        let role_id = self.admin.get(&format!("{path}/role-id")).await?.body;
        let metadata = json!({ "container": container }).to_string();
        let secret_id = self.admin.post(&format!("{path}/secret-id"), &json!({ "metadata": metadata })).await?.body;
        let secret_id = text(&secret_id, "/data/secret_id")?.into();
        self.admin.learn(&secret_id);
        Ok((text(&role_id, "/data/role_id")?.to_owned(), secret_id))
    }

    async fn login(&self, role_id: &str, secret_id: &SecretString) -> Result<Api> {
        let body = json!({ "role_id": role_id, "secret_id": secret_id.expose_secret() });
        let login = self.admin.post(&format!("auth/{}/login", self.auth_mount()), &body).await?.body;
        Ok(self.admin.with_token(text(&login, "/auth/client_token")?.into()))
    }

    async fn login_as(&self, reader: &Reader) -> Result<Api> {
        let file = |role: &str| -> Result<String> {
            let path = reader.file(role)?;
            fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
        };
        self.login(&file("role_id")?, &file("secret_id")?.into()).await
    }
}

/// Removes everything that begins with the scope of `remote` from its server, and says what it was: policies, roles,
/// secrets.
///
/// # Errors
/// The server cannot be reached, or the token may not list or delete.
pub async fn reap(remote: &Remote) -> Result<Vec<String>> {
    let vault = Vault::remote(remote.clone(), "secrets-conformance/reap")?;
    let roles = format!("auth/{}/role", remote.auth_mount);
    let mut kinds = vec![("sys/policies/acl".to_owned(), ""), (roles, "")];
    // A secret's path is a folder of the scope's name.
    kinds.extend(remote.mounts.values().map(|mount| (format!("{mount}/metadata"), "app")));
    let mut removed = Vec::new();
    for (path, below) in kinds {
        let listed = match vault.admin.get(&format!("{path}?list=true")).await {
            Ok(listed) => listed.body,
            // An empty folder is not found.
            Err(ApiError::Status { status: StatusCode::NOT_FOUND, .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let names = listed["data"]["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in names.filter(|name| name.starts_with(&remote.scope)) {
            let path = format!("{path}/{name}{below}");
            vault.admin.delete(&path, None).await?;
            removed.push(path);
        }
    }
    Ok(removed)
}

fn body(values: &Values) -> Value {
    let data: Map<_, _> = values.iter().map(|(name, value)| (name.clone(), json!(value.expose_secret()))).collect();
    json!({ "data": data })
}

#[async_trait(?Send)]
impl Candidate for Vault {
    fn versions(&self) -> BTreeMap<String, String> {
        match &self.backend {
            Backend::Own { bao, .. } => BTreeMap::from([(bao.product.to_string(), bao.version.clone())]),
            Backend::Remote(remote) => BTreeMap::from([("address".to_owned(), remote.address.clone())]),
        }
    }

    fn gap(&self, capability: Capability) -> Option<Gap> {
        let (reason, source) = match (capability, &self.backend) {
            (Capability::Webhook, _) => {
                ("OpenBao sends its audit stream, not signed webhooks", "openbao.org/docs/audit/http")
            }
            (Capability::OwnServers, Backend::Remote(_)) => super::NOT_OURS,
            (Capability::ServiceAccounts, Backend::Remote(_)) => {
                ("the target names no mount of the Kubernetes auth method for the suite to use", "the target file")
            }
            _ => return None,
        };
        Some(Gap { reason: reason.into(), source })
    }

    fn steps(&self) -> Vec<String> {
        self.admin.steps()
    }

    async fn provision(&mut self) -> Result<()> {
        self.furnish().await?;
        let mut rotates = String::new();
        for environment in Environment::ALL {
            let mount = self.mount(environment);
            let secret = self.secret_path();
            // The metadata path holds the version, never a value: the sidecar polls it.
            let reads = format!(
                "path \"{mount}/data/{secret}\" {{ capabilities = [\"read\"] }}\n\
                 path \"{mount}/metadata/{secret}\" {{ capabilities = [\"read\"] }}\n\
                 path \"auth/token/renew-self\" {{ capabilities = [\"update\"] }}\n"
            );
            self.role(&self.reader_role(environment), &reads).await?;
            rotates += &format!("path \"{mount}/data/{secret}\" {{ capabilities = [\"create\", \"update\"] }}\n");
        }
        let role = self.rotator_role();
        self.role(&role, &rotates).await?;
        let (role_id, secret_id) = self.credentials(&role, self.rotator()).await?;
        self.rotator = Some(self.login(&role_id, &secret_id).await?);
        Ok(())
    }

    async fn revive(&mut self) -> Result<()> {
        match &self.backend {
            Backend::Own { server, .. } => server.unseal(&self.admin).await,
            Backend::Remote(_) => Ok(()),
        }
    }

    async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        let rotator = self.rotator.as_ref().context("failed to write: nothing is provisioned")?;
        let reply = rotator.post(&self.data_path(environment), &body(values)).await?;
        let version = reply.body["data"]["version"].as_u64().context("failed to find the version in the answer")?;
        let logged_as = Some(version.to_string());
        Ok(Written { version, logged_as, sent: reply.sent, acknowledged: reply.answered })
    }

    async fn reader(&mut self, environment: Environment, container: &str, folder: &Path) -> Result<Reader> {
        let (role_id, secret_id) = self.credentials(&self.reader_role(environment), container).await?;
        let mut files = BTreeMap::from([
            ("role_id", folder.join(format!("{container}.role_id"))),
            ("secret_id", folder.join(format!("{container}.secret_id"))),
        ]);
        write_private(&files["role_id"], &role_id)?;
        write_private(&files["secret_id"], secret_id.expose_secret())?;
        if let Some(ca_file) = self.ca_file() {
            let copy = folder.join(format!("{container}.ca.pem"));
            write_private(&copy, &fs::read_to_string(ca_file).context("failed to read the CA file")?)?;
            files.insert("ca", copy);
        }
        Ok(Reader { container: container.to_owned(), environment, folder: folder.to_owned(), files })
    }

    async fn read(&self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        let api = self.login_as(reader).await?;
        match api.get(&self.data_path(environment)).await {
            Ok(reply) => {
                let data = reply.body["data"]["data"].as_object().context("failed to find the values in the answer")?;
                let values = data.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.into())));
                Ok((Access::Allowed, values.collect()))
            }
            Err(ApiError::Denied { .. }) => Ok((Access::Denied, Values::new())),
            Err(error) => Err(error.into()),
        }
    }

    async fn try_write(&self, reader: &Reader, environment: Environment) -> Result<Access> {
        let api = self.login_as(reader).await?;
        let values = Values::from([(PROBED_NAME.to_owned(), "written by a reader".into())]);
        match api.post(&self.data_path(environment), &body(&values)).await {
            Ok(_) => Ok(Access::Allowed),
            Err(ApiError::Denied { .. }) => Ok(Access::Denied),
            Err(error) => Err(error.into()),
        }
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>> {
        let paths = Environment::ALL.map(|environment| (self.data_path(environment), environment)).into();
        audit::entries(&self.audit_raw().await?, &paths)
    }

    async fn audit_raw(&self) -> Result<Vec<u8>> {
        let (file, _) = self.audit_device();
        fs::read(file).with_context(|| format!("failed to read the audit log {}", file.display()))
    }

    async fn fingerprint(&self, value: &SecretString) -> Result<Option<String>> {
        let (_, device) = self.audit_device();
        let hash =
            self.admin.post(&format!("sys/audit-hash/{device}"), &json!({ "input": value.expose_secret() })).await?;
        // Run against OpenBao 2.7.2: the hash stands at the top of the answer and under `data`.
        Ok(Some(text(&hash.body, "/data/hash").or_else(|_| text(&hash.body, "/hash"))?.to_owned()))
    }

    fn rotator(&self) -> &'static str {
        "rotator"
    }

    fn source(&self, reader: &Reader) -> Result<SourceConfig> {
        Ok(SourceConfig::Vault(VaultConfig {
            address: self.address().to_owned(),
            ca_file: reader.files.get("ca").cloned(),
            mount: self.mount(reader.environment),
            path: self.secret_path(),
            login: VaultLogin::Approle {
                role_id_file: reader.file("role_id")?.to_owned(),
                secret_id_file: reader.file("secret_id")?.to_owned(),
                mount: self.auth_mount().to_owned(),
            },
        }))
    }

    async fn source_by_account(
        &mut self,
        reader: &Reader,
        reviewer: &Reviewer,
        account: &Account,
    ) -> Result<SourceConfig> {
        let login = self.let_in(&self.reader_role(reader.environment), reviewer, account).await?;
        match self.source(reader)? {
            SourceConfig::Vault(config) => Ok(SourceConfig::Vault(VaultConfig { login, ..config })),
            other => Ok(other),
        }
    }

    fn triggers(&self) -> Vec<Trigger> {
        match self.subscription() {
            Some(_) => vec![Trigger::AuditPush, Trigger::VersionPoll],
            None => vec![Trigger::VersionPoll],
        }
    }

    async fn trigger(&mut self, trigger: Trigger, reader: &Reader) -> Result<TriggerConfig> {
        if trigger == Trigger::VersionPoll {
            return Ok(TriggerConfig::Poll(PollConfig { interval_ms: POLL_INTERVAL_MS }));
        }
        ensure!(trigger == Trigger::AuditPush, "failed to set up the trigger {trigger}: this candidate has none");
        let subscription = self.subscription().context("failed to subscribe: nothing pushes")?;
        Ok(TriggerConfig::Push(reader.subscription(subscription)?))
    }

    fn native(&self, request: &NativeRequest<'_>) -> Result<NativePlan> {
        let ca_file = request.reader.files.get("ca").map(|path| path.display().to_string());
        let data_path = self.data_path(request.reader.environment);
        let upstream = native::Upstream {
            address: self.address(),
            ca_file: ca_file.as_deref(),
            auth_mount: self.auth_mount(),
            data_path: &data_path,
        };
        let config_file = request.folder.join("agent.json");
        write_private(&config_file, &native::config(&upstream, request)?.to_string())?;
        Ok(native::plan(&config_file, request))
    }

    fn leaks(&self) -> Vec<String> {
        match &self.backend {
            Backend::Own { server, .. } => server.leaks(),
            Backend::Remote(_) => Vec::new(),
        }
    }

    async fn remove(&mut self) -> Result<()> {
        if let Backend::Own { server, .. } = &mut self.backend {
            return server.stop().await;
        }
        let mut paths = Vec::new();
        let mut roles = vec![self.rotator_role()];
        for environment in Environment::ALL {
            paths.push(format!("{}/metadata/{}", self.mount(environment), self.secret_path()));
            roles.push(self.reader_role(environment));
        }
        for role in roles {
            paths.push(format!("auth/{}/role/{role}", self.auth_mount()));
            paths.push(format!("sys/policies/acl/{role}"));
        }
        // One that cannot be removed does not keep the others.
        let mut removed = Ok(());
        for path in paths {
            if let Err(error) = self.admin.delete(&path, None).await {
                removed = removed.and(Err(error.into()));
            }
        }
        removed
    }
}
