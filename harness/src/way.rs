//! The way of one cell, as a check walks it: provision, deploy, observe, rotate, observe, read the audit log.
//!
//! A check sees only this; vendors, platforms and deliveries stay behind it.

mod audit;
mod cluster;
mod faults;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use probe::observation::RunKey;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::candidate::{self, Access, Candidate, Capability, Gap, PROBED_NAME, Reader, Setup, Written};
use crate::cell::{Cell, DeliveryId, Environment, PlatformId};
use crate::check;
use crate::delivery::{self, Delivery, Deployment, Scene};
use crate::evidence::{Record, Sample, millis};
use crate::files::{PrivateFolder, write_private};
use crate::observations::{Awaited, Values, digests};
use crate::platform::docker::{DockerPlatform, Network};
pub use crate::platform::kubernetes::Rights;
use crate::platform::kubernetes::{Cluster, Namespace, NamespacePlatform, Outside};
use crate::platform::process::ProcessPlatform;
use crate::platform::{Exposure, Platform};
use crate::random;
use crate::redact::Redactor;
use crate::run::Run;
use crate::verdict::{Patience, Sla};

/// The environment that a check uses when it needs only one.
pub const HOME: Environment = Environment::Dev;

/// The container that a check deploys when it needs only one.
pub const CONTAINER: &str = "app";

/// The value of the proof of concept.
pub const HELLO: &str = "hello";

/// A deployment stands in a fraction of a second, in a cluster in a few; this is for a machine in trouble.
const DEPLOY_LIMIT: Duration = Duration::from_secs(60);

/// The part of the cell's folder that containers see.
const APP: &str = "app";

/// The stream of a container that was stopped ends at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A deployed container of this cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct App(usize);

/// A rotation, and when its value was observed.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The write.
    pub written: Written,
    /// Index of the observation that showed the value, and when it was recorded; none if patience ran out.
    pub seen: Option<(usize, Instant)>,
}

/// Puts something between the check and the backend.
pub type Wrap = Box<dyn FnOnce(Box<dyn Candidate>) -> Box<dyn Candidate>>;

/// Makes a delivery for a namespace.
pub type Deploys = Box<dyn FnOnce(&Rc<Namespace>) -> Box<dyn Delivery>>;

/// What a saboteur puts in the way; an honest run puts nothing there.
#[derive(Default)]
pub struct Sabotage {
    /// Stands between the check and the backend.
    pub candidate: Option<Wrap>,
    /// Stands in for the delivery.
    pub delivery: Option<Box<dyn Delivery>>,
    /// Stands in for the delivery, in the namespace of the cell.
    pub namespaced: Option<Deploys>,
    /// Judges another claim.
    pub limits: Option<(Sla, Patience)>,
}

struct Container {
    reader: Reader,
    deployment: Deployment,
}

/// See the module.
pub struct Way {
    /// The claim.
    pub sla: Sla,
    /// How long to look.
    pub patience: Patience,
    /// The delivery under test.
    pub delivery_id: DeliveryId,
    /// What is known of the secrets of this cell.
    pub redactor: Redactor,
    /// What the cell has seen.
    pub record: Record,
    candidate: Box<dyn Candidate>,
    platform: Box<dyn Platform>,
    delivery: Box<dyn Delivery>,
    containers: Vec<Container>,
    run: Run,
    network: Option<Rc<Network>>,
    namespace: Option<Rc<Namespace>>,
    keep: bool,
    folder: PrivateFolder,
    logs: PathBuf,
    key: RunKey,
    key_file: PathBuf,
    marker: String,
}

