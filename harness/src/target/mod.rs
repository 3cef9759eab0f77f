//! Targets: which instance of each candidate a run points at. Without a file, every candidate is started by the harness.
//!
//! A target file never holds a secret: credentials are named by an environment variable or a file.

mod aws;
mod doppler;
mod onepassword;
mod reference;
mod vault;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sidecar::config::PushConfig;

pub use self::aws::{AwsTarget, AwsUser};
pub use self::doppler::{DopplerTarget, WebhookTarget};
pub use self::onepassword::OnepasswordTarget;
pub use self::reference::SecretRef;
pub use self::vault::{AuditTarget, VaultTarget};

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
    /// A Doppler workplace.
    pub doppler: Option<DopplerTarget>,
    /// A 1Password Connect server.
    pub onepassword: Option<OnepasswordTarget>,
    /// An AWS account.
    pub aws: Option<AwsTarget>,
}

impl Default for Targets {
    fn default() -> Self {
        Self { sla: DEFAULT_SLA, patience: DEFAULT_PATIENCE, vault: None, doppler: None, onepassword: None, aws: None }
    }
}

/// What a target file says about one candidate.
trait Section {
    /// How strong evidence from it is.
    fn grade(&self) -> Grade;

    /// Every path in it; they are meant from where the file is.
    fn paths(&mut self) -> Vec<&mut PathBuf>;

    /// Looks for what the types cannot rule out.
    fn check(&self) -> Result<(), Fault>;
}

