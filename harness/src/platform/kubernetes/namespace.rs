//! The namespace of a cell, and what is deployed in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use cluster::Component;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Namespace as Object, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, LogParams, PostParams, Preconditions};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::cluster::{Cluster, KEEP, says_yes};
use super::manifest::{self, APP_LABEL, Labels, PORT, Plan};
use super::member::DeployedMember;
use super::pods::{Sink, follow, trouble};
use super::{BOOT_ANNOTATION, OWNER_ANNOTATION, RUN_LABEL, boot, failed, images, is_forbidden, is_gone};
use crate::fault::Faults;
use crate::platform::log::Log;
use crate::platform::{Endpoint, Exposure, Member, Platform, Program, Workload};
use crate::redact::Redactor;
use crate::run::Run;
use crate::tools::Tools;

/// How much of a log, and how many events, stand in the evidence of a cell that failed.
const LAST_LINES: i64 = 10;
const LAST_EVENTS: usize = 40;

/// A namespace with everything in it.
pub struct Namespace {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace's name.
    pub name: String,
    pub(super) uid: String,
    pub(super) labels: Labels,
    tools: Tools,
    folder: PathBuf,
    log: Log,
    /// Service accounts, each with what was declared for it.
    accounts: RefCell<BTreeMap<String, Vec<PolicyRule>>>,
}