impl Way {
    /// Sets out: starts or reaches the backend of the cell. Nothing is provisioned yet.
    ///
    /// # Errors
    /// The backend does not start, or the target cannot be used.
    pub async fn begin(run: &Run, cell: &Cell, sabotage: Sabotage) -> Result<Self> {
        let unique = random::hex(3)?;
        let folder = PrivateFolder::new(&run.id, run.owner, &unique)?;
        let logs = run.logs_folder().join(match &sabotage {
            Sabotage { candidate: None, delivery: None, namespaced: None, limits: None } => cell.file_stem(),
            _ => format!("sabotage.{}.{unique}", cell.file_stem()),
        });
        let redactor = Redactor::default();
        let targets = run.targets()?;
        let (sla, patience) = sabotage.limits.unwrap_or((targets.sla, targets.patience));
        let network = match cell.place.platform {
            PlatformId::Process | PlatformId::Kubernetes => None,
            PlatformId::Docker => Some(Rc::new(Network::make(run, &unique).await?)),
        };
        let cluster = match cell.place.platform {
            PlatformId::Process | PlatformId::Docker => None,
            PlatformId::Kubernetes => Some(Cluster::reach().await?),
        };
        let lay = |name: &str| -> Result<Box<dyn Platform>> {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).with_context(|| format!("failed to make {}", own.display()))?;
            if let Some(network) = &network {
                return Ok(Box::new(DockerPlatform::new(&own, &logs, run, &redactor, Rc::clone(network))?));
            }
            let processes = ProcessPlatform::new(&own, &logs, run, &redactor)?;
            Ok(match &cluster {
                None => Box::new(processes),
                Some(cluster) => Box::new(Outside::new(processes, cluster.host)),
            })
        };
        let app = lay(APP)?;
        // An entry of the backend's log can be tied to this very cell.
        let user_agent = format!("secrets-conformance/{} ({cell}; {}-{unique})", env!("CARGO_PKG_VERSION"), run.id);
        let setup = Setup {
            targets: &targets,
            scope: format!("conformance-{}-{unique}", run.id),
            platform: lay("backend")?,
            tools: &run.tools,
            redactor: &redactor,
            durable: check::by_id(&cell.check).is_some_and(|it| it.about().needs.contains(&Capability::KeepsState)),
            user_agent,
        };
        let candidate = candidate::open(cell.place.candidate, setup).await?;
        let (platform, namespace): (Box<dyn Platform>, _) = match cluster {
            None => (app, None),
            Some(cluster) => {
                // Last, and with it everything that the cluster holds of this cell.
                let namespace = Rc::new(Namespace::make(cluster, run, &unique, app.folder(), &logs, &redactor).await?);
                (Box::new(NamespacePlatform::new(Rc::clone(&namespace))), Some(namespace))
            }
        };
        let key_text = random::token(32)?;
        let key_file = platform.folder().join("digest.key");
        write_private(&key_file, key_text.expose_secret())?;
        let key = RunKey::from_file(&key_file)?;
        let marker = format!("canary-{}-{unique}", run.id);
        redactor.learn(&marker.clone().into());
        Ok(Self {
            sla,
            patience,
            delivery_id: cell.place.delivery,
            record: Record { versions: candidate.versions(), ..Record::default() },
            candidate: match sabotage.candidate {
                Some(wrap) => wrap(candidate),
                None => candidate,
            },
            platform,
            delivery: match (sabotage.delivery, &namespace, sabotage.namespaced) {
                (Some(delivery), _, _) => delivery,
                (None, None, _) => delivery::by_id(cell.place.delivery)?,
                (None, Some(namespace), None) => delivery::kubernetes::by_id(namespace, cell.place.delivery)?,
                (None, Some(namespace), Some(deploys)) => deploys(namespace),
            },
            containers: Vec::new(),
            run: run.clone(),
            network,
            namespace,
            keep: false,
            redactor,
            folder,
            logs,
            key,
            key_file,
            marker,
        })
    }

    /// The gap where the candidate should have a capability, if it has none.
    pub fn gap(&self, capability: Capability) -> Option<Gap> {
        self.candidate.gap(capability)
    }

    /// What every secret value of this cell begins with, but for `hello`: where it turns up, something leaked.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// A value that nobody has used before.
    ///
    /// # Errors
    /// The kernel's random generator cannot be read.
    pub fn fresh_value(&self) -> Result<SecretString> {
        Ok(format!("{}-{}", self.marker, random::hex(16)?).into())
    }

    /// A secret with one fresh value of `POC_TEST_VALUE`.
    ///
    /// # Errors
    /// See [`Self::fresh_value`].
    pub fn fresh_values(&self) -> Result<Values> {
        Ok(probed(self.fresh_value()?))
    }

    /// The proof of concept up to its rotation: provisions `hello`, deploys the probe, looks until it shows. Returns the
    /// index of the observation that did, if one did.
    ///
    /// # Errors
    /// The suite or the backend broke; a value that does not come is no error.
    pub async fn hello(&mut self) -> Result<(App, Option<usize>)> {
        let hello = probed(HELLO.into());
        self.provision(&hello).await?;
        let app = self.deploy(&probed_names()).await?;
        let seen = self.observe(app, &hello).await?;
        Ok((app, seen.map(|(index, _)| index)))
    }

    /// Brings the backend from empty to holding these values in the home environment, by API only.
    ///
    /// # Errors
    /// The suite or the backend broke.
    pub async fn provision(&mut self, values: &Values) -> Result<Written> {
        self.provision_each(&BTreeMap::from([(HOME, values.clone())])).await?.remove(&HOME).context("nothing written")
    }

    /// The same, with values for several environments.
    ///
    /// # Errors
    /// The suite or the backend broke.
    pub async fn provision_each(
        &mut self,
        values: &BTreeMap<Environment, Values>,
    ) -> Result<BTreeMap<Environment, Written>> {
        let provisioned = self.candidate.provision().await;
        self.record.steps = self.candidate.steps();
        provisioned.context("failed to provision")?;
        let mut written = BTreeMap::new();
        for (environment, values) in values {
            written.insert(*environment, self.write(*environment, values).await?);
        }
        self.record.steps = self.candidate.steps();
        Ok(written)
    }

    /// Writes values without waiting for anybody to see them.
    ///
    /// # Errors
    /// The backend broke.
    pub async fn write(&mut self, environment: Environment, values: &Values) -> Result<Written> {
        // Everybody knows the value of the proof of concept; taking it out would only make records hard to read.
        for value in values.values().filter(|value| value.expose_secret() != HELLO) {
            self.redactor.learn(value);
        }
        let written = self.candidate.write(environment, values).await.context("failed to write to the backend")?;
        tracing::info!(%environment, version = written.version, names = values.len(), "wrote the secret");
        Ok(written)
    }

    /// Deploys the probe to the home environment, to read these names.
    ///
    /// # Errors
    /// The delivery does not stand in time.
    pub async fn deploy(&mut self, names: &[String]) -> Result<App> {
        self.deploy_to(HOME, CONTAINER, names).await
    }

    /// Deploys the probe as a container of its own.
    ///
    /// # Errors
    /// The delivery does not stand in time.
    pub async fn deploy_to(&mut self, environment: Environment, container: &str, names: &[String]) -> Result<App> {
        let reader = self.reader(environment, container).await?;
        let mut scene = Scene {
            platform: self.platform.as_mut(),
            candidate: self.candidate.as_mut(),
            reader: &reader,
            names,
            tools: &self.run.tools,
            key_file: &self.key_file,
            deadline: Instant::now() + DEPLOY_LIMIT,
        };
        let deployment = self.delivery.deploy(&mut scene).await.context("failed to deploy the probe")?;
        self.record.steps = self.candidate.steps();
        tracing::info!(container, %environment, identity = deployment.identity(), "deployed the probe");
        self.record.trigger = deployment.trigger;
        self.containers.push(Container { reader, deployment });
        Ok(App(self.containers.len() - 1))
    }

    /// A container's identity, without a container.
    ///
    /// # Errors
    /// The backend broke.
    pub async fn reader(&mut self, environment: Environment, container: &str) -> Result<Reader> {
        let folder = self.platform.folder().to_owned();
        self.candidate.reader(environment, container, &folder).await.context("failed to make a reader")
    }

    /// Looks until the container shows exactly these values, or patience runs out.
    ///
    /// # Errors
    /// The stream of observations ended, though nothing of the vendor's stands between it and the probe.
    pub async fn observe(&mut self, app: App, values: &Values) -> Result<Option<(usize, Instant)>> {
        self.observe_from(app, 0, values, Instant::now() + self.patience.0).await
    }

    async fn observe_from(
        &mut self,
        app: App,
        from: usize,
        values: &Values,
        deadline: Instant,
    ) -> Result<Option<(usize, Instant)>> {
        let expected = digests(&self.key, values);
        let container = &mut self.containers[app.0];
        let observations = &mut container.deployment.observations;
        let awaited = observations
            .wait(from, deadline, |recorded| {
                expected.iter().all(|(name, digest)| recorded.digest(name) == Some(digest.as_str()))
            })
            .await;
        match awaited {
            Awaited::Seen(index) => Ok(Some((index, observations.seen()[index].at))),
            Awaited::Late => Ok(None),
            // The vendor's agent is the probe's parent: when it gives up, the value never arrives, and that is its doing.
            Awaited::Ended if self.delivery_id == DeliveryId::NativeExec => Ok(None),
            Awaited::Ended => bail!("failed to observe {}: it ended; see its logs", container.reader.container),
        }
    }

    /// Rotates the home environment to these values and looks until the container shows them.
    ///
    /// # Errors
    /// The suite or the backend broke; a value that does not come is no error.
    pub async fn rotate(&mut self, app: App, values: &Values) -> Result<Rotation> {
        let from = self.containers[app.0].deployment.observations.drain().len();
        let written = self.write(HOME, values).await?;
        // A pushed trigger can be faster than the acknowledgement: the look begins where the stream stood before.
        let seen = self.observe_from(app, from, values, written.sent + self.patience.0).await?;
        let observed = seen.map(|(_, at)| at - written.sent);
        self.record.samples.push(Sample {
            version: written.version,
            acknowledged_ms: millis(written.acknowledged - written.sent),
            observed_ms: observed.map(millis),
        });
        let unavoidable = self.containers[app.0].deployment.unavoidable;
        self.waited(unavoidable.min(observed.unwrap_or(self.patience.0)));
        Ok(Rotation { written, seen })
    }

    /// Books time that no code of ours can shorten.
    pub fn waited(&mut self, span: Duration) {
        self.record.unavoidable_ms += millis(span);
    }

    /// Looks, for as long as the SLA lasts, whether any of the container's observations shows these values.
    ///
    /// # Errors
    /// The stream of observations ended.
    pub async fn observe_within_sla(
        &mut self,
        app: App,
        values: &Values,
        since: Instant,
    ) -> Result<Option<(usize, Instant)>> {
        self.observe_from(app, 0, values, since + self.sla.0).await
    }

    /// The container's deployment.
    pub fn deployment(&mut self, app: App) -> &mut Deployment {
        &mut self.containers[app.0].deployment
    }

    /// The digest under which a value shows.
    pub fn digest(&self, value: &SecretString) -> String {
        self.key.digest(value.expose_secret().as_bytes())
    }

    /// Tries to read an environment with an identity.
    ///
    /// # Errors
    /// The backend broke; a refusal is no error.
    pub async fn try_read(&mut self, reader: &Reader, environment: Environment) -> Result<(Access, Values)> {
        self.candidate.read(reader, environment).await
    }

    /// Tries to write in an environment with an identity.
    ///
    /// # Errors
    /// The backend broke; a refusal is no error.
    pub async fn try_write(&mut self, reader: &Reader, environment: Environment) -> Result<Access> {
        self.candidate.try_write(reader, environment).await
    }

    /// Why a container's trigger was lost on the way, if one was.
    pub fn lost_trigger(&mut self) -> Option<String> {
        self.containers.iter_mut().find_map(|container| {
            let reason = container.deployment.lost_trigger()?;
            Some(format!(
                "the trigger of {} was lost, and its sidecar asked instead: {reason}",
                container.reader.container
            ))
        })
    }

    /// Stops every container, and keeps what they said.
    ///
    /// # Errors
    /// One cannot be stopped.
    pub async fn stop_containers(&mut self) -> Result<()> {
        for Container { reader, deployment } in &mut self.containers {
            deployment.stop().await?;
            let seen = deployment.observations.rest(LAST_WORDS).await;
            let said = seen.iter().map(|recorded| recorded.observation.clone()).collect();
            self.record.observations.insert(reader.container.clone(), said);
        }
        Ok(())
    }

    /// Places in anybody's output that held a secret.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = self.platform.leaks();
        leaks.extend(self.candidate.leaks());
        leaks
    }

    /// Places where the platform itself shows a secret of this cell.
    ///
    /// # Errors
    /// The platform does not answer.
    pub async fn exposed(&self) -> Result<Vec<Exposure>> {
        self.platform.exposed().await.context("failed to look at what the platform shows")
    }

    /// The folder that the containers share, and the folder of the cell's logs.
    pub fn folders(&self) -> (PathBuf, PathBuf) {
        (self.platform.folder().to_owned(), self.logs.clone())
    }

    /// Keeps what the platform says of a cell that failed, and the cell's namespace where somebody wants to look at it.
    pub async fn testify(&mut self) {
        if let Some(namespace) = &self.namespace {
            self.record.notes.extend(namespace.testimony().await);
            if Namespace::keeps_failed() {
                self.keep = true;
                self.record.notes.push(format!("kept: the namespace {}", namespace.name));
            }
        }
    }

    /// The way back: stops everything, removes what the cell made, and its private folder.
    ///
    /// # Errors
    /// Something is left behind; the error says what.
    pub async fn end(&mut self) -> Result<()> {
        let stopped = if self.keep { Ok(()) } else { self.stop_containers().await };
        let removed = self.platform.end().await.and(self.candidate.remove().await);
        // What was logged is in the files from here on; whether it leaked is for the check to say that asks.
        self.leaks();
        let unlinked = match &self.network {
            Some(network) => network.remove().await,
            None => Ok(()),
        };
        let cleared = match &self.namespace {
            Some(_) if self.keep => Ok(()),
            Some(namespace) => namespace.remove().await,
            None => Ok(()),
        };
        stopped.and(removed).and(unlinked).and(cleared).and(self.folder.remove()).context("failed to clean up")
    }
}

/// A secret with one value of `POC_TEST_VALUE`.
pub fn probed(value: SecretString) -> Values {
    Values::from([(PROBED_NAME.to_owned(), value)])
}

/// The names that the probe reads when a check needs only one.
pub fn probed_names() -> Vec<String> {
    vec![PROBED_NAME.to_owned()]
}