/// What is wrong with a section: field, problem, remedy.
struct Fault(String, String, &'static str);

/// The real server that somebody runs is no stand-in.
fn no_stand_in(grade: Grade) -> Result<(), Fault> {
    if grade != Grade::StandIn {
        return Ok(());
    }
    let problem = "a server that is there already is no stand-in".to_owned();
    Err(Fault("grade".into(), problem, "write `self-hosted` or `live`"))
}

fn web_address(field: &str, address: &str) -> Result<(), Fault> {
    let scheme = address.starts_with("https://") || address.starts_with("http://");
    if scheme && !address.contains(['@', '?']) {
        return Ok(());
    }
    let problem = "it is not of the form `https://host:port`".to_owned();
    Err(Fault(field.to_owned(), problem, "write scheme, host and port, and no credentials"))
}

fn each_environment<T>(
    field: &str,
    map: &BTreeMap<Environment, T>,
    what: &str,
    remedy: &'static str,
) -> Result<(), Fault> {
    match Environment::ALL.iter().find(|environment| !map.contains_key(environment)) {
        None => Ok(()),
        Some(missing) => Err(Fault(field.to_owned(), format!("the environment `{missing}` has no {what}"), remedy)),
    }
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

impl NotifierTarget {
    /// How a sidecar subscribes there.
    pub fn subscription(&self) -> PushConfig {
        PushConfig { notifier: self.address.clone(), token_file: self.token_file.clone() }
    }
}

fn default_sla() -> Sla {
    DEFAULT_SLA
}

fn default_patience() -> Patience {
    DEFAULT_PATIENCE
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
        match (self.section(candidate), candidate) {
            (Some(section), _) => section.grade(),
            (None, CandidateId::Vault) => Grade::SelfHosted,
            (None, _) => Grade::StandIn,
        }
    }

    /// The candidates that the file says anything about.
    pub fn named(&self) -> Vec<CandidateId> {
        CandidateId::ALL.into_iter().filter(|candidate| self.section(*candidate).is_some()).collect()
    }

    fn section(&self, candidate: CandidateId) -> Option<&dyn Section> {
        match candidate {
            CandidateId::Vault => self.vault.as_ref().map(|section| section as _),
            CandidateId::Doppler => self.doppler.as_ref().map(|section| section as _),
            CandidateId::Onepassword => self.onepassword.as_ref().map(|section| section as _),
            CandidateId::Aws => self.aws.as_ref().map(|section| section as _),
        }
    }

    /// Every path in the file.
    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = Vec::new();
        paths.extend(self.vault.iter_mut().flat_map(Section::paths));
        paths.extend(self.doppler.iter_mut().flat_map(Section::paths));
        paths.extend(self.onepassword.iter_mut().flat_map(Section::paths));
        paths.extend(self.aws.iter_mut().flat_map(Section::paths));
        paths
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
        if let Some(folder) = absolute.parent() {
            for path in targets.paths() {
                *path = folder.join(&*path);
            }
        }
        Ok(targets)
    }

    fn parse(file: &str, text: &str) -> Result<Self, BadInput> {
        let malformed = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            BadInput::new(
                format!("{file}, line {line}"),
                without_found(error.message()),
                "compare with the examples in ci/targets",
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
        if self.sla.0 >= sidecar::trigger::WHILE_SUBSCRIBED {
            return Err(BadInput::new(
                format!("{file}, field `sla`"),
                "a sidecar that is never told looks by itself within this time, and would pass for one that is told",
                format!("make it shorter than {} s", sidecar::trigger::WHILE_SUBSCRIBED.as_secs()),
            ));
        }
        if self.patience > LONGEST_PATIENCE {
            return Err(BadInput::new(
                format!("{file}, field `patience`"),
                "a cell would be ended by its runner before its patience is over",
                format!("make it at most {} s", LONGEST_PATIENCE.0.as_secs()),
            ));
        }
        for candidate in CandidateId::ALL {
            let Some(section) = self.section(candidate) else { continue };
            section.check().map_err(|Fault(field, problem, remedy)| {
                BadInput::new(format!("{file}, field `{candidate}.{field}`"), problem, remedy)
            })?;
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
    #[case("vault-staging.toml", CandidateId::Vault)]
    #[case("doppler-staging.toml", CandidateId::Doppler)]
    #[case("onepassword-staging.toml", CandidateId::Onepassword)]
    #[case("aws-staging.toml", CandidateId::Aws)]
    fn the_examples_are_good(#[case] file: &str, #[case] candidate: CandidateId) {
        let targets = Targets::read(&crate::tools::workspace().join("ci/targets").join(file)).unwrap();
        assert_eq!(targets.named(), [candidate]);
        assert_eq!(targets.grade(candidate), Grade::Live);
    }

    #[rstest]
    #[case::doppler("[doppler]\ngrade = \"live\"\ntoken = \"dp.pt.plainly-a-secret\"\n", "doppler.token")]
    #[case::no_reader(
        "[onepassword]\ngrade = \"live\"\naddress = \"https://c\"\nrotator = { env = \"A\" }\nreaders = {}\n\
         vaults = { dev = \"a\", staging = \"b\", prod = \"c\" }\n",
        "onepassword.readers"
    )]
    #[case::key(
        "[aws]\ngrade = \"live\"\nregion = \"eu\"\n\
         rotator = { access_key_id = \"AKIAPLAINLYASECRET\", secret_access_key = { env = \"S\" } }\n",
        "aws.rotator.access_key_id"
    )]
    fn a_bad_section_is_told_by_its_field(#[case] text: &str, #[case] field: &str) {
        let error = Targets::parse("target file t.toml", text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
        assert!(!error.to_lowercase().contains("plainly"), "{error}");
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
    #[case::too_slow("sla = \"5s\"\npatience = \"20s\"", "sla = \"30s\"\npatience = \"30s\"")]
    fn a_bad_file_gets_one_clear_error(#[case] from: &str, #[case] to: &str) {
        let error = Targets::parse("target file t.toml", &GOOD.replace(from, to)).unwrap_err();
        let case = std::thread::current().name().unwrap_or_default().rsplit("::").next().unwrap_or_default().to_owned();
        assert!(!error.to_string().contains("plainly-a-secret"), "{error}");
        assert!(!error.to_string().contains("12345678"), "{error}");
        insta::assert_snapshot!(case, error);
    }
}
