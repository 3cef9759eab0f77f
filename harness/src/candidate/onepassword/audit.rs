//! Connect's own log of requests: `GET /v1/activity`, newest first, in pages told by `Content-Range`
//! (docs/openapi/spec.yaml 1.7.1, schema `APIRequest`). How long it is kept is not documented.

use std::collections::BTreeSet;

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
    /// The log since this cell began, newest first. A server keeps what others did long before.
    pub(super) async fn log(&self) -> Result<Vec<Value>> {
        let (mut log, mut seen, mut offset) = (Vec::new(), BTreeSet::new(), 0);
        loop {
            let page = self.page(offset).await?;
            offset += page.len();
            // A page that is not full may be the server's own limit.
            let last = page.is_empty();
            for entry in page {
                let id = text(&entry, "/requestId")?.to_owned();
                if self.before.as_ref() == Some(&id) {
                    return Ok(log);
                }
                // What is logged between two pages moves entries from one to the next.
                if seen.insert(id) {
                    log.push(entry);
                }
            }
            if last {
                return Ok(log);
            }
        }
    }

    /// The id of the newest entry.
    pub(super) async fn newest(&self) -> Result<Option<String>> {
        let page = self.page(0).await?;
        page.first().map(|entry| Ok(text(entry, "/requestId")?.to_owned())).transpose()
    }

    async fn page(&self, offset: usize) -> Result<Vec<Value>> {
        let reply = self.rotator.get(&format!("activity?limit={PAGE}&offset={offset}")).await?;
        let range = reply.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        range.and_then(|range| range.rsplit_once('/')).context("failed to find `Content-Range`: this is no log")?;
        Ok(reply.body.as_array().context("failed to find the log in the answer")?.clone())
    }

    /// The environment whose item an entry is about.
    fn environment_of(&self, entry: &Value) -> Option<Environment> {
        let resource = &entry["resource"];
        let (environment, _) = self.vaults.iter().find(|(_, vault)| resource["vault"]["id"] == vault.as_str())?;
        let own = match resource["item"]["id"].as_str() {
            Some(item) => self.items.get(environment).is_some_and(|own| own == item),
            // A denied call may name the vault alone: then only the caller tells whose it was.
            None => entry["actor"]["userAgent"] == self.user_agent.as_str(),
        };
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
    let Some(environment) = cell.environment_of(entry) else { return Ok(None) };
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
