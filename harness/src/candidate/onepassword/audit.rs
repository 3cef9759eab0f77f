//! Connect's own log of requests: `GET /v1/activity`, newest first, in pages told by `Content-Range`
//! (docs/openapi/spec.yaml 1.7.1, schema `APIRequest`). How long it is kept is not documented.

use anyhow::{Context, Result};
use reqwest::header::CONTENT_RANGE;
use serde_json::Value;

use super::Onepassword;
use super::text;
use crate::candidate::{Action, AuditEntry};
use crate::cell::Environment;

/// Entries of a page: the API's own default.
const PAGE: usize = 50;

impl Onepassword {
    /// The whole log, newest first.
    pub(super) async fn log(&self) -> Result<Vec<Value>> {
        let mut log: Vec<Value> = Vec::new();
        loop {
            let reply = self.rotator.get(&format!("activity?limit={PAGE}&offset={}", log.len())).await?;
            let page = reply.body.as_array().context("failed to find the log in the answer")?;
            let range = reply.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let total: usize = range
                .and_then(|range| range.rsplit_once('/')?.1.parse().ok())
                .context("failed to find the length of the log in `Content-Range`")?;
            for entry in page {
                // What was logged between two pages moves entries from one to the next.
                if !log.iter().any(|known| known["requestId"] == entry["requestId"]) {
                    log.push(entry.clone());
                }
            }
            if page.is_empty() || log.len() >= total {
                return Ok(log);
            }
        }
    }

    /// The environment whose item an entry is about.
    fn environment_of(&self, resource: &Value) -> Option<Environment> {
        let (environment, _) = self.vaults.iter().find(|(_, vault)| resource["vault"]["id"] == vault.as_str())?;
        // A denied call may name the vault alone.
        let item = resource["item"]["id"].as_str();
        let own = item.is_none_or(|item| self.items.get(environment).is_some_and(|own| own == item));
        own.then_some(*environment)
    }
}

/// What an entry of the log says about the items of this cell, if it is about one.
///
/// # Errors
/// The entry is not what the specification shows.
pub(super) fn entry(entry: &Value, cell: &Onepassword) -> Result<Option<AuditEntry>> {
    let resource = &entry["resource"];
    let action = match entry["action"].as_str() {
        Some("CREATE") => Action::Create,
        Some("UPDATE") => Action::Update,
        Some("READ") => Action::Read,
        _ => return Ok(None),
    };
    let Some(environment) = cell.environment_of(resource) else { return Ok(None) };
    let allowed = entry["result"] == "SUCCESS";
    // A vault or a list of items was read, but no item. Who is denied the vault never gets as far as the item.
    if allowed && (resource["type"] != "ITEM" || resource["item"]["id"].is_null()) {
        return Ok(None);
    }
    let token = entry["actor"]["jti"].as_str().unwrap_or_default();
    Ok(Some(AuditEntry {
        id: text(entry, "/requestId")?.to_owned(),
        at: text(entry, "/timestamp")?.parse().context("failed to understand the time of an entry")?,
        action,
        environment,
        allowed,
        identity: cell.identities.borrow().get(token).cloned().unwrap_or_else(|| "unknown".to_owned()),
        version: resource["itemVersion"].as_u64().map(|version| version.to_string()),
        fingerprint: None,
    }))
}
