//! Targets: which instance of each candidate a run points at. Without a file, every candidate is started by the harness.
//!
//! A target file never holds a secret: credentials are named by an environment variable or a file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cell::{CandidateId, Environment};
use crate::error::BadInput;
use crate::verdict::{Grade, Patience, Sla};

/// The claim when a target makes none: the longest that a vendor's own agent was measured to take, three times over.
pub const DEFAULT_SLA: Sla = Sla(Duration::from_secs(10));

/// How long to look when a target does not say: three SLAs, so that a late arrival is measured.
pub const DEFAULT_PATIENCE: Patience = Patience(Duration::from_secs(30));

/// A cell looks up to three times, and `.config/nextest.toml` ends it after two minutes.
const LONGEST_PATIENCE: Patience = Patience(Duration::from_secs(30));

/// How tokens of the four vendors begin: such a string is a secret, wherever it stands.
const TOKEN_PREFIXES: [&str; 13] =
    ["hvs.", "hvb.", "hvr.", "s.", "b.", "r.", "dp.st.", "dp.pt.", "dp.sa.", "eyJ", "AKIA", "ASIA", "-----BEGIN"];

/// Everything that a target file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// The claim to be judged.
    #[serde(default = "default_sla", deserialize_with = "sla")]
    pub sla: Sla,
    /// How long to look for an arrival.
    #[serde(default = "default_patience", deserialize_with = "patience")]
    pub patience: Patience,
    /// A Vault or OpenBao server that is there already.
    pub vault: Option<VaultTarget>,
}

impl Default for Targets {
    fn default() -> Self {
        Self { sla: DEFAULT_SLA, patience: DEFAULT_PATIENCE, vault: None }
    }
}

/// A Vault or OpenBao server that somebody else runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultTarget {
    /// How strong evidence from it is: `self-hosted` or `live`.
    pub grade: Grade,
    /// `https://host:port`.
    pub address: String,
    /// The CA that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// A token that may do what `ci/targets/README.md` lists.
    pub token: SecretRef,
    /// The KV version 2 mount of each environment.
    pub mounts: BTreeMap<Environment, String>,
    /// The `AppRole` mount.
    #[serde(default = "default_auth_mount")]
    pub auth_mount: String,
    /// Its audit log.
    pub audit: AuditTarget,
    /// Its notifier, without which nothing pushes.
    pub notifier: Option<NotifierTarget>,
}

impl VaultTarget {
    fn resolve_paths(&mut self, folder: &Path) {
        let token = match &mut self.token {
            SecretRef::File(path) => Some(path),
            SecretRef::Env(_) => None,
        };
        let notifier = self.notifier.as_mut().map(|notifier| &mut notifier.token_file);
        let paths = [token, notifier, self.ca_file.as_mut(), Some(&mut self.audit.file)];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

/// Where the audit log of a server can be read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditTarget {
    /// The name of the audit device.
    pub device: String,
    /// Its file, as this machine sees it.
    pub file: PathBuf,
}

/// A notifier that somebody else runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifierTarget {
    /// `http://host:port`.
    pub address: String,
    /// The file with the token for subscribers; the sidecar reads it too.
    pub token_file: PathBuf,
}

/// Where a secret is to be found; never the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable of this name.
    Env(String),
    /// In a file, without the newline at its end.
    File(PathBuf),
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl SecretRef {
    /// Fetches the secret.
    ///
    /// # Errors
    /// It is not there; `place` says who asked for it.
    pub fn resolve(&self, place: &str) -> Result<SecretString, BadInput> {
        let found = match self {
            Self::Env(name) => std::env::var(name).ok(),
            Self::File(path) => fs::read_to_string(path).ok().map(|text| text.trim_end_matches('\n').to_owned()),
        };
        match found {
            Some(secret) if !secret.is_empty() => Ok(secret.into()),
            _ => Err(BadInput::new(
                place,
                format!("{self:?} is empty, missing or unreadable"),
                "set it to the credential, readable by this user only",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;

        impl<'de> Visitor<'de> for Reference {
            type Value = SecretRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ env = \"NAME\" }` or `{ file = \"path\" }`")
            }

            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretRef, E> {
                // The text is likely to be the secret: it must not come back in the error.
                Err(E::custom(
                    "a secret is written here; name its place instead: `{ env = \"NAME\" }` or `{ file = \"path\" }`",
                ))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
                let reference = match map.next_entry::<String, String>()? {
                    Some((key, name)) if key == "env" && probe::envfile::is_name(&name) => SecretRef::Env(name),
                    // It may be the secret itself: not repeated.
                    Some((key, _)) if key == "env" => return Err(A::Error::custom("`env` holds no variable's name")),
                    Some((key, path)) if key == "file" => SecretRef::File(path.into()),
                    _ => return Err(A::Error::custom("expected `env` or `file`")),
                };
                match map.next_key::<String>()? {
                    None => Ok(reference),
                    Some(_) => Err(A::Error::custom("expected either `env` or `file`, not both")),
                }
            }
        }

        deserializer.deserialize_any(Reference)
    }
}

fn default_sla() -> Sla {
    DEFAULT_SLA
}

fn default_patience() -> Patience {
    DEFAULT_PATIENCE
}

fn default_auth_mount() -> String {
    "approle".into()
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| D::Error::custom("expected a time span such as `10s` or `500ms`"))
}

