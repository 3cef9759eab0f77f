//! What checks ask of a namespace: revisions, objects, rights.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use super::manifest::APP_LABEL;
use super::member::is_complete;
use super::{Namespace, failed};

/// Between two looks at a rollout.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What everybody who is known may do on every cluster: ask what they may do, and who they are
/// (kubernetes.io/docs/reference/access-authn-authz/rbac, the default role `system:basic-user`).
const EVERYBODY: [&str; 3] = [
    "create selfsubjectaccessreviews.authorization.k8s.io",
    "create selfsubjectrulesreviews.authorization.k8s.io",
    "create selfsubjectreviews.authentication.k8s.io",
];

/// What a service account may do in its namespace, each right in words: `patch secrets/app-env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The service account.
    pub account: String,
    /// What was declared.
    pub declared: BTreeSet<String>,
    /// What the API server says that it may do, without what everybody may.
    pub found: BTreeSet<String>,
}

impl Namespace {
    fn selector(app: &str) -> ListParams {
        ListParams::default().labels(&format!("{APP_LABEL}={app}"))
    }

    /// How many revisions the Deployment of this name has.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn revisions(&self, app: &str) -> Result<usize> {
        let found = self.api::<ReplicaSet>().list(&Self::selector(app)).await;
        Ok(found.map_err(|error| failed("list ReplicaSets", &error))?.items.len())
    }

    /// Waits until a rollout of the Deployment of this name is complete: every pod that is to stay is new and available.
    ///
    /// # Errors
    /// It is not before the deadline, or the API server does not say.
    pub async fn settle(&self, app: &str, deadline: Instant) -> Result<()> {
        let settled = async {
            loop {
                let deployment = self.api::<Deployment>().get(app).await;
                let deployment = deployment.map_err(|error| failed("look at a Deployment", &error))?;
                if is_complete(&deployment) {
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout_at(deadline, settled)
            .await
            .with_context(|| format!("failed to see the rollout of {app} end in time"))?
    }

    /// Ends the pods of the Deployment of this name, for it to make new ones.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn renew(&self, app: &str) -> Result<()> {
        let at_once = DeleteParams::default().grace_period(0);
        let ended = self.api::<Pod>().delete_collection(&at_once, &Self::selector(app)).await;
        ended.map(drop).map_err(|error| failed("end pods", &error))
    }

    /// Rolls the Deployment of this name as `kubectl rollout restart` does, and says when the request was sent.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn restart(&self, app: &str) -> Result<Instant> {
        let sent = Instant::now();
        let restarted = self.api::<Deployment>().restart(app).await;
        restarted.map(|_| sent).map_err(|error| failed("restart a Deployment", &error))
    }

    /// Every object of the namespace, as the API server shows it, by kind and name; Secrets without their data.
    ///
    /// # Errors
    /// The API server does not show one kind.
    pub async fn objects(&self) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        all.extend(self.texts::<Pod>(|_| ()).await?);
        all.extend(self.texts::<Deployment>(|_| ()).await?);
        all.extend(self.texts::<ReplicaSet>(|_| ()).await?);
        all.extend(self.texts::<Service>(|_| ()).await?);
        all.extend(self.texts::<Endpoints>(|_| ()).await?);
        all.extend(self.texts::<ConfigMap>(|_| ()).await?);
        all.extend(self.texts::<ServiceAccount>(|_| ()).await?);
        all.extend(self.texts::<Role>(|_| ()).await?);
        all.extend(self.texts::<RoleBinding>(|_| ()).await?);
        all.extend(self.texts::<Event>(|_| ()).await?);
        all.extend(self.texts::<Secret>(|secret| (secret.data, secret.string_data) = (None, None)).await?);
        Ok(all)
    }

    async fn texts<K>(&self, strip: impl Fn(&mut K)) -> Result<Vec<(String, String)>>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Resource<DynamicType = ()>,
        K: Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let found = self.api::<K>().list(&ListParams::default()).await;
        let found = found.map_err(|error| failed(&format!("list every {}", K::kind(&())), &error))?;
        let texts = found.items.into_iter().map(|mut object| {
            strip(&mut object);
            let name = object.meta().name.clone().unwrap_or_default();
            Ok((format!("{} {name}", K::kind(&())), serde_json::to_string(&object)?))
        });
        texts.collect()
    }

    /// What each service account that was made for a plan may do, asked with a token of its own.
    ///
    /// # Errors
    /// No token is given, or the API server does not say.
    pub async fn rights(&self) -> Result<Vec<Rights>> {
        let mut all = Vec::new();
        for (account, rules) in self.accounts() {
            let token = self.token(&account).await?;
            let reviews: Api<SelfSubjectRulesReview> = Api::all(self.cluster.with_token(token)?);
            let spec = SelfSubjectRulesReviewSpec { namespace: Some(self.name.clone()) };
            let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
            let reviewed = reviews.create(&PostParams::default(), &review).await;
            let reviewed = reviewed.map_err(|error| failed(&format!("ask what {account} may do"), &error))?;
            let status = reviewed.status.context("failed to find the review in the answer")?;
            let mut found: BTreeSet<_> = status.resource_rules.iter().flat_map(of_review).collect();
            found.retain(|right| !EVERYBODY.contains(&right.as_str()));
            all.push(Rights { account, declared: rules.iter().flat_map(of_policy).collect(), found });
        }
        Ok(all)
    }
}

fn of_review(rule: &ResourceRule) -> Vec<String> {
    in_words(&rule.verbs, rule.api_groups.as_deref(), rule.resources.as_deref(), rule.resource_names.as_deref())
}

fn of_policy(rule: &PolicyRule) -> Vec<String> {
    in_words(&rule.verbs, rule.api_groups.as_deref(), rule.resources.as_deref(), rule.resource_names.as_deref())
}

/// One right for each verb, group, resource and name.
fn in_words(
    verbs: &[String],
    groups: Option<&[String]>,
    resources: Option<&[String]>,
    names: Option<&[String]>,
) -> Vec<String> {
    let names = match names {
        None | Some([]) => vec![String::new()],
        Some(names) => names.iter().map(|name| format!("/{name}")).collect(),
    };
    let mut words = Vec::new();
    for group in groups.unwrap_or_default() {
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        for resource in resources.unwrap_or_default() {
            for name in &names {
                words.extend(verbs.iter().map(|verb| format!("{verb} {resource}{group}{name}")));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_taken_apart() {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = PolicyRule {
            api_groups: Some(texts(&["", "apps"])),
            resources: Some(texts(&["things"])),
            resource_names: Some(texts(&["a"])),
            verbs: texts(&["get", "patch"]),
            non_resource_urls: None,
        };
        let words = ["get things/a", "patch things/a", "get things.apps/a", "patch things.apps/a"];
        assert_eq!(of_policy(&rule), words);
        let any = PolicyRule { resource_names: None, verbs: texts(&["*"]), ..rule };
        assert_eq!(of_policy(&any), ["* things", "* things.apps"]);
    }
}