impl Namespace {
    /// Makes the namespace of a cell in a cluster, whose containers see `folder` and whose logs go, redacted, to `logs`.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn make(
        cluster: Cluster,
        run: &Run,
        unique: &str,
        folder: &Path,
        logs: &Path,
        redactor: &Redactor,
    ) -> Result<Self> {
        let name = format!("conformance-{}-{unique}", run.id);
        let all = BTreeMap::from([(RUN_LABEL.to_owned(), run.id.clone())]);
        let mut labels = json!(all);
        // Clusters that know the pod security standards hold every pod to them; older ones pass the label over.
        labels["pod-security.kubernetes.io/enforce"] = json!("restricted");
        let annotations = json!({ OWNER_ANNOTATION: run.owner.to_string(), BOOT_ANNOTATION: boot() });
        let object = json!({ "metadata": { "name": name, "labels": labels, "annotations": annotations } });
        let object: Object = serde_json::from_value(object).context("failed to make a namespace")?;
        let namespaces: Api<Object> = Api::all(cluster.client.clone());
        let made = namespaces.create(&PostParams::default(), &object).await;
        let made = made.map_err(|error| failed(&format!("make the namespace {name}"), &error))?;
        let made = Self {
            cluster,
            uid: made.metadata.uid.unwrap_or_default(),
            labels: Labels { all, namespace: name.clone() },
            name,
            tools: run.tools.clone(),
            folder: folder.to_owned(),
            log: Log::new(logs, redactor)?,
            accounts: RefCell::default(),
        };
        made.take_rights().await?;
        Ok(made)
    }

    /// The objects of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Resource<DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Resource<DynamicType = ()>,
        K: Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let created = self.api::<K>().create(&PostParams::default(), object).await;
        let what = || {
            let name = object.meta().name.as_deref().unwrap_or_default();
            format!("make the {} {name}", K::kind(&()))
        };
        created.map_err(|error| failed(&what(), &error))
    }

    /// Makes a Secret.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn secret(&self, name: &str, data: BTreeMap<String, String>) -> Result<Secret> {
        self.create(&manifest::secret(&self.labels, name, data)).await
    }

    /// Makes the service account of a plan, which may do what the plan says.
    pub(super) async fn permit(&self, plan: &Plan) -> Result<()> {
        self.account(&plan.name, &plan.rules).await?;
        if !plan.rules.is_empty() {
            let (role, binding) = manifest::role(&self.labels, plan)?;
            self.create::<Role>(&role).await?;
            self.create::<RoleBinding>(&binding).await?;
        }
        Ok(())
    }

    /// Makes a service account, of which it is declared that it may do this.
    pub(super) async fn account(&self, name: &str, rules: &[PolicyRule]) -> Result<()> {
        let account = json!({ "metadata": { "name": name, "labels": self.labels.all } });
        let account: ServiceAccount = serde_json::from_value(account).context("failed to make a service account")?;
        self.create(&account).await?;
        self.accounts.borrow_mut().insert(name.to_owned(), rules.to_vec());
        Ok(())
    }

    /// Deploys a plan. The lines of the app, or of the only container, are the member's standard output; those of the
    /// container beside it its standard error.
    ///
    /// # Errors
    /// An image cannot be brought, or the API server refuses.
    pub async fn deploy(&self, plan: &Plan) -> Result<DeployedMember> {
        self.permit(plan).await?;
        if !plan.files.is_empty() {
            self.create(&manifest::files(&self.labels, plan)?).await?;
        }
        let mut named = Vec::new();
        for workload in plan.init.iter().chain(&plan.containers) {
            named.push(images::of(&self.cluster, &workload.program, &self.tools).await?);
        }
        let deployment = manifest::deployment(&self.labels, &self.folder, plan, &named)?;
        let deployment = self.create::<Deployment>(&deployment).await?;
        let (said, out) = unbounded_channel();
        let (told, err) = unbounded_channel();
        let mut sinks = Vec::new();
        for (index, workload) in plan.containers.iter().enumerate() {
            let lines = if index == plan.app.unwrap_or(0) { &said } else { &told };
            sinks.push((workload, Some(lines.clone())));
        }
        sinks.extend(plan.init.iter().map(|workload| (workload, None)));
        let sinks = sinks.into_iter().map(|(workload, lines)| Sink {
            container: manifest::container_name(workload),
            lines,
            log: self.log.stream(&workload.name, "log"),
        });
        let selector = format!("{APP_LABEL}={}", plan.name);
        let (pods, watch) = follow(self.api::<Pod>(), &selector, sinks.collect());
        Ok(DeployedMember {
            name: plan.name.clone(),
            uid: deployment.metadata.uid.unwrap_or_default(),
            selector,
            deployments: self.api(),
            replica_sets: self.api::<ReplicaSet>(),
            api: self.api(),
            pods,
            watch,
            out,
            err,
            rolls: false,
        })
    }

    /// Makes the Service of an app, and returns its address in the cluster. Only who asks the app needs one: each costs
    /// kube-proxy, controllers and API server about as much as a pod that becomes ready.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn serve(&self, app: &str) -> Result<String> {
        let service = self.create::<Service>(&manifest::service(&self.labels, app)?).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("failed to find the Service's address")?;
        Ok(format!("http://{address}:{PORT}"))
    }

    /// What the cluster says of this namespace, for the evidence of a cell that failed: pods, events, last lines.
    pub async fn testimony(&self) -> Vec<String> {
        let mut said = Vec::new();
        let pods = self.api::<Pod>();
        match pods.list(&ListParams::default()).await {
            Err(error) => said.push(format!("the pods cannot be listed: {}", super::reason(&error))),
            Ok(found) => {
                for pod in found {
                    let name = pod.metadata.name.clone().unwrap_or_default();
                    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
                    said.push(trouble(&pod).unwrap_or_else(|| format!("pod {name}: {phase}")));
                    for container in pod.spec.into_iter().flat_map(|spec| spec.containers) {
                        let container = Some(container.name);
                        let params = LogParams { container, tail_lines: Some(LAST_LINES), ..LogParams::default() };
                        let lines = pods.logs(&name, &params).await.unwrap_or_default();
                        let container = params.container.unwrap_or_default();
                        said.extend(lines.lines().map(|line| format!("pod {name}, {container}: {line}")));
                    }
                }
            }
        }
        let events = self.api::<Event>().list(&ListParams::default()).await.into_iter().flatten();
        let mut told: Vec<_> = events
            .map(|event| {
                let object = event.involved_object;
                let (kind, name) = (object.kind.unwrap_or_default(), object.name.unwrap_or_default());
                let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
                format!("event {kind} {name}: {reason}: {message}")
            })
            .collect();
        let older = told.len().saturating_sub(LAST_EVENTS);
        said.extend(told.drain(older..));
        said
    }

    /// The service accounts of what was deployed, each with what was declared for it.
    pub(super) fn accounts(&self) -> BTreeMap<String, Vec<PolicyRule>> {
        self.accounts.borrow().clone()
    }

    /// Places where a pod's output held a secret.
    pub fn leaks(&self) -> Vec<String> {
        self.log.leaks()
    }

    /// Whether the namespace of a cell that failed is to be kept.
    pub fn keeps_failed() -> bool {
        says_yes(KEEP)
    }

    /// Has the namespace removed: this very one, not another of its name. The cluster does the rest by itself.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn remove(&self) -> Result<()> {
        remove(&self.cluster.client, &self.name, &self.uid).await
    }
}

