//! Reads the audit log of OpenBao and Vault. Shape as run against OpenBao 2.7.2: a request and a response line share
//! `request.id`, so only responses count; strings are HMACs, numbers, paths, roles and policies stand as they are.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::candidate::{Action, AuditEntry, PROBED_NAME};
use crate::cell::Environment;

/// The entries about the secret whose data path in each environment is given, in the log's order.
///
/// # Errors
/// A line about this secret is not what the audit device is known to write.
pub(super) fn entries(log: &[u8], paths: &BTreeMap<String, Environment>) -> Result<Vec<AuditEntry>> {
    let mut entries = Vec::new();
    for (number, line) in log.split(|byte| *byte == b'\n').enumerate() {
        // A line that is being written has no end yet: the next look will find it whole.
        let Ok(entry) = serde_json::from_slice::<Value>(line) else { continue };
        if entry["type"] != "response" {
            continue;
        }
        let Some(environment) = entry["request"]["path"].as_str().and_then(|path| paths.get(path)) else { continue };
        let parsed = parse(&entry, *environment);
        if let Some(parsed) =
            parsed.with_context(|| format!("failed to understand line {} of the audit log", number + 1))?
        {
            entries.push(parsed);
        }
    }
    Ok(entries)
}

fn parse(entry: &Value, environment: Environment) -> Result<Option<AuditEntry>> {
    let request = &entry["request"];
    let response = &entry["response"]["data"];
    let (action, version, value) = match request["operation"].as_str() {
        Some("create") => (Action::Create, &response["version"], &request["data"]["data"]),
        Some("update" | "patch") => (Action::Update, &response["version"], &request["data"]["data"]),
        Some("read") => (Action::Read, &response["metadata"]["version"], &response["data"]),
        _ => return Ok(None),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = &entry["auth"]["metadata"];
    Ok(Some(AuditEntry {
        id: text(&request["id"]).context("it has no request id")?,
        at: entry["time"].as_str().context("it has no time")?.parse().context("its time is not RFC 3339")?,
        action,
        environment,
        allowed: entry["auth"]["policy_results"]["allowed"] == true && entry["error"].is_null(),
        // A service account has the name of its container.
        identity: text(&metadata["container"])
            .or_else(|| text(&metadata["service_account_name"]))
            .unwrap_or_else(|| "unknown".to_owned()),
        version: version.as_u64().map(|version| version.to_string()),
        fingerprint: text(&value[PROBED_NAME]),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths() -> BTreeMap<String, Environment> {
        BTreeMap::from([("dev/data/poc/app".to_owned(), Environment::Dev)])
    }

    fn line(kind: &str, operation: &str, path: &str) -> Value {
        json!({
            "time": "2026-11-23T19:00:00.123456789Z",
            "type": kind,
            "auth": { "metadata": { "container": "app-1" }, "policy_results": { "allowed": true } },
            "request": { "id": "r1", "operation": operation, "path": path, "data": { "data": { PROBED_NAME: "hmac-sha256:w" } } },
            "response": { "data": { "version": 2, "metadata": { "version": 3 }, "data": { PROBED_NAME: "hmac-sha256:r" } } },
        })
    }

    fn parsed(lines: &[Value]) -> Vec<AuditEntry> {
        let log: Vec<String> = lines.iter().map(Value::to_string).collect();
        entries(log.join("\n").as_bytes(), &paths()).unwrap()
    }

    #[test]
    fn writes_and_reads_are_told_apart() {
        let entries = parsed(&[
            line("response", "create", "dev/data/poc/app"),
            line("response", "update", "dev/data/poc/app"),
            line("response", "read", "dev/data/poc/app"),
        ]);
        let told: Vec<_> = entries.iter().map(|e| (e.action, e.version.as_deref(), e.fingerprint.as_deref())).collect();
        assert_eq!(
            told,
            [
                (Action::Create, Some("2"), Some("hmac-sha256:w")),
                (Action::Update, Some("2"), Some("hmac-sha256:w")),
                (Action::Read, Some("3"), Some("hmac-sha256:r")),
            ]
        );
        assert!(entries.iter().all(|entry| entry.allowed && entry.identity == "app-1"));
    }

    #[test]
    fn requests_and_other_paths_do_not_count() {
        assert!(
            parsed(&[line("request", "read", "dev/data/poc/app"), line("response", "read", "dev/data/else")])
                .is_empty()
        );
    }

    #[test]
    fn a_denied_call_is_an_entry_that_was_not_allowed() {
        let mut denied = line("response", "read", "dev/data/poc/app");
        denied["auth"]["policy_results"]["allowed"] = json!(false);
        denied["error"] = json!("1 error occurred: permission denied");
        denied["response"] = Value::Null;
        let entries = parsed(&[denied]);
        assert!(!entries[0].allowed);
        assert_eq!(entries[0].version, None);
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_the_next_look() {
        let whole = line("response", "read", "dev/data/poc/app").to_string();
        let log = format!("{whole}\n{}", &whole[..whole.len() / 2]);
        assert_eq!(entries(log.as_bytes(), &paths()).unwrap().len(), 1);
    }
}
