//! Doppler's change log: `GET /v3/configs/config/logs` lists what was changed, `…/logs/log` adds the `diff`
//! (docs.doppler.com/reference/config_logs-list, …/config_logs-get). It names no version and shows no reads.

use anyhow::{Context, Result};
use probe::observation::RunKey;
use serde_json::Value;

use super::{Doppler, PAGE};
use crate::candidate::{Action, AuditEntry, PROBED_NAME};
use crate::cell::Environment;

impl Doppler {
    /// The log of an environment's config with diffs, oldest first.
    pub(super) async fn logs(&self, environment: Environment) -> Result<Vec<Value>> {
        let config = self.config(environment);
        let mut ids = Vec::new();
        for page in 1.. {
            let listed = self.admin.get(&format!("configs/config/logs?{config}&page={page}&per_page={PAGE}")).await?;
            let logs = listed.body["logs"].as_array().context("failed to find the logs in the answer")?;
            ids.extend(logs.iter().filter_map(|log| log["id"].as_str().map(str::to_owned)));
            if logs.is_empty() {
                break;
            }
        }
        let mut logs = Vec::with_capacity(ids.len());
        for id in ids.iter().rev() {
            let known = self.diffs.borrow().get(id).cloned();
            let log = match known {
                Some(log) => log,
                None => {
                    let found = self.admin.get(&format!("configs/config/logs/log?{config}&log={id}")).await?;
                    let log = found.body.get("log").context("failed to find the log in the answer")?.clone();
                    self.diffs.borrow_mut().insert(id.clone(), log.clone());
                    log
                }
            };
            logs.push(log);
        }
        Ok(logs)
    }
}

/// What a log entry says about `POC_TEST_VALUE`, if it is about it. Values leave it as digests only.
///
/// # Errors
/// The entry is not what the API reference shows.
pub(super) fn entry(log: &Value, environment: Environment, key: &RunKey) -> Result<Option<AuditEntry>> {
    let diff = log["diff"].as_array().into_iter().flatten().find(|change| change["name"] == PROBED_NAME);
    let Some(added) = diff.and_then(|change| change["added"].as_str().map(|added| (change, added))) else {
        return Ok(None);
    };
    let (change, value) = added;
    let text = |pointer: &str| {
        log.pointer(pointer).and_then(Value::as_str).with_context(|| format!("failed to find {pointer} in a log entry"))
    };
    let at = text("/created_at")?;
    Ok(Some(AuditEntry {
        id: text("/id")?.to_owned(),
        at: at.parse().context("failed to understand the time of a log entry")?,
        action: if change["removed"].is_null() { Action::Create } else { Action::Update },
        environment,
        // What is denied is not logged.
        allowed: true,
        identity: text("/user/name")?.to_owned(),
        version: None,
        fingerprint: Some(key.digest(value.as_bytes())),
    }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn log(diff: &Value) -> Value {
        json!({
            "id": "l1",
            "created_at": "2026-11-23T19:00:00.123Z",
            "user": { "name": "rotator", "email": null },
            "diff": diff,
        })
    }

    #[rstest]
    #[case::created(json!([{ "name": PROBED_NAME, "added": "v1" }]), Some((Action::Create, "v1")))]
    #[case::rotated(json!([{ "name": PROBED_NAME, "added": "v2", "removed": "v1" }]), Some((Action::Update, "v2")))]
    #[case::removed(json!([{ "name": PROBED_NAME, "removed": "v1" }]), None)]
    #[case::another_name(json!([{ "name": "OTHER", "added": "v1" }]), None)]
    #[case::no_diff(json!(null), None)]
    fn a_change_is_told_without_its_value(#[case] diff: Value, #[case] expected: Option<(Action, &str)>) {
        let key = RunKey::new(*b"key");
        let entry = entry(&log(&diff), Environment::Dev, &key).unwrap();
        let told = entry.as_ref().map(|entry| (entry.action, entry.fingerprint.clone().unwrap()));
        assert_eq!(told, expected.map(|(action, value)| (action, key.digest(value.as_bytes()))));
    }

    #[test]
    fn an_entry_without_an_author_is_no_entry() {
        let mut log = log(&json!([{ "name": PROBED_NAME, "added": "v1" }]));
        log["user"] = json!(null);
        assert!(entry(&log, Environment::Dev, &RunKey::new(*b"key")).is_err());
    }
}