fn sla<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sla, D::Error> {
    span(deserializer).map(Sla)
}

fn patience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Patience, D::Error> {
    span(deserializer).map(Patience)
}

impl Targets {
    /// How strong evidence for a candidate is.
    pub fn grade(&self, candidate: CandidateId) -> Grade {
        match (candidate, &self.vault) {
            (CandidateId::Vault, Some(vault)) => vault.grade,
            (CandidateId::Vault, None) => Grade::SelfHosted,
            _ => Grade::StandIn,
        }
    }

    /// Reads a target file.
    ///
    /// # Errors
    /// The file is unreadable or malformed, says what cannot hold, or has a secret written in it. The error never
    /// repeats a value from the file.
    pub fn read(path: &Path) -> Result<Self, BadInput> {
        let file = format!("target file {}", path.display());
        let text = fs::read_to_string(path).map_err(|error| {
            BadInput::new(&file, format!("failed to read it: {error}"), "give an existing, readable file")
        })?;
        let mut targets = Self::parse(&file, &text)?;
        // Paths are meant from where the file is; cases and sidecars run elsewhere.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if let (Some(folder), Some(vault)) = (absolute.parent(), &mut targets.vault) {
            vault.resolve_paths(folder);
        }
        Ok(targets)
    }

    fn parse(file: &str, text: &str) -> Result<Self, BadInput> {
        let malformed = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            BadInput::new(
                format!("{file}, line {line}"),
                without_found(error.message()),
                "compare with ci/targets/vault-staging.toml",
            )
        };
        let table: toml::Table = toml::from_str(text).map_err(|error| malformed(&error))?;
        if let Some(field) = secret_in(&toml::Value::Table(table), "") {
            return Err(BadInput::new(
                format!("{file}, field `{field}`"),
                "a secret is written in it",
                "revoke that secret, then name its place: `{ env = \"NAME\" }` or `{ file = \"path\" }`",
            ));
        }
        let targets: Self = toml::from_str(text).map_err(|error| malformed(&error))?;
        targets.check(file)?;
        Ok(targets)
    }

    fn check(&self, file: &str) -> Result<(), BadInput> {
        if self.patience.0 < self.sla.0 {
            return Err(BadInput::new(
                format!("{file}, field `patience`"),
                "it is shorter than the SLA, so a late arrival would never be seen",
                "make it at least as long as `sla`",
            ));
        }
        if self.patience > LONGEST_PATIENCE {
            return Err(BadInput::new(
                format!("{file}, field `patience`"),
                "a cell would be ended by its runner before its patience is over",
                format!("make it at most {} s", LONGEST_PATIENCE.0.as_secs()),
            ));
        }
        let Some(vault) = &self.vault else { return Ok(()) };
        let field = |name: &str| format!("{file}, field `vault.{name}`");
        if vault.grade == Grade::StandIn {
            return Err(BadInput::new(
                field("grade"),
                "a server that is there already is no stand-in",
                "write `self-hosted` or `live`",
            ));
        }
        let scheme = vault.address.starts_with("https://") || vault.address.starts_with("http://");
        if !scheme || vault.address.contains('@') || vault.address.contains('?') {
            return Err(BadInput::new(
                field("address"),
                "it is not of the form `https://host:port`",
                "write scheme, host and port, and no credentials",
            ));
        }
        if let Some(missing) = Environment::ALL.iter().find(|environment| !vault.mounts.contains_key(environment)) {
            return Err(BadInput::new(
                field("mounts"),
                format!("the environment `{missing}` has no mount"),
                "name the KV version 2 mount of dev, staging and prod",
            ));
        }
        Ok(())
    }
}

