//! The objects of a cell, as the API takes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use serde_json::{Value, json};

use super::identity::{TOKEN_TTL_S, Token};
use super::images::Image;
use crate::platform::{Program, Workload};

/// Whom containers run as.
const USER: u32 = 65532;

/// How long the probe serves on after SIGTERM, in milliseconds: a node sends it requests for about a second longer, and
/// a busy one for more.
pub const LINGER_MS: u64 = 5000;

/// How long a pod may take to end, in seconds: what it lingers, and its last requests.
const GRACE_S: u64 = 15;

/// The port of the probe, and of its Service.
pub const PORT: u16 = 8080;

/// The label that tells the pods of one Deployment from others.
pub(super) const APP_LABEL: &str = "conformance.app";

/// What is deployed together, as one pod.
#[derive(Debug, Default)]
pub struct Plan {
    /// The name of all its objects.
    pub name: String,
    /// What its service account may do; without any rule it has no token either.
    pub rules: Vec<PolicyRule>,
    /// A token of its service account for somebody else than the API server.
    pub token: Option<Token>,
    /// Files of the platform's folder that its containers see, read-only, at the same path.
    pub files: Vec<PathBuf>,
    /// What runs to its end before the others.
    pub init: Vec<Workload>,
    /// What runs then. They share one view of processes.
    pub containers: Vec<Workload>,
    /// The container that is the app, if one is: it is asked whether it is ready.
    pub app: Option<usize>,
    /// The Secret, and its keys, that the app has in its environment.
    pub env_from: Option<(String, Vec<String>)>,
    /// Annotations of the pod template.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the Deployment itself.
    pub marks: BTreeMap<String, String>,
}

/// The name of a workload's container: the part after the dot of `app.probe`.
pub fn container_name(workload: &Workload) -> String {
    workload.name.rsplit('.').next().unwrap_or(&workload.name).to_owned()
}

/// Labels of every object, and those of the pods.
pub(super) struct Labels {
    pub(super) all: BTreeMap<String, String>,
    pub(super) namespace: String,
}

impl Labels {
    pub(super) fn metadata(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.namespace, "labels": self.all })
    }

    fn of_pods(&self, name: &str) -> BTreeMap<String, String> {
        let own = (APP_LABEL.to_owned(), name.to_owned());
        self.all.clone().into_iter().chain([own]).collect()
    }
}

/// The Secret with the files, by their names; none where there are no files.
pub(super) fn files(labels: &Labels, plan: &Plan) -> Result<Secret> {
    let mut data = BTreeMap::new();
    for path in &plan.files {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        data.insert(name_of(path), text);
    }
    Ok(secret(labels, &files_name(&plan.name), data))
}

/// A Secret with these texts.
pub(super) fn secret(labels: &Labels, name: &str, data: BTreeMap<String, String>) -> Secret {
    let metadata = serde_json::from_value(labels.metadata(name)).unwrap_or_default();
    Secret { metadata, string_data: Some(data), ..Secret::default() }
}

