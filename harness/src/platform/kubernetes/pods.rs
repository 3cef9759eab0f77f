//! The pods of a Deployment: watched, and their logs followed from the moment that a container runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::LogParams;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::resume::{Resume, stamped};
use crate::platform::Line;
use crate::platform::log::LogStream;

/// Between two attempts at a log that broke off. The kubelet says that a container has ended up to a second after its log
/// did, and a log that ended can be read again at once.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Reasons for which a container does not start, and which waiting does not mend.
const STUCK: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// What a kubelet says while it waits for the API server to let it read a Secret, which mends itself.
const WAITS: &str = "failed to sync secret cache";

/// Where the lines of a container go.
pub(super) struct Sink {
    /// Its name in the pod.
    pub(super) container: String,
    /// Whoever follows it; nobody for one that is only logged.
    pub(super) lines: Option<UnboundedSender<Line>>,
    /// The log of the cell.
    pub(super) log: LogStream,
}

/// The pods as they were seen last, by their UID.
#[derive(Clone)]
pub(super) struct Pods {
    seen: Arc<Mutex<BTreeMap<String, Pod>>>,
    changed: watch::Receiver<()>,
}

impl Pods {
    /// What there is of them now.
    pub(super) fn now(&self) -> Vec<Pod> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// UIDs of the pods that are not about to go, with how often their containers were started anew.
    pub(super) fn identity(&self) -> String {
        let pods = self.now();
        let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let each = staying.map(|pod| {
            let restarts: i32 = statuses(pod).iter().map(|status| status.restart_count).sum();
            format!("pod {} restarted {restarts} times", pod.metadata.uid.as_deref().unwrap_or_default())
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// Waits until a pod is in a trouble that waiting does not mend, and says which.
    pub(super) async fn trouble(&self) -> String {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Some(trouble) = self.now().iter().find_map(trouble) {
                return trouble;
            }
            if changed.changed().await.is_err() {
                // Nobody watches any more: nothing will be known.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn statuses(pod: &Pod) -> Vec<&ContainerStatus> {
    let Some(status) = &pod.status else { return Vec::new() };
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten().collect()
}

/// What keeps a pod from running, in the API server's own words.
pub(super) fn trouble(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let told = |what: &str, reason: &str, message: &str| {
        let message = if message.is_empty() { "no message" } else { message };
        Some(format!("pod {name}{what}: {reason}: {message}"))
    };
    for status in statuses(pod) {
        let what = format!(", container {}", status.name);
        let state = status.state.as_ref();
        if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            if STUCK.contains(&reason) && !message.contains(WAITS) {
                return told(&what, reason, message);
            }
        }
        if let Some(ended) = state.and_then(|state| state.terminated.as_ref()).filter(|ended| ended.exit_code != 0) {
            let reason = ended.reason.as_deref().unwrap_or("Error");
            let code = format!("it ended with exit code {}", ended.exit_code);
            return told(&what, reason, ended.message.as_deref().unwrap_or(&code));
        }
    }
    let status = pod.status.as_ref()?;
    if let Some(reason) = status.reason.as_deref().filter(|_| status.phase.as_deref() == Some("Failed")) {
        return told("", reason, status.message.as_deref().unwrap_or_default());
    }
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let mut unscheduled = unscheduled.filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
    let condition = unscheduled.next()?;
    told("", "Unschedulable", condition.message.as_deref().unwrap_or_default())
}

/// Watches the pods of this selector and follows these containers of each, until the returned task is ended.
pub(super) fn follow(api: Api<Pod>, selector: &str, sinks: Vec<Sink>) -> (Pods, tokio::task::JoinHandle<()>) {
    let (tell, changed) = watch::channel(());
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let pods = Pods { seen: Arc::clone(&seen), changed: changed.clone() };
    let config = watcher::Config::default().labels(selector);
    let task = tokio::spawn(async move {
        let sinks: Vec<_> = sinks.into_iter().map(Arc::new).collect();
        let mut stream = watcher(api.clone(), config).default_backoff().boxed();
        // Ended with this task: they hold what the lines are sent by.
        let mut followers = JoinSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    let Some(uid) = pod.metadata.uid.clone() else { continue };
                    let is_new = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), pod).is_none();
                    for sink in sinks.iter().filter(|_| is_new) {
                        let follower = Follower {
                            api: api.clone(),
                            uid: uid.clone(),
                            seen: Arc::clone(&seen),
                            changed: changed.clone(),
                            sink: Arc::clone(sink),
                        };
                        followers.spawn(follower.run());
                    }
                }
                Ok(watcher::Event::Delete(pod)) => {
                    let uid = pod.metadata.uid.unwrap_or_default();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "the watch of pods broke off, and is taken up again"),
            }
            tell.send_replace(());
        }
    });
    (pods, task)
}