/// The first field whose text begins as the tokens of a vendor do, or which is a URL with a password.
fn secret_in(value: &toml::Value, field: &str) -> Option<String> {
    let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match value {
        toml::Value::String(text) => {
            let password = text.split_once("://").is_some_and(|(_, rest)| {
                rest.split('/').next().and_then(|host| host.split_once('@')).is_some_and(|(user, _)| user.contains(':'))
            });
            let token = TOKEN_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
            (password || token).then(|| field.to_owned())
        }
        toml::Value::Table(table) => table.iter().find_map(|(name, value)| secret_in(value, &below(name))),
        toml::Value::Array(array) => array.iter().find_map(|value| secret_in(value, field)),
        _ => None,
    }
}

/// What the parser says of a field's name or of what it wanted; never what it found, which may be a secret.
fn without_found(message: &str) -> String {
    if message.starts_with("unknown field") || message.starts_with("missing field") || !message.contains("expected") {
        return message.split('"').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "…" }).collect();
    }
    message.rsplit_once("expected ").map_or_else(String::new, |(_, wanted)| format!("expected {wanted}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const GOOD: &str = r#"
sla = "5s"
patience = "20s"

[vault]
grade = "live"
address = "https://vault.staging.example:8200"
token = { env = "VAULT_TOKEN" }
mounts = { dev = "kv-dev", staging = "kv-staging", prod = "kv-prod" }
audit = { device = "to-file", file = "/var/log/openbao/audit.log" }
"#;

    #[test]
    fn a_good_file_is_understood() {
        let targets = Targets::parse("t.toml", GOOD).unwrap();
        assert_eq!(targets.sla, Sla(Duration::from_secs(5)));
        assert_eq!(targets.patience, Patience(Duration::from_secs(20)));
        let vault = targets.vault.unwrap();
        assert_eq!(vault.token, SecretRef::Env("VAULT_TOKEN".into()));
        assert_eq!(vault.mounts[&Environment::Staging], "kv-staging");
        assert_eq!(vault.auth_mount, "approle");
    }

    #[rstest]
    #[case::not_toml("[vault", "[vau")]
    #[case::unknown_field("sla = \"5s\"", "slo = \"5s\"")]
    #[case::no_time("sla = \"5s\"", "sla = \"soon\"")]
    #[case::a_number("sla = \"5s\"", "sla = 5")]
    #[case::zero("sla = \"5s\"", "sla = \"0s\"")]
    #[case::impatient("patience = \"20s\"", "patience = \"1s\"")]
    #[case::too_patient("patience = \"20s\"", "patience = \"2m\"")]
    #[case::secret_as_number("{ env = \"VAULT_TOKEN\" }", "12345678")]
    #[case::secret_as_grade("\"live\"", "\"plainly-a-secret\"")]
    #[case::secret_as_table("[vault]", "[[vault]]")]
    #[case::secret_as_name("env = \"VAULT_TOKEN\"", "env = \"plainly-a-secret\"")]
    #[case::secret_as_token("{ env = \"VAULT_TOKEN\" }", "\"plainly-a-secret\"")]
    #[case::secret_as_variable("env = \"VAULT_TOKEN\"", "env = \"hvs.plainly-a-secret\"")]
    #[case::secret_in_the_address("https://vault", "https://user:plainly-a-secret@vault")]
    #[case::both_places("env = \"VAULT_TOKEN\"", "env = \"VAULT_TOKEN\", file = \"x\"")]
    #[case::stand_in("\"live\"", "\"stand-in\"")]
    #[case::no_scheme("https://vault", "vault")]
    #[case::no_prod(", prod = \"kv-prod\"", "")]
    fn a_bad_file_gets_one_clear_error(#[case] from: &str, #[case] to: &str) {
        let error = Targets::parse("target file t.toml", &GOOD.replace(from, to)).unwrap_err();
        let case = std::thread::current().name().unwrap_or_default().rsplit("::").next().unwrap_or_default().to_owned();
        assert!(!error.to_string().contains("plainly-a-secret"), "{error}");
        assert!(!error.to_string().contains("12345678"), "{error}");
        insta::assert_snapshot!(case, error);
    }
}
