//! The operators: what each needs in a cluster, by what a Deployment rolls, and what it cannot be pointed at.
//!
//! Each fact was read where its source says: the path is one of the named repository on GitHub.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cell::{CandidateId, DeliveryId, Place};
use crate::platform::kubernetes::Kind;
use crate::target::Targets;

/// Where Reloader is described. It adds no kind to a cluster, so it is known by its image.
pub(super) const RELOADER: &str = "stakater/Reloader, README.md";

/// The address that is Doppler's own (DopplerHQ/kubernetes-operator, `api/v1alpha1/dopplersecret_types.go`, `Host`).
const DOPPLER: &str = "https://api.doppler.com";

/// Reloader rolls a Deployment with this annotation when the data of the Secret that it names has changed
/// (stakater/Reloader, README.md, "Named Resource Reload").
const RELOADER_MARK: &str = "secret.reloader.stakater.com/reload";

/// The Doppler operator rolls a Deployment with this annotation (DopplerHQ/kubernetes-operator, README.md, "Automatic
/// Redeployments").
const DOPPLER_MARK: &str = "secrets.doppler.com/reload";

/// What it notes on a Deployment and on its pods: the version of the Secret that they have (the same,
/// `controllers/dopplersecret_controller_deployments.go`).
const DOPPLER_SEEN: &str = "secrets.doppler.com/secretsupdate";

/// What it notes on the Secret: that version (the same, `controllers/dopplersecret_controller_secrets.go`).
const DOPPLER_VERSION: &str = "secrets.doppler.com/version";

/// The 1Password operator rolls a Deployment with this annotation (1Password/onepassword-operator, USAGEGUIDE.md,
/// "Configuring Automatic Rolling Restarts of Deployments").
const ONEPASSWORD_MARK: &str = "operator.1password.io/auto-restart";

/// (external-secrets/external-secrets, apis/externalsecrets/v1).
pub(super) const SECRET_STORE: Kind =
    Kind { version: "external-secrets.io/v1", name: "SecretStore", plural: "secretstores" };

/// (external-secrets/external-secrets, apis/externalsecrets/v1).
pub(super) const EXTERNAL_SECRET: Kind =
    Kind { version: "external-secrets.io/v1", name: "ExternalSecret", plural: "externalsecrets" };

/// (DopplerHQ/kubernetes-operator, config/crd/bases).
pub(super) const DOPPLER_SECRET: Kind =
    Kind { version: "secrets.doppler.com/v1alpha1", name: "DopplerSecret", plural: "dopplersecrets" };

/// (1Password/onepassword-operator, config/crd/bases).
pub(super) const ONEPASSWORD_ITEM: Kind =
    Kind { version: "onepassword.com/v1", name: "OnePasswordItem", plural: "onepassworditems" };

/// (kubernetes-sigs/secrets-store-csi-driver, config/crd/bases).
pub(super) const SECRET_PROVIDER_CLASS: Kind =
    Kind { version: "secrets-store.csi.x-k8s.io/v1", name: "SecretProviderClass", plural: "secretproviderclasses" };

/// By what a Deployment rolls when its Secret has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rolls {
    /// Stakater's Reloader: the operator leaves Deployments alone.
    Reloader,
    /// The Doppler operator itself.
    Doppler,
    /// The 1Password operator itself.
    Onepassword,
}

impl Rolls {
    /// The annotation that a Deployment needs, to roll when this Secret has changed.
    pub(super) fn mark(self, secret: &str) -> (&'static str, String) {
        match self {
            Self::Reloader => (RELOADER_MARK, secret.to_owned()),
            Self::Doppler => (DOPPLER_MARK, "true".to_owned()),
            Self::Onepassword => (ONEPASSWORD_MARK, "true".to_owned()),
        }
    }

    /// What this operator would note on the pods, and on their Deployment, that have the Secret with these annotations:
    /// without it, it would roll a new Deployment at once.
    pub(super) fn seen(self, secret: &str, annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let version = annotations.get(DOPPLER_VERSION).filter(|_| self == Self::Doppler);
        version.into_iter().map(|version| (format!("{DOPPLER_SEEN}.{secret}"), version.clone())).collect()
    }
}

/// An operator, as data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    /// What it is called.
    pub(super) title: &'static str,
    /// The kinds that it adds to a cluster, as far as a delivery takes them; all of one group and version.
    pub(super) kinds: &'static [Kind],
    /// By what the app rolls.
    pub(super) rolls: Rolls,
    /// Whether it reads with the credentials of the container that it reads for; its own, otherwise.
    pub(super) reads_as_reader: bool,
    /// How often it asks the backend, where no object says how often it is to.
    pub(super) asks_every: Option<Duration>,
    /// Where it is described how it comes into a cluster.
    pub(super) source: &'static str,
}

impl Operator {
    /// The group and version of its kinds.
    pub(super) fn version(&self) -> &'static str {
        self.kinds.first().map_or("", |kind| kind.version)
    }

    /// The first of its kinds that is not among the plurals of its group and version.
    pub(super) fn missing(&self, there: &[String]) -> Option<&'static str> {
        self.kinds.iter().map(|kind| kind.plural).find(|plural| !there.iter().any(|found| found == plural))
    }
}

