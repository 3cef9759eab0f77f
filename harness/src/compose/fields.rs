//! The fields of a compose file, one by one: an unknown one is an error, and every error names its place.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Condition, Project, SECRETS, Service};
use crate::error::BadInput;
use crate::platform::{Bind, Container, Restart};

/// The fields of a service that are understood.
const FIELDS: &str = "cap_drop, command, depends_on, environment, image, mem_limit, pid, pids_limit, read_only, restart, \
                      secrets, security_opt, user, volumes";

pub(super) struct Reader<'a> {
    file: &'a Path,
}

/// A mapping, or a list of `name=value`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Environment {
    Mapping(BTreeMap<String, Scalar>),
    List(Vec<String>),
}

/// A text, or what YAML takes for something else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(i64),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Names, or names with conditions.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dependencies {
    Names(Vec<String>),
    Conditions(BTreeMap<String, Dependency>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: Condition,
}

/// A mount in the long form; only folders and files of the host are understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Volume {
    r#type: String,
    source: PathBuf,
    target: PathBuf,
    #[serde(default)]
    read_only: bool,
    bind: BindOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindOptions {
    create_host_path: bool,
}

/// A secret in the long form of the top level.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    file: PathBuf,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self { file }
    }

    fn wrong(&self, place: &str, problem: impl Display, remedy: &str) -> BadInput {
        BadInput::new(format!("{}, {place}", self.file.display()), problem.to_string(), remedy)
    }

    /// A field's value as this type. Serde's own words would repeat the value, which may be a secret: they are left out.
    fn take<T: DeserializeOwned>(&self, place: &str, value: &Value, form: &str) -> Result<T, BadInput> {
        T::deserialize(value).map_err(|_| self.wrong(place, "it has a form that is not understood", form))
    }

    pub(super) fn project(&self, document: &Value) -> Result<Project, BadInput> {
        let mut secrets = BTreeMap::new();
        let top: Map<String, Value> = self.take("the top level", document, "give a mapping")?;
        for (field, value) in &top {
            match field.as_str() {
                "services" => {}
                "secrets" => {
                    let form = "give each secret a `file`";
                    for (name, value) in self.take::<Map<String, Value>>("secrets", value, form)? {
                        let secret: SecretFile = self.take(&format!("secrets.{name}"), &value, form)?;
                        secrets.insert(name, self.path(secret.file));
                    }
                }
                extension if extension.starts_with("x-") => {}
                _ => return Err(self.wrong(field, "it is not understood", "leave it out: services, secrets, x-…")),
            }
        }
        let services = top.get("services").ok_or_else(|| self.wrong("services", "there are none", "give services"))?;
        let services: Map<String, Value> = self.take("services", services, "give a mapping")?;
        let read = |(name, service): (&String, &Value)| Ok((name.clone(), self.service(name, service, &secrets)?));
        Ok(Project { services: services.iter().map(read).collect::<Result<_, BadInput>>()? })
    }

    fn service(&self, name: &str, value: &Value, secrets: &BTreeMap<String, PathBuf>) -> Result<Service, BadInput> {
        let place = |field: &str| format!("service {name}, field {field}");
        let fields: Map<String, Value> = self.take(&format!("service {name}"), value, "give a mapping")?;
        let mut service = Service { container: Container::default(), ..Service::default() };
        for (field, value) in &fields {
            let at = place(field);
            let container = &mut service.container;
            match field.as_str() {
                "image" => container.image = self.take(&at, value, "give a text")?,
                "command" => service.command = self.take(&at, value, "give a list of texts")?,
                "environment" => service.environment = self.environment(&at, value)?,
                "user" => container.user = Some(self.take(&at, value, "give a text: \"uid:gid\"")?),
                "read_only" => container.read_only = self.take(&at, value, "give true or false")?,
                "cap_drop" => container.cap_drop = self.take(&at, value, "give a list of texts")?,
                "security_opt" => container.security_opt = self.take(&at, value, "give a list of texts")?,
                "mem_limit" => container.memory = Some(self.bytes(&at, value)?),
                "pids_limit" => container.processes = Some(self.take(&at, value, "give a whole number")?),
                "restart" => container.restart = self.restart(&at, value)?,
                "pid" => service.beside = Some(self.beside(&at, value)?),
                "depends_on" => service.depends_on = self.dependencies(&at, value)?,
                "secrets" => container.mounts.extend(self.granted(&at, value, secrets)?),
                "volumes" => container.mounts.extend(self.volumes(&at, value)?),
                extension if extension.starts_with("x-") => {}
                _ => {
                    let remedy = format!("leave it out; what is understood: {FIELDS}");
                    return Err(self.wrong(&at, "it is not understood", &remedy));
                }
            }
        }
        if service.container.image.is_empty() {
            return Err(self.wrong(&place("image"), "it is missing", "name the image"));
        }
        Ok(service)
    }

    fn environment(&self, at: &str, value: &Value) -> Result<BTreeMap<String, String>, BadInput> {
        let form = "give a mapping of names to texts, or a list of `name=value`";
        match self.take(at, value, form)? {
            Environment::Mapping(mapping) => {
                Ok(mapping.into_iter().map(|(name, value)| (name, value.text())).collect())
            }
            Environment::List(list) => list
                .into_iter()
                .map(|entry| match entry.split_once('=') {
                    Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                    None => Err(self.wrong(at, "an entry has no value: it would come from the caller", form)),
                })
                .collect(),
        }
    }

    fn bytes(&self, at: &str, value: &Value) -> Result<i64, BadInput> {
        let form = "give bytes, or a number with the unit b, k, m or g";
        let text = self.take::<Scalar>(at, value, form)?.text().to_ascii_lowercase();
        let text = text.strip_suffix('b').filter(|rest| !rest.is_empty()).unwrap_or(&text);
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let shift = match unit {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => return Err(self.wrong(at, "its unit is not understood", form)),
        };
        let bytes = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(1 << shift));
        bytes.ok_or_else(|| self.wrong(at, "it is no number of bytes", form))
    }

    fn restart(&self, at: &str, value: &Value) -> Result<Restart, BadInput> {
        match self.take::<String>(at, value, "give a text")?.as_str() {
            "no" => Ok(Restart::No),
            "on-failure" => Ok(Restart::OnFailure),
            // The env file is kept in memory: at a boot something has to render it before the app starts.
            _ => Err(self.wrong(at, "it would start the app at a boot without its values", "give no or on-failure")),
        }
    }

    fn beside(&self, at: &str, value: &Value) -> Result<String, BadInput> {
        let text: String = self.take(at, value, "give a text")?;
        let service = text.strip_prefix("service:").filter(|service| !service.is_empty());
        service.map(str::to_owned).ok_or_else(|| self.wrong(at, "it names no service", "give service:<name>"))
    }

    fn dependencies(&self, at: &str, value: &Value) -> Result<BTreeMap<String, Condition>, BadInput> {
        let form = "give service names, each with service_started or service_completed_successfully";
        Ok(match self.take(at, value, form)? {
            Dependencies::Names(names) => names.into_iter().map(|name| (name, Condition::Started)).collect(),
            Dependencies::Conditions(each) => each.into_iter().map(|(name, one)| (name, one.condition)).collect(),
        })
    }

    fn granted(&self, at: &str, value: &Value, all: &BTreeMap<String, PathBuf>) -> Result<Vec<Bind>, BadInput> {
        let names: Vec<String> = self.take(at, value, "give a list of secret names")?;
        let grant = |name: String| match all.get(&name) {
            Some(file) => Ok(Bind { source: file.clone(), target: Path::new(SECRETS).join(&name), read_only: true }),
            None => Err(self.wrong(at, format!("there is no secret {name}"), "declare it under `secrets`")),
        };
        names.into_iter().map(grant).collect()
    }

    fn volumes(&self, at: &str, value: &Value) -> Result<Vec<Bind>, BadInput> {
        let form = "give long forms: type bind, source, target, read_only, bind with create_host_path false";
        let volumes: Vec<Volume> = self.take(at, value, form)?;
        let mount = |volume: Volume| match (volume.r#type.as_str(), volume.bind.create_host_path) {
            ("bind", false) => {
                Ok(Bind { source: self.path(volume.source), target: volume.target, read_only: volume.read_only })
            }
            ("bind", true) => Err(self.wrong(at, "the engine would make a missing folder, root's and on disk", form)),
            _ => Err(self.wrong(at, "only folders and files of the host are understood", form)),
        };
        volumes.into_iter().map(mount).collect()
    }

    /// A path is relative to the folder of the file; a reference is left as it is written.
    fn path(&self, path: PathBuf) -> PathBuf {
        match (path.to_string_lossy().starts_with('$'), self.file.parent()) {
            (false, Some(folder)) => folder.join(path),
            _ => path,
        }
    }
}