/// Follows one container of one pod.
struct Follower {
    api: Api<Pod>,
    uid: String,
    seen: Arc<Mutex<BTreeMap<String, Pod>>>,
    changed: watch::Receiver<()>,
    sink: Arc<Sink>,
}

/// What is known of a container.
struct Known {
    pod: String,
    /// Its id at the runtime, once there is one.
    id: Option<String>,
    /// Whether it has run: there is a log to read.
    has_run: bool,
    ended: bool,
}

impl Follower {
    fn known(&self) -> Option<Known> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = seen.get(&self.uid)?;
        let status = statuses(pod).into_iter().find(|status| status.name == self.sink.container);
        let state = status.and_then(|status| status.state.as_ref());
        let ended = state.is_some_and(|state| state.terminated.is_some());
        Some(Known {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            id: status.and_then(|status| status.container_id.clone()),
            has_run: ended || state.is_some_and(|state| state.running.is_some()),
            ended,
        })
    }

    /// Reads until the pod is gone: whatever the container says, and whatever it says after it was started anew.
    async fn run(mut self) {
        let (mut resume, mut read) = (Resume::default(), None);
        loop {
            self.changed.mark_unchanged();
            let Some(known) = self.known() else { return };
            // The log of a container that ended has been read to its end.
            if known.has_run && read != known.id {
                let complete = self.read(&known.pod, &mut resume).await;
                if complete && known.ended {
                    read = known.id;
                    continue;
                }
                sleep(RECONNECT_PAUSE).await;
            } else if self.changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reads on from where the log was left. Returns whether it was read to its end.
    async fn read(&self, pod: &str, resume: &mut Resume) -> bool {
        let params = LogParams {
            container: Some(self.sink.container.clone()),
            follow: true,
            timestamps: true,
            since_time: resume.since(),
            ..LogParams::default()
        };
        resume.reconnected();
        let mut stream = match self.api.log_stream(pod, &params).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, pod, "the log cannot be read yet, or not any more");
                return false;
            }
        };
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match stream.read_until(b'\n', &mut bytes).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, pod, "the log broke off, and is taken up again");
                    return false;
                }
            }
            // Before anything else: the latency ends when the line is here.
            let arrived = Instant::now();
            // A line that was cut off comes again, whole.
            if bytes.last() != Some(&b'\n') {
                return false;
            }
            let text = String::from_utf8_lossy(&bytes);
            let Some((at, text)) = stamped(text.trim_end_matches('\n')) else { continue };
            if resume.is_new(at) {
                if let Some(lines) = &self.sink.lines {
                    // The listener may have gone; the log is kept all the same.
                    let _ = lines.send(Line { at: arrived, text: text.to_owned() });
                }
                self.sink.log.write(text.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "app-1" }, "status": status })).unwrap()
    }

    fn container(state: &Value) -> Value {
        json!({ "containerStatuses": [
            { "name": "probe", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state },
        ] })
    }

    #[rstest]
    #[case::image(
        container(&json!({ "waiting": { "reason": "ErrImageNeverPull", "message": "Container image is not present" } })),
        Some("pod app-1, container probe: ErrImageNeverPull: Container image is not present")
    )]
    #[case::no_message(
        container(&json!({ "waiting": { "reason": "CrashLoopBackOff" } })),
        Some("pod app-1, container probe: CrashLoopBackOff: no message")
    )]
    #[case::ended(
        container(&json!({ "terminated": { "reason": "Error", "exitCode": 2 } })),
        Some("pod app-1, container probe: Error: it ended with exit code 2")
    )]
    #[case::done(container(&json!({ "terminated": { "reason": "Completed", "exitCode": 0 } })), None)]
    #[case::starting(container(&json!({ "waiting": { "reason": "ContainerCreating" } })), None)]
    #[case::running(container(&json!({ "running": {} })), None)]
    #[case::unscheduled(
        json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 node(s) had taint {node.kubernetes.io/not-ready: }" }] }),
        Some("pod app-1: Unschedulable: 0/1 nodes are available: 1 node(s) had taint {node.kubernetes.io/not-ready: }")
    )]
    #[case::evicted(
        json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory" }),
        Some("pod app-1: Evicted: The node was low on resource: memory")
    )]
    #[case::nothing_known(json!({}), None)]
    fn what_waiting_does_not_mend_is_told_in_the_clusters_words(#[case] status: Value, #[case] told: Option<&str>) {
        assert_eq!(trouble(&pod(&status)).as_deref(), told);
    }
}