fn files_name(name: &str) -> String {
    format!("{name}-files")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The Deployment: one replica, of which none is ever missing.
pub(super) fn deployment(labels: &Labels, folder: &Path, plan: &Plan, images: &[Image]) -> Result<Deployment> {
    let mut images = images.iter();
    let mut image = || images.next().context("failed to name an image for each container");
    let mut init = Vec::new();
    for workload in &plan.init {
        init.push(of_workload(folder, plan, workload, image()?, false));
    }
    let mut containers = Vec::new();
    for (index, workload) in plan.containers.iter().enumerate() {
        containers.push(of_workload(folder, plan, workload, image()?, plan.app == Some(index)));
    }
    let pod_labels = labels.of_pods(&plan.name);
    let mut volumes = vec![json!({ "name": "work", "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } })];
    if !plan.files.is_empty() {
        let secret = json!({ "secretName": files_name(&plan.name), "defaultMode": 0o440 });
        volumes.push(json!({ "name": "files", "secret": secret }));
    }
    if let Some(token) = &plan.token {
        let token =
            json!({ "audience": token.audience, "expirationSeconds": TOKEN_TTL_S, "path": name_of(&token.file) });
        volumes.push(json!({ "name": "identity", "projected": { "sources": [{ "serviceAccountToken": token }] } }));
    }
    let spec = json!({
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": !plan.rules.is_empty(),
        "enableServiceLinks": false,
        "shareProcessNamespace": plan.containers.len() > 1,
        "terminationGracePeriodSeconds": GRACE_S,
        // What the restricted profile of the pod security standards asks for.
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "initContainers": init,
        "containers": containers,
        "volumes": volumes,
    });
    let mut metadata = labels.metadata(&plan.name);
    metadata["annotations"] = json!(plan.marks);
    let deployment = json!({
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": pod_labels },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": { "labels": pod_labels, "annotations": plan.annotations },
                "spec": spec,
            },
        },
    });
    serde_json::from_value(deployment).context("failed to make a Deployment")
}

fn of_workload(folder: &Path, plan: &Plan, workload: &Workload, image: &Image, is_app: bool) -> Value {
    let folder_text = folder.display().to_string();
    let mut env: Vec<_> = [("HOME", folder_text.as_str()), ("TMPDIR", &folder_text), ("PATH", "/bin")]
        .into_iter()
        .chain(workload.env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    if let Some((secret, keys)) = plan.env_from.as_ref().filter(|_| is_app) {
        env.extend(
            keys.iter()
                .map(|key| json!({ "name": key, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } })),
        );
    }
    let mut mounts = vec![json!({ "name": "work", "mountPath": folder_text })];
    mounts.extend(plan.files.iter().map(|file| {
        json!({ "name": "files", "mountPath": file.display().to_string(), "subPath": name_of(file), "readOnly": true })
    }));
    if let Some(folder) = plan.token.as_ref().filter(|_| !is_app).and_then(|token| token.file.parent()) {
        mounts.push(json!({ "name": "identity", "mountPath": folder.display().to_string(), "readOnly": true }));
    }
    let (requested, limit) = match workload.program {
        Program::Bao => ("96Mi", "512Mi"),
        _ => ("16Mi", "128Mi"),
    };
    let mut container = json!({
        "name": container_name(workload),
        "image": image.name,
        "imagePullPolicy": image.policy,
        "command": [in_image(&workload.program)],
        "args": workload.args,
        "env": env,
        "workingDir": folder_text,
        "volumeMounts": mounts,
        "resources": {
            "requests": { "cpu": "10m", "memory": requested },
            "limits": { "memory": limit },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    });
    if is_app {
        let asked = |path: &str| json!({ "httpGet": { "path": path, "port": PORT }, "periodSeconds": 1 });
        container["ports"] = json!([{ "name": "http", "containerPort": PORT }]);
        container["readinessProbe"] = asked("/readyz");
        container["livenessProbe"] = asked("/healthz");
        container["livenessProbe"]["failureThreshold"] = json!(10);
    }
    container
}

/// Where a program is in its image.
pub(super) fn in_image(program: &Program) -> String {
    match program {
        Program::Probe => "/bin/probe".into(),
        Program::Sidecar => "/bin/sidecar".into(),
        Program::Standin => "/bin/standin".into(),
        Program::Bao => "/bin/bao".into(),
        Program::Other(path) => path.display().to_string(),
    }
}

/// The Service of the app.
pub(super) fn service(labels: &Labels, app: &str) -> Result<Service> {
    let service = json!({
        "metadata": labels.metadata(app),
        "spec": { "selector": labels.of_pods(app), "ports": [{ "name": "http", "port": PORT, "targetPort": PORT }] },
    });
    serde_json::from_value(service).context("failed to make a Service")
}

/// The Role with the rules of a plan, and what binds it to the plan's service account.
pub(super) fn role(labels: &Labels, plan: &Plan) -> Result<(Role, RoleBinding)> {
    let role = json!({ "metadata": labels.metadata(&plan.name), "rules": plan.rules });
    let binding = json!({
        "metadata": labels.metadata(&plan.name),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": plan.name },
        "subjects": [{ "kind": "ServiceAccount", "name": plan.name, "namespace": labels.namespace }],
    });
    let role = serde_json::from_value(role).context("failed to make a Role")?;
    Ok((role, serde_json::from_value(binding).context("failed to make a RoleBinding")?))
}
