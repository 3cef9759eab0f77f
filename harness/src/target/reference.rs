//! References to secrets: a target file names where a secret is, never the secret.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::BadInput;

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
    /// The file, where it names one.
    pub(super) fn path(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(path),
        }
    }

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
