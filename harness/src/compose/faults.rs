//! What a deploy template must not have: a secret written down in it, or passed where the engine shows it to whoever asks.
//!
//! A pure function over the file as it is written, with all that Compose knows in it, so that nothing has to be understood
//! to be found.

use std::fmt;

use serde_json::{Map, Value};

use super::interpolate::{is_required, literals, names};
use super::{SECRETS, Template};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where: `services.app.environment.API_TOKEN`.
    pub place: String,
    /// What; never the value.
    pub problem: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.problem, self.remedy)
    }
}

const GRANT: &str = "give it by a file: `secrets`, and a variable that ends in _FILE";

/// Words in the name of something that holds a secret.
const SECRET_WORDS: [&str; 9] =
    ["token", "secret", "password", "passwd", "passphrase", "credential", "apikey", "api_key", "private_key"];

/// How credentials begin, by the documents of their vendors: OpenBao and Vault, Doppler, 1Password, AWS, GitHub, Slack,
/// JSON web tokens, PEM.
const PREFIXES: [&str; 16] = [
    "hvs.",
    "hvb.",
    "hvr.",
    "dp.st.",
    "dp.pt.",
    "dp.sa.",
    "dp.ct.",
    "dp.scim.",
    "ops_",
    "AKIA",
    "ASIA",
    "ghp_",
    "github_pat_",
    "xoxb-",
    "eyJ",
    "-----BEGIN",
];

/// The shortest text that can be a random credential: 20 letters and digits are over a hundred bits.
const RANDOM: usize = 20;

/// Everything that is wrong with a template, in the order of its places.
pub fn faults(template: &Template) -> Vec<Fault> {
    let mut faults = Vec::new();
    let document = Value::Object(template.document.clone());
    everywhere(&document, &mut Vec::new(), &mut faults);
    for (name, secret) in mapping(&document["secrets"]) {
        of_secret(&format!("secrets.{name}"), secret, &mut faults);
    }
    for (name, service) in mapping(&document["services"]) {
        of_service(&format!("services.{name}"), service, &mut faults);
    }
    faults.sort();
    faults.dedup();
    faults
}

fn mapping(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// No text anywhere may look like a credential, whatever it is called.
fn everywhere(value: &Value, path: &mut Vec<String>, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) => {
            // A digest is long and random, and no secret.
            let literals = literals(text).into_iter().filter(|literal| !literal.contains("sha256:"));
            if literals.into_iter().any(|literal| literal.split([' ', '=', ',']).any(is_credential)) {
                faults.push(Fault {
                    place: path.join("."),
                    problem: "it looks like a credential, written down",
                    remedy: "rotate it, since it has been read, and name a file that holds the new one",
                });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                everywhere(item, path, faults);
                path.pop();
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                path.push(key.clone());
                everywhere(field, path, faults);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn of_secret(place: &str, secret: &Value, faults: &mut Vec<Fault>) {
    for (field, value) in mapping(secret) {
        if field != "file" || !value.as_str().is_some_and(is_required) {
            faults.push(Fault {
                place: format!("{place}.{field}"),
                problem: "a secret comes from something else than a file that the operator has to name",
                remedy: "give `file: ${NAME_FILE:?what it holds}` alone",
            });
        }
    }
}

fn of_service(place: &str, service: &Value, faults: &mut Vec<Fault>) {
    let mut fault = |field: &str, problem, remedy| {
        faults.push(Fault { place: format!("{place}.{field}"), problem, remedy });
    };
    for field in ["build", "env_file"].into_iter().filter(|field| !service[*field].is_null()) {
        let (problem, remedy) = match field {
            "build" => ("`docker history` shows what an image was built with", "name an image that is built already"),
            _ => ("`docker inspect` shows every value of it", GRANT),
        };
        fault(field, problem, remedy);
    }
    if service["image"].as_str().is_none_or(|image| !is_pinned(image)) {
        fault("image", "the image is another one tomorrow", "give a digest or a fixed tag, or ${IMAGE:?…}");
    }
    for (name, value) in environment(&service["environment"]) {
        let field = format!("environment.{name}");
        if !is_secret_name(&name) {
            if names(&value).into_iter().any(|variable| is_secret_name(variable) && !variable.ends_with("_FILE")) {
                fault(&field, "`docker inspect` shows the secret that it refers to", GRANT);
            }
        } else if !name.to_ascii_uppercase().ends_with("_FILE") {
            fault(&field, "`docker inspect` shows it", GRANT);
        } else if !value.starts_with(SECRETS) {
            fault(&field, "it names a file that no granted secret is", "name one below /run/secrets");
        }
    }
    for field in ["command", "entrypoint"] {
        let words = match &service[field] {
            Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
            Value::Array(words) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if passes_secret(&words) {
            fault(field, "whoever lists processes or containers reads the secret in it", GRANT);
        }
    }
    for (field, holds) in [
        ("user", service["user"].is_string()),
        ("read_only", service["read_only"] == true),
        ("cap_drop", has(&service["cap_drop"], "ALL")),
        ("security_opt", has(&service["security_opt"], "no-new-privileges:true")),
        ("mem_limit", !service["mem_limit"].is_null()),
        ("pids_limit", !service["pids_limit"].is_null()),
    ] {
        if !holds {
            fault(field, "the service has more rights or resources than it needs", "set it as the other services do");
        }
    }
}

fn environment(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Object(entries) => entries.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Value::Array(entries) => {
            let split = |entry: &str| match entry.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (entry.to_owned(), String::new()),
            };
            entries.iter().filter_map(Value::as_str).map(split).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an argument is a secret by its flag, or by the variable that it refers to.
fn passes_secret(words: &[String]) -> bool {
    let is_flag = |word: &str| word.starts_with('-') && is_secret_name(word) && !word.contains("file");
    words.iter().any(|word| {
        names(word).into_iter().any(|variable| is_secret_name(variable) && !variable.ends_with("_FILE"))
            || is_flag(word)
    })
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().into_iter().flatten().any(|entry| entry == wanted)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let name = name.strip_suffix("_file").unwrap_or(&name);
    SECRET_WORDS.iter().any(|word| name.contains(word)) || name.ends_with("_key") || name == "key"
}

/// A digest, a tag that is not `latest`, or a reference that must be set.
fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    is_required(image) || image.contains("@sha256:") || (!image.contains('$') && tag.is_some_and(|tag| tag != "latest"))
}

fn is_credential(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'']);
    PREFIXES.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len() + 4)
        || has_userinfo(word)
        || is_random(word)
}

/// `https://user:password@host`.
fn has_userinfo(word: &str) -> bool {
    let authority = word.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(userinfo, _)| userinfo.contains(':'))
}

/// Long, without the separators of words and paths, and of digits and letters mixed.
fn is_random(word: &str) -> bool {
    let longest = word.split(|c: char| !(c.is_ascii_alphanumeric() || c == '+')).max_by_key(|run| run.len());
    longest.is_some_and(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= RANDOM && digits >= 3 && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}
