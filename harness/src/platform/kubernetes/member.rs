//! A Deployment as a member of a cell.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::pods::Pods;
use super::{failed, is_gone};
use crate::platform::{Line, Member};

/// How often the Deployment itself is looked at while its pods are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A pod that cannot be made is an error once it could not for so long: a service account or a quota may take a moment.
const MENDS_ITSELF: Duration = Duration::from_secs(4);

/// A Deployment, its pods watched and their logs followed.
pub struct DeployedMember {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) selector: String,
    pub(super) deployments: Api<Deployment>,
    pub(super) replica_sets: Api<ReplicaSet>,
    pub(super) api: Api<Pod>,
    pub(super) pods: Pods,
    pub(super) watch: JoinHandle<()>,
    pub(super) out: UnboundedReceiver<Line>,
    pub(super) err: UnboundedReceiver<Line>,
    /// Whether its pods may be replaced while it stays the same deployment.
    pub(super) rolls: bool,
}

impl DeployedMember {
    /// From now on its pods may be replaced while it stays the same deployment: what a rollout is.
    pub fn rolls(&mut self) {
        self.rolls = true;
    }

    /// The Deployment's name.
    pub fn deployment(&self) -> &str {
        &self.name
    }

    /// Does `work` unless the pods are in a trouble that waiting does not mend.
    ///
    /// # Errors
    /// That of `work`, or the trouble in the cluster's own words.
    pub async fn unless_stuck<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (pods, deployments, name) = (self.pods.clone(), self.deployments.clone(), self.name.clone());
        tokio::select! {
            done = work(self) => done,
            trouble = pods.trouble() => Err(anyhow::anyhow!("failed to start {name}: {trouble}")),
            failure = refused(&deployments, &name) => Err(anyhow::anyhow!("failed to start {name}: {failure}")),
        }
    }

    /// Waits until all of its pods are of the newest template, and available.
    ///
    /// # Errors
    /// They are not before the deadline.
    pub async fn available(&mut self, deadline: Instant) -> Result<()> {
        let (deployments, name) = (self.deployments.clone(), self.name.clone());
        self.unless_stuck(async |_| {
            let look = async {
                loop {
                    let found = deployments.get(&name).await;
                    if is_complete(&found.map_err(|error| failed("look at a Deployment", &error))?) {
                        return Ok(());
                    }
                    sleep(LOOK_EVERY / 2).await;
                }
            };
            timeout_at(deadline, look).await.with_context(|| format!("failed to see {name} available in time"))?
        })
        .await
    }
}

pub(super) fn is_complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && [status.updated_replicas, status.replicas, status.available_replicas] == [Some(wanted); 3]
    })
}

/// Waits until pods of a Deployment could not be made for a while, and says why: a quota, an admission that rejects, a
/// service account that is not there.
async fn refused(deployments: &Api<Deployment>, name: &str) -> String {
    let mut since = None;
    loop {
        sleep(LOOK_EVERY).await;
        let Ok(deployment) = deployments.get(name).await else { continue };
        match failure(&deployment) {
            None => since = None,
            Some(message) if since.get_or_insert_with(Instant::now).elapsed() >= MENDS_ITSELF => return message,
            Some(_) => {}
        }
    }
}

fn failure(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.iter().flat_map(|status| &status.conditions).flatten();
    let mut failures = conditions.filter(|found| found.type_ == "ReplicaFailure" && found.status == "True");
    let found = failures.next()?;
    let reason = found.reason.as_deref().unwrap_or("ReplicaFailure");
    Some(format!("{reason}: {}", found.message.as_deref().unwrap_or("no message")))
}

#[async_trait(?Send)]
impl Member for DeployedMember {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        match self.rolls {
            true => format!("deployment {}", self.uid),
            false => format!("deployment {}: {}", self.uid, self.pods.identity()),
        }
    }

    fn out(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.out
    }

    fn err(&mut self) -> &mut UnboundedReceiver<Line> {
        &mut self.err
    }

    fn outside(&self) -> Option<&str> {
        None
    }

    /// Removes the Deployment. Its pods get no grace: nothing is asked of them any more, and whoever waits for them waits long.
    async fn stop(&mut self, _grace: Duration) -> Result<()> {
        let background = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..Default::default() };
        match self.deployments.delete(&self.name, &background).await {
            Err(error) if !is_gone(&error) => return Err(failed("remove a Deployment", &error)),
            _ => {}
        }
        // Nobody is left that would make a ReplicaSet anew, and then nobody that would make a pod anew.
        let own = ListParams::default().labels(&self.selector);
        let removed = self.replica_sets.delete_collection(&background, &own).await;
        removed.map_err(|error| failed("remove ReplicaSets", &error))?;
        let at_once = DeleteParams::default().grace_period(0);
        let removed = self.api.delete_collection(&at_once, &own).await;
        removed.map_err(|error| failed("remove pods", &error))?;
        self.watch.abort();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn deployment(status: &Value) -> Deployment {
        let spec = json!({ "replicas": 1, "selector": {}, "template": {} });
        serde_json::from_value(json!({ "metadata": { "generation": 2 }, "spec": spec, "status": status })).unwrap()
    }

    #[rstest]
    #[case::complete(json!({ "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 }), true)]
    #[case::of_the_old(json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 }), false)]
    #[case::two(json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2 }), false)]
    #[case::none(json!({}), false)]
    fn a_rollout_is_complete_when_the_old_pods_are_gone(#[case] status: Value, #[case] complete: bool) {
        assert_eq!(is_complete(&deployment(&status)), complete);
    }

    #[test]
    fn why_no_pod_can_be_made_is_told_in_the_clusters_words() {
        let message =
            "pods \"app\" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
        let condition =
            json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message });
        let failure = failure(&deployment(&json!({ "conditions": [condition] })));
        assert_eq!(failure, Some(format!("FailedCreate: {message}")));
    }
}
