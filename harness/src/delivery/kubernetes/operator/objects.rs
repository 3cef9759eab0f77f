//! The objects that tell an operator what to deliver, from where the sidecar would read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sidecar::config::{AwsConfig, DopplerConfig, OnepasswordConfig, SourceConfig, VaultConfig, VaultLogin};

use super::facts::{DOPPLER_SECRET, EXTERNAL_SECRET, ONEPASSWORD_ITEM, SECRET_STORE};
use crate::cell::{CandidateId, DeliveryId};
use crate::platform::kubernetes::Kind;

/// Keys of the Secret with the reader's credentials. The Doppler operator prescribes `serviceToken`
/// (DopplerHQ/kubernetes-operator, `controllers/dopplersecret_controller_secrets.go`); the others are told to whoever
/// reads them.
const ROLE_ID: &str = "role-id";
const SECRET_ID: &str = "secret-id";
const CA: &str = "ca.pem";
const SERVICE_TOKEN: &str = "serviceToken";
const TOKEN: &str = "token";
const ACCESS_KEY_ID: &str = "access-key-id";
const SECRET_ACCESS_KEY: &str = "secret-access-key";
const SESSION_TOKEN: &str = "session-token";

/// What an operator is to deliver.
pub(super) struct Order<'a> {
    /// By which operator.
    pub(super) delivery: DeliveryId,
    /// From where.
    pub(super) source: &'a SourceConfig,
    /// The Secret with the reader's credentials.
    pub(super) identity: &'a str,
    /// The Secret that the operator is to write.
    pub(super) secret: &'a str,
    /// What is to be in it.
    pub(super) names: &'a [String],
    /// How often the operator is to ask, as far as an object can say so.
    pub(super) every: Duration,
}

/// Whose a source is.
pub(super) fn candidate(source: &SourceConfig) -> CandidateId {
    match source {
        SourceConfig::Vault(_) => CandidateId::Vault,
        SourceConfig::Doppler(_) => CandidateId::Doppler,
        SourceConfig::Onepassword(_) => CandidateId::Onepassword,
        SourceConfig::Aws(_) => CandidateId::Aws,
    }
}

/// The files with the role id and the secret id of a reader, and where its auth method is mounted.
fn app_role(vault: &VaultConfig) -> Result<(&Path, &Path, &str)> {
    match &vault.login {
        VaultLogin::Approle { role_id_file, secret_id_file, mount } => Ok((role_id_file, secret_id_file, mount)),
        VaultLogin::Kubernetes { role, .. } => bail!("failed to read as {role}: it is no AppRole"),
    }
}

/// The reader's credentials, as the Secret holds them that the objects name.
///
/// # Errors
/// A file cannot be read, or does not hold what it is for.
pub(super) fn credentials(source: &SourceConfig) -> Result<BTreeMap<String, String>> {
    let read = |file: &Path| fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()));
    let mut data = BTreeMap::new();
    let mut put = |key: &str, text: String| data.insert(key.to_owned(), text);
    match source {
        SourceConfig::Vault(vault) => {
            let (role_id, secret_id, _) = app_role(vault)?;
            put(ROLE_ID, read(role_id)?);
            put(SECRET_ID, read(secret_id)?);
            if let Some(file) = &vault.ca_file {
                put(CA, read(file)?);
            }
        }
        SourceConfig::Doppler(doppler) => drop(put(SERVICE_TOKEN, read(&doppler.token_file)?)),
        SourceConfig::Onepassword(onepassword) => drop(put(TOKEN, read(&onepassword.token_file)?)),
        SourceConfig::Aws(aws) => {
            let file = aws.credentials_file.as_deref().context("failed to find the reader's access key")?;
            let text = read(file)?;
            let parts = [
                ("aws_access_key_id", ACCESS_KEY_ID),
                ("aws_secret_access_key", SECRET_ACCESS_KEY),
                ("aws_session_token", SESSION_TOKEN),
            ];
            for (name, key) in parts {
                let lines = text.lines().filter_map(|line| line.split_once('='));
                let value = lines.into_iter().find_map(|(found, value)| (found.trim() == name).then(|| value.trim()));
                put(key, value.with_context(|| format!("failed to find {name} in {}", file.display()))?.to_owned());
            }
        }
    }
    Ok(data)
}

