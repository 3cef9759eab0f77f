//! Compose files (the Compose Specification, github.com/compose-spec/compose-spec), as far as the deploy templates use
//! them. Whatever is not understood is refused, by file, service and field: what was skipped would pass for deployed.

mod faults;
mod fields;
mod interpolate;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use self::faults::{Fault, faults};
pub use self::interpolate::reference;
use crate::error::BadInput;
use crate::platform::Container;

/// Where a granted secret shows in a container.
const SECRETS: &str = "/run/secrets";

/// Values of variables, by name.
pub type Variables = BTreeMap<String, String>;

/// A compose file as it is written, its variables still unset.
#[derive(Debug)]
pub struct Template {
    file: PathBuf,
    document: Map<String, Value>,
}

/// A compose file with its variables set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The services by name.
    pub services: BTreeMap<String, Service>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// How its container is made.
    pub container: Container,
    /// Arguments of the image's entry point.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What has to be true of other services before it starts.
    pub depends_on: BTreeMap<String, Condition>,
    /// The service whose processes it sees.
    pub beside: Option<String>,
}

/// What has to be true of a service before another starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Condition {
    /// It was started.
    #[serde(rename = "service_started")]
    Started,
    /// It has ended, and well.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

impl Template {
    /// Reads a compose file.
    ///
    /// # Errors
    /// It cannot be read, or is no YAML mapping with one value for each key.
    pub fn read(file: &Path) -> Result<Self, BadInput> {
        let text = fs::read_to_string(file).map_err(|error| {
            BadInput::new(file.display().to_string(), error.to_string(), "name a compose file that can be read")
        })?;
        Self::parse(file, &text)
    }

    /// The same from its text; relative paths in it are relative to the folder of `file`.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, BadInput> {
        // A snippet in an error would repeat whatever stands in the file, a secret among it.
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let document = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            BadInput::new(file.display().to_string(), error.to_string(), "give one YAML mapping, each key once")
        })?;
        Ok(Self { file: file.to_owned(), document })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The project with these variables, and nothing of this process's own environment.
    ///
    /// # Errors
    /// A variable is missing, or something is not understood.
    pub fn project(&self, variables: &Variables) -> Result<Project, BadInput> {
        let mut document = Value::Object(self.document.clone());
        self.set(&mut document, &mut Vec::new(), variables)?;
        self.typed(&document)
    }

    /// The project with its references as they are written, to find out which variable names which file.
    ///
    /// # Errors
    /// Something is not understood.
    pub fn written(&self) -> Result<Project, BadInput> {
        self.typed(&Value::Object(self.document.clone()))
    }

    fn set(&self, value: &mut Value, path: &mut Vec<String>, variables: &Variables) -> Result<(), BadInput> {
        match value {
            Value::String(text) => {
                let place = || format!("{}, {}", self.file.display(), path.join("."));
                *text = interpolate::interpolate(text, variables)
                    .map_err(|problem| BadInput::new(place(), problem.what, problem.remedy))?;
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(index.to_string());
                    self.set(item, path, variables)?;
                    path.pop();
                }
            }
            Value::Object(fields) => {
                // Extensions are only there for their anchors, which YAML itself has put in place already.
                for (key, field) in fields.iter_mut().filter(|(key, _)| !key.starts_with("x-")) {
                    path.push(key.clone());
                    self.set(field, path, variables)?;
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    fn typed(&self, document: &Value) -> Result<Project, BadInput> {
        let reader = fields::Reader::new(&self.file);
        reader.project(document)
    }
}

impl Project {
    /// The services, each after those that it depends on.
    ///
    /// # Errors
    /// Some wait for each other, or for one that is not there.
    pub fn order(&self) -> Result<Vec<&str>, BadInput> {
        let mut order = Vec::new();
        let mut placed = BTreeSet::new();
        while order.len() < self.services.len() {
            let ready = self.services.iter().find(|(name, service)| {
                !placed.contains(name.as_str()) && service.awaits().all(|other| placed.contains(other))
            });
            let Some((name, _)) = ready else {
                let left: Vec<_> =
                    self.services.keys().map(String::as_str).filter(|name| !placed.contains(name)).collect();
                return Err(BadInput::new(
                    format!("services {}", left.join(", ")),
                    "they wait for each other, or for a service that is not there",
                    "correct `depends_on` and `pid`",
                ));
            };
            placed.insert(name.as_str());
            order.push(name.as_str());
        }
        Ok(order)
    }
}

impl Service {
    fn awaits(&self) -> impl Iterator<Item = &str> {
        self.depends_on.keys().chain(&self.beside).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