/// Has a namespace removed. Pods go first, without grace: the cluster would wait half a minute for each otherwise.
pub(super) async fn remove(client: &kube::Client, name: &str, uid: &str) -> Result<()> {
    let own = ListParams::default();
    let background = DeleteParams::background();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), name);
    let pods: Api<Pod> = Api::namespaced(client.clone(), name);
    let what = format!("remove the namespace {name}");
    for outcome in [
        deployments.delete_collection(&background, &own).await.map(drop),
        replica_sets.delete_collection(&background, &own).await.map(drop),
        pods.delete_collection(&DeleteParams::default().grace_period(0), &own).await.map(drop),
    ] {
        match outcome {
            // Whoever made the namespace was killed before it took the rights to make anything in it.
            Err(error) if is_forbidden(&error) => {}
            outcome => outcome.map_err(|error| failed(&what, &error))?,
        }
    }
    let namespaces: Api<Object> = Api::all(client.clone());
    let this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    match namespaces.delete(name, &DeleteParams::default().preconditions(this)).await {
        Err(error) if !is_gone(&error) => Err(failed(&what, &error)),
        _ => Ok(()),
    }
}

/// The platform as a way sees it: a folder, and pods that are deployed as a whole through the namespace.
pub struct NamespacePlatform {
    pub(super) namespace: Rc<Namespace>,
    folder: PathBuf,
    /// What a fault has ended and nobody started again.
    pub(super) away: Option<Component>,
}

impl NamespacePlatform {
    /// The platform of a cell.
    pub fn new(namespace: Rc<Namespace>) -> Self {
        let folder = namespace.folder.clone();
        Self { namespace, folder, away: None }
    }
}

#[async_trait(?Send)]
impl Platform for NamespacePlatform {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, program: &Program) -> PathBuf {
        manifest::in_image(program).into()
    }

    fn endpoint(&mut self, name: &str, _port: u16) -> Result<Endpoint> {
        bail!("failed to place {name}: pods are found through the Service of their Deployment")
    }

    /// Deploys a workload alone in a pod, with all files of the folder.
    async fn start(&mut self, workload: Workload) -> Result<Box<dyn Member>> {
        let files = crate::files::below(&self.folder);
        let name = workload.name.replace('.', "-");
        let plan = Plan { name, files, containers: vec![workload], ..Plan::default() };
        Ok(Box::new(self.namespace.deploy(&plan).await?))
    }

    async fn exposed(&self) -> Result<Vec<Exposure>> {
        // What the API server shows is looked at by a check of its own: `cluster.secret-not-in-spec`.
        Ok(Vec::new())
    }

    fn leaks(&self) -> Vec<String> {
        self.namespace.leaks()
    }

    fn faults(&mut self) -> Option<&mut dyn Faults> {
        Some(self)
    }

    async fn end(&mut self) -> Result<()> {
        self.mend().await
    }
}