impl Order<'_> {
    /// The objects, in the order in which they are made.
    ///
    /// # Errors
    /// The delivery is not by an operator that could read from there.
    pub(super) fn objects(&self) -> Result<Vec<(Kind, Value)>> {
        Ok(match (self.delivery, self.source) {
            (DeliveryId::NativeEso, source) => {
                // Where one value is: in a secret of many, but Doppler's stand by themselves.
                let (provider, holder) = match source {
                    SourceConfig::Vault(vault) => (self.vault(vault)?, Some(&vault.path)),
                    SourceConfig::Doppler(doppler) => (self.doppler(doppler), None),
                    SourceConfig::Onepassword(onepassword) => (self.onepassword(onepassword), Some(&onepassword.item)),
                    SourceConfig::Aws(aws) => (self.aws(aws), Some(&aws.secret_id)),
                };
                vec![self.store(&provider), self.external_secret(holder)]
            }
            (DeliveryId::NativeOperator, SourceConfig::Doppler(doppler)) => vec![self.doppler_secret(doppler)],
            (DeliveryId::NativeOperator, SourceConfig::Onepassword(item)) => vec![self.onepassword_item(item)],
            (delivery, source) => {
                bail!(
                    "failed to deliver by {delivery}: no object tells it to read as a reader of {}",
                    candidate(source)
                )
            }
        })
    }

    fn credential(&self, key: &str) -> Value {
        json!({ "name": self.identity, "key": key })
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/secretstore_types.go`).
    fn store(&self, provider: &Value) -> (Kind, Value) {
        (SECRET_STORE, object(SECRET_STORE, self.identity, &json!({ "provider": provider })))
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/externalsecret_types.go`).
    fn external_secret(&self, holder: Option<&String>) -> (Kind, Value) {
        let reference = |name: &String| match holder {
            Some(holder) => json!({ "key": holder, "property": name }),
            None => json!({ "key": name }),
        };
        let data: Vec<_> =
            self.names.iter().map(|name| json!({ "secretKey": name, "remoteRef": reference(name) })).collect();
        let spec = json!({
            "refreshInterval": format!("{}s", self.every.as_secs()),
            "secretStoreRef": { "kind": SECRET_STORE.name, "name": self.identity },
            "target": { "name": self.secret, "creationPolicy": "Owner" },
            "data": data,
        });
        (EXTERNAL_SECRET, object(EXTERNAL_SECRET, self.secret, &spec))
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/secretstore_vault_types.go`).
    fn vault(&self, vault: &VaultConfig) -> Result<Value> {
        let (_, _, mount) = app_role(vault)?;
        let mut provider = json!({
            "server": vault.address,
            "path": vault.mount,
            "version": "v2",
            "auth": { "appRole": {
                "path": mount,
                "roleRef": self.credential(ROLE_ID),
                "secretRef": self.credential(SECRET_ID),
            } },
        });
        if vault.ca_file.is_some() {
            provider["caProvider"] = json!({ "type": "Secret", "name": self.identity, "key": CA });
        }
        Ok(json!({ "vault": provider }))
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/secretstore_doppler_types.go`). Its address is the
    /// operator's: see [`super::facts::out_of_reach`].
    fn doppler(&self, doppler: &DopplerConfig) -> Value {
        json!({ "doppler": {
            "project": doppler.project,
            "config": doppler.config,
            "auth": { "secretRef": { "dopplerToken": self.credential(SERVICE_TOKEN) } },
        } })
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/secretstore_onepassword_types.go`). A vault and
    /// an item are found by their ids as by their names (`providers/v1/onepassword/onepassword.go`).
    fn onepassword(&self, onepassword: &OnepasswordConfig) -> Value {
        json!({ "onepassword": {
            "connectHost": onepassword.address,
            "vaults": { &onepassword.vault: 1 },
            "auth": { "secretRef": { "connectTokenSecretRef": self.credential(TOKEN) } },
        } })
    }

    /// (external-secrets/external-secrets, `apis/externalsecrets/v1/secretstore_aws_types.go`). Its endpoint is the
    /// operator's: see [`super::facts::out_of_reach`].
    fn aws(&self, aws: &AwsConfig) -> Value {
        json!({ "aws": {
            "service": "SecretsManager",
            "region": aws.region,
            "auth": { "secretRef": {
                "accessKeyIDSecretRef": self.credential(ACCESS_KEY_ID),
                "secretAccessKeySecretRef": self.credential(SECRET_ACCESS_KEY),
                "sessionTokenSecretRef": self.credential(SESSION_TOKEN),
            } },
        } })
    }

    /// (DopplerHQ/kubernetes-operator, `api/v1alpha1/dopplersecret_types.go`). Outside of the operator's own
    /// namespace, all that it names has to be in its own (`controllers/dopplersecret_controller.go`).
    fn doppler_secret(&self, doppler: &DopplerConfig) -> (Kind, Value) {
        let spec = json!({
            "host": doppler.address,
            "project": doppler.project,
            "config": doppler.config,
            "secrets": self.names,
            "tokenSecret": { "name": self.identity },
            "managedSecret": { "name": self.secret },
            "resyncSeconds": self.every.as_secs(),
        });
        (DOPPLER_SECRET, object(DOPPLER_SECRET, self.secret, &spec))
    }

    /// (1Password/onepassword-operator, `api/v1/onepassworditem_types.go`). The Secret has the name of the item's
    /// object (`internal/controller/onepassworditem_controller.go`); vault and item are found by their ids as by their names
    /// (`pkg/onepassword/items.go`).
    fn onepassword_item(&self, onepassword: &OnepasswordConfig) -> (Kind, Value) {
        let spec = json!({ "itemPath": format!("vaults/{}/items/{}", onepassword.vault, onepassword.item) });
        (ONEPASSWORD_ITEM, object(ONEPASSWORD_ITEM, self.secret, &spec))
    }
}

fn object(kind: Kind, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": kind.version, "kind": kind.name, "metadata": { "name": name }, "spec": spec })
}
