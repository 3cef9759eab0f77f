//! CloudTrail's event history: `LookupEvents` (docs.aws.amazon.com/awscloudtrail/latest/APIReference), two calls a second and
//! account, pages of fifty. The record itself is a JSON document in `CloudTrailEvent`. That `GetSecretValue` shows there with
//! `requestParameters` is expected and unverified: nobody here has seen it live.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use serde_json::Value;
use tokio::time::Instant;

use super::{Aws, failure};
use crate::candidate::api::text;
use crate::candidate::{Action, AuditEntry};
use crate::cell::Environment;

/// The pause between two lookups that the documented rate asks for, and a little more.
const PACE: Duration = Duration::from_millis(510);

/// Clocks differ; events of other cells are told apart by the names of their secrets.
const MARGIN_S: i64 = 300;

impl Aws {
    /// The documents of all events of Secrets Manager since the cell began, newest first.
    pub(super) async fn events(&self) -> Result<Vec<Value>> {
        let trail = self.trail.as_ref().context("failed to look up events: nothing is provisioned")?;
        let source = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventSource)
            .attribute_value("secretsmanager.amazonaws.com")
            .build()?;
        let since = DateTime::from_secs(self.began.as_second() - MARGIN_S);
        let mut events = Vec::new();
        let mut token = None;
        loop {
            self.pace().await;
            let page = trail.lookup_events().lookup_attributes(source.clone()).start_time(since).set_next_token(token);
            let page = page.send().await.map_err(|error| failure("look up events", &error))?;
            for event in page.events() {
                let document = event.cloud_trail_event().context("failed to find the record in an event")?;
                events.push(serde_json::from_str(document).context("failed to understand the record of an event")?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(events);
            }
        }
    }

    /// Waits until the next lookup is allowed.
    async fn pace(&self) {
        let mut last = self.looked_up.lock().await;
        if let Some(at) = *last {
            tokio::time::sleep_until(at + PACE).await;
        }
        *last = Some(Instant::now());
    }
}

/// What the records of this cell's secrets are known by.
pub(super) struct Secrets<'a> {
    pub(super) names: BTreeMap<String, Environment>,
    pub(super) arns: BTreeMap<String, Environment>,
    pub(super) identities: &'a BTreeMap<String, String>,
}

impl Secrets<'_> {
    /// What a record says about a secret of this cell, if it is about one.
    ///
    /// # Errors
    /// The record is not what CloudTrail documents.
    pub(super) fn entry(&self, record: &Value) -> Result<Option<AuditEntry>> {
        let parameters = &record["requestParameters"];
        let (action, version) = match record["eventName"].as_str() {
            Some("CreateSecret") => (Action::Create, &parameters["clientRequestToken"]),
            Some("PutSecretValue") => (Action::Update, &parameters["clientRequestToken"]),
            Some("GetSecretValue") => (Action::Read, &parameters["versionId"]),
            _ => return Ok(None),
        };
        let named = parameters["secretId"].as_str().or_else(|| parameters["name"].as_str()).unwrap_or_default();
        let Some(environment) = self.names.get(named).or_else(|| self.arns.get(named)) else { return Ok(None) };
        let identity = &record["userIdentity"];
        let user = identity["userName"].as_str().or_else(|| {
            // A role's session: arn:aws:sts::<account>:assumed-role/<role>/<session>.
            identity["arn"].as_str()?.rsplit('/').next()
        });
        Ok(Some(AuditEntry {
            id: text(record, "/eventID")?.to_owned(),
            at: text(record, "/eventTime")?.parse().context("failed to understand the time of a record")?,
            action,
            environment: *environment,
            allowed: record["errorCode"].is_null(),
            identity: user.and_then(|user| self.identities.get(user)).map_or("unknown", String::as_str).to_owned(),
            version: version.as_str().map(str::to_owned),
            fingerprint: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn record(name: &str, parameters: &Value) -> Value {
        json!({
            "eventID": "e1",
            "eventTime": "2026-11-23T19:00:00Z",
            "eventName": name,
            "userIdentity": { "type": "IAMUser", "userName": "u-app" },
            "requestParameters": parameters,
        })
    }

    fn entry(record: &Value) -> Option<AuditEntry> {
        let identities = BTreeMap::from([("u-app".to_owned(), "app".to_owned())]);
        let names = BTreeMap::from([("poc-dev".to_owned(), Environment::Dev)]);
        let arns = BTreeMap::from([("arn:poc-prod".to_owned(), Environment::Prod)]);
        Secrets { names, arns, identities: &identities }.entry(record).unwrap()
    }

    #[rstest]
    #[case::created("CreateSecret", json!({ "name": "poc-dev", "clientRequestToken": "v1" }), Some((Action::Create, Environment::Dev, Some("v1"))))]
    #[case::rotated("PutSecretValue", json!({ "secretId": "arn:poc-prod", "clientRequestToken": "v2" }), Some((Action::Update, Environment::Prod, Some("v2"))))]
    #[case::read("GetSecretValue", json!({ "secretId": "poc-dev", "versionId": "v2" }), Some((Action::Read, Environment::Dev, Some("v2"))))]
    #[case::read_whatever_is_current("GetSecretValue", json!({ "secretId": "poc-dev" }), Some((Action::Read, Environment::Dev, None)))]
    #[case::polled("DescribeSecret", json!({ "secretId": "poc-dev" }), None)]
    #[case::another_secret("GetSecretValue", json!({ "secretId": "other" }), None)]
    #[case::no_parameters("GetSecretValue", json!(null), None)]
    fn a_record_tells_what_was_done(
        #[case] name: &str,
        #[case] parameters: Value,
        #[case] expected: Option<(Action, Environment, Option<&str>)>,
    ) {
        let entry = entry(&record(name, &parameters));
        assert_eq!(entry.as_ref().map(|e| (e.action, e.environment, e.version.as_deref())), expected);
        assert!(entry.is_none_or(|entry| entry.allowed && entry.identity == "app"));
    }

    #[test]
    fn a_denied_call_was_not_allowed() {
        let mut denied = record("GetSecretValue", &json!({ "secretId": "poc-dev" }));
        denied["errorCode"] = json!("AccessDenied");
        assert!(!entry(&denied).unwrap().allowed);
    }

    #[test]
    fn a_role_is_known_by_its_session() {
        let mut assumed = record("GetSecretValue", &json!({ "secretId": "poc-dev" }));
        assumed["userIdentity"] = json!({ "type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/reader/u-app" });
        assert_eq!(entry(&assumed).unwrap().identity, "app");
    }
}