/// The operator of a delivery, if it is by one.
pub(super) fn of(delivery: DeliveryId, candidate: CandidateId) -> Option<Operator> {
    match (delivery, candidate) {
        (DeliveryId::NativeEso, _) => Some(Operator {
            title: "the External Secrets Operator",
            kinds: &[SECRET_STORE, EXTERNAL_SECRET],
            rolls: Rolls::Reloader,
            reads_as_reader: true,
            asks_every: None,
            source: "external-secrets/external-secrets, docs/introduction/getting-started.md",
        }),
        (DeliveryId::NativeCsi, _) => Some(Operator {
            title: "the Secrets Store CSI driver",
            kinds: &[SECRET_PROVIDER_CLASS],
            rolls: Rolls::Reloader,
            reads_as_reader: false,
            // Two minutes by default, and only where rotation was switched on.
            asks_every: Some(Duration::from_secs(120)),
            source: "kubernetes-sigs/secrets-store-csi-driver, docs/book/src/topics/secret-auto-rotation.md",
        }),
        (DeliveryId::NativeOperator, CandidateId::Doppler) => Some(Operator {
            title: "the Doppler operator",
            kinds: &[DOPPLER_SECRET],
            rolls: Rolls::Doppler,
            reads_as_reader: true,
            asks_every: None,
            source: "DopplerHQ/kubernetes-operator, README.md",
        }),
        (DeliveryId::NativeOperator, CandidateId::Onepassword) => Some(Operator {
            title: "the 1Password operator",
            kinds: &[ONEPASSWORD_ITEM],
            rolls: Rolls::Onepassword,
            reads_as_reader: false,
            // `POLLING_INTERVAL` of the operator's own environment, by default 600 s (cmd/main.go).
            asks_every: Some(Duration::from_secs(600)),
            source: "1Password/onepassword-operator, USAGEGUIDE.md",
        }),
        _ => None,
    }
}

/// Why the operator of a place cannot be pointed at the target, or not read as the container that it reads for, and the
/// source of that.
pub(super) fn out_of_reach(place: Place, targets: &Targets) -> Option<(&'static str, &'static str)> {
    use CandidateId::{Aws, Doppler, Onepassword, Vault};
    use DeliveryId::{NativeCsi, NativeEso, NativeOperator};

    let doppler = targets.doppler.as_ref();
    let onepassword = targets.onepassword.as_ref();
    match (place.delivery, place.candidate) {
        (NativeEso, Doppler) if doppler.is_none_or(|it| it.address != DOPPLER || it.ca_file.is_some()) => Some((
            "takes Doppler's address from its own environment (DOPPLER_BASE_URL): no object of a cell points it at any \
             other than Doppler's own",
            "external-secrets/external-secrets, providers/v1/doppler/client.go",
        )),
        (NativeEso, Aws) if targets.aws.as_ref().is_none_or(|it| it.endpoint.is_some()) => Some((
            "takes the endpoint of AWS from its own environment (AWS_SECRETSMANAGER_ENDPOINT): no object of a cell \
             points it at any other than AWS's own",
            "external-secrets/external-secrets, docs/provider/aws-access.md",
        )),
        (NativeEso, Onepassword) if onepassword.is_some_and(|it| it.ca_file.is_some()) => Some((
            "trusts the authorities of its own image alone when it talks to a Connect server, and the target's \
             certificate has another",
            "external-secrets/external-secrets, apis/externalsecrets/v1/secretstore_onepassword_types.go",
        )),
        (NativeOperator, Doppler) if doppler.is_some_and(|it| it.ca_file.is_some()) => Some((
            "trusts the authorities of its own image alone, and the target's certificate has another",
            "DopplerHQ/kubernetes-operator, pkg/api/api.go",
        )),
        (NativeOperator, Onepassword) if onepassword.is_none() => Some((
            "reads from the Connect server of its own environment (OP_CONNECT_HOST), with a token of its own: no \
             object of a cell points it at a stand-in",
            "1Password/onepassword-operator, USAGEGUIDE.md",
        )),
        (NativeCsi, Vault) if targets.vault.is_none() => Some((
            "has a provider for this backend that trusts the authorities in its own pod alone (vaultCACertPath is a \
             path there), and a server of the cell's own has an authority of its own",
            "hashicorp/vault-csi-provider and openbao/openbao-csi-provider, internal/config/config.go",
        )),
        (NativeCsi, Vault) => Some((
            "has a provider for this backend that logs in as the pod's service account alone (Kubernetes or JWT auth), \
             and the target names no mount of such a method for the suite to use",
            "hashicorp/vault-csi-provider and openbao/openbao-csi-provider, internal/auth/kubernetes_jwt.go",
        )),
        (NativeCsi, Aws) => Some((
            "has a provider for this backend that takes on the IAM role of the pod's service account alone (IRSA or \
             EKS Pod Identity), and the readers of this suite have access keys",
            "aws/secrets-store-csi-driver-provider-aws, README.md",
        )),
        _ => None,
    }
}

/// Whether an image is Reloader's: `ghcr.io/stakater/reloader`, or a copy of it under that last name.
pub(super) fn is_reloader(image: &str) -> bool {
    image.rsplit('/').next().is_some_and(|name| name.contains("reloader"))
}
