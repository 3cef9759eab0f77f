//! The cluster: how it is reached, and whether it may be used.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use pem::Pem;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::source::{CLUSTER, Source};
use crate::error::BadInput;

/// Names the context of the kubeconfig; without it the current one is used.
pub const CONTEXT: &str = "CONFORMANCE_KUBERNETES_CONTEXT";

/// The registry, with a path where it has one, from which the cluster pulls the images; without it they are never pulled.
pub const REGISTRY: &str = "CONFORMANCE_KUBERNETES_REGISTRY";

/// The command that brings an image archive to the cluster; the archive's path is appended.
pub const LOAD: &str = "CONFORMANCE_KUBERNETES_LOAD";

/// The address of this machine as pods see it; without it, the one from which this machine talks to the API server.
pub const HOST: &str = "CONFORMANCE_KUBERNETES_HOST";

/// `yes` to use a cluster that says that it is production.
pub const PRODUCTION: &str = "CONFORMANCE_KUBERNETES_PRODUCTION";

/// `yes` to keep the namespaces of cells that failed.
pub const KEEP: &str = "CONFORMANCE_KUBERNETES_KEEP";

/// Where kubectl and this suite find the contexts.
pub(super) const KUBECONFIG: &str = "KUBECONFIG";

/// Words that name production, alone or with a number.
const PRODUCTION_WORDS: [&str; 4] = ["prod", "production", "prd", "live"];

/// Words that turn the one after them around.
const NEGATIONS: [&str; 4] = ["non", "not", "no", "pre"];

/// How many nodes are looked at for labels.
const NODES: u32 = 20;

/// A cluster that may be used.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to its API server.
    pub client: Client,
    /// The name of the context.
    pub context: String,
    /// Where its API server is.
    pub server: String,
    /// The address of this machine as pods see it.
    pub host: IpAddr,
    /// The same for the same cluster, another for one that was made anew.
    pub fingerprint: String,
    /// The version of its API server.
    pub version: String,
    config: Config,
}

/// How the cluster is chosen, each also by a variable.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// Where the cluster comes from, for the platform `kubernetes` [default: a context where there is a kubeconfig, else
    /// what this machine can make]
    #[arg(long, value_name = "WAY")]
    cluster: Option<Source>,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Keep the namespaces of cells that failed; `cargo conformance reap` removes them
    #[arg(long)]
    keep_failed: bool,
    /// Use a cluster although it says that it is production
    #[arg(long)]
    use_production: bool,
}

/// What was chosen for this process: it goes before what the environment says.
static CHOSEN: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

impl Choice {
    /// Holds for this process from now on.
    pub fn choose(&self) {
        let yes = |flag: bool| flag.then(|| "yes".to_owned());
        let way = self.cluster.and_then(|way| Some(way.to_possible_value()?.get_name().to_owned()));
        let chosen = [
            (CLUSTER, way),
            (CONTEXT, self.context.clone()),
            (KEEP, yes(self.keep_failed)),
            (PRODUCTION, yes(self.use_production)),
        ];
        choose(chosen.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
}

/// Has these variables hold for this process from now on.
pub(super) fn choose(values: impl IntoIterator<Item = (&'static str, String)>) {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).extend(values);
}

/// What was chosen for this process, as variables for processes that it starts.
pub fn chosen() -> Vec<(&'static str, String)> {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A variable's value: the one chosen last, else that of the environment.
pub(super) fn variable(name: &str) -> Option<String> {
    if let Some((_, value)) = chosen().into_iter().rfind(|(chosen, _)| *chosen == name) {
        return Some(value);
    }
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Whether a variable says yes.
pub(super) fn says_yes(name: &str) -> bool {
    variable(name).is_some_and(|text| matches!(text.as_str(), "yes" | "true" | "1"))
}

/// The registry, where one is named.
pub(super) fn registry() -> Option<String> {
    variable(REGISTRY).map(|text| text.trim_end_matches('/').to_owned())
}

/// Where the images of a cluster come from, in words.
pub fn images_from() -> String {
    match (registry(), loader()) {
        (Some(registry), _) => format!("are pulled from {registry}"),
        (None, Some(loader)) => format!("are loaded by `{}`", loader.join(" ")),
        (None, None) => format!("have to be there already: set {LOAD} or {REGISTRY}"),
    }
}

/// The command that loads images, where one is named.
pub(super) fn loader() -> Option<Vec<String>> {
    Some(variable(LOAD)?.split_whitespace().map(ToOwned::to_owned).collect())
}

impl Cluster {
    /// Reaches the cluster of the chosen context, and refuses one that says that it is production.
    ///
    /// # Errors
    /// There is no such context, nobody answers, or the cluster must not be used.
    pub async fn reach() -> Result<Self> {
        let wanted = variable(CONTEXT);
        let (context, config) = configured(wanted.as_deref()).await?;
        let server = config.cluster_url.to_string();
        let place = || format!("Kubernetes context `{context}`");
        // By its names alone before anything is asked of it.
        refuse_production(&context, named(&context))?;
        let client = Client::try_from(config.clone()).map_err(|error| {
            BadInput::new(place(), format!("failed to make a client: {}", reason(&error)), "correct the kubeconfig")
        })?;
        let version = client.apiserver_version().await.map_err(|error| {
            let what = if matches!(error, kube::Error::Api(_)) { "refuses" } else { "does not answer" };
            let remedy = "start that cluster, renew its credentials, or choose another context: --context NAME";
            BadInput::new(place(), format!("{server} {what}: {}", reason(&error)), remedy)
        })?;
        let cluster = Self {
            host: host(&config)?,
            fingerprint: fingerprint(&config),
            version: version.git_version,
            client,
            context,
            server,
            config,
        };
        refuse_production(&cluster.context, cluster.labelled().await)?;
        Ok(cluster)
    }

    /// A client with another bearer token and nothing else of this cluster's user.
    ///
    /// # Errors
    /// No client can be made.
    pub fn with_token(&self, token: SecretString) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo { token: Some(token), ..Default::default() };
        Client::try_from(config).context("failed to make a client for a service account")
    }

    /// The authorities that its API server's certificate is signed by, as PEM; empty where they are public ones.
    pub(super) fn authorities(&self) -> String {
        let certificates = self.config.root_cert.iter().flatten();
        certificates.map(|der| pem::encode(&Pem::new("CERTIFICATE", der.clone()))).collect()
    }

    /// The labels of namespaces and nodes as far as they may be read, each with where it stands.
    async fn labelled(&self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if let Ok(namespace) = namespaces.get("kube-system").await {
            told.extend(labelled("the namespace kube-system", namespace.metadata.labels.unwrap_or_default()));
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        for node in nodes.list(&ListParams::default().limit(NODES)).await.into_iter().flatten() {
            let name = format!("the node {}", node.metadata.name.unwrap_or_default());
            told.extend(labelled(&name, node.metadata.labels.unwrap_or_default()));
        }
        told
    }
}

/// Refuses a cluster of which one of these texts says that it is production, unless the user said that this is wanted.
fn refuse_production(context: &str, told: Vec<(String, String)>) -> Result<(), BadInput> {
    let Some((place, text)) = told.into_iter().find(|(_, text)| says_production(text)) else { return Ok(()) };
    if says_yes(PRODUCTION) {
        return Ok(());
    }
    let remedy = format!("choose a test cluster's context; if this is one: --use-production, or {PRODUCTION}=yes");
    let problem = format!("{place} says `{text}`: this looks like production");
    Err(BadInput::new(format!("Kubernetes context `{context}`"), problem, remedy))
}

/// The context's name and its configuration.
async fn configured(wanted: Option<&str>) -> Result<(String, Config), BadInput> {
    let kubeconfig = kubeconfig().map_err(|error| {
        let remedy = "set KUBECONFIG to the file of a test cluster";
        BadInput::new("KUBECONFIG", format!("failed to read a kubeconfig: {}", reason(&error)), remedy)
    })?;
    let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(context) = wanted.map(ToOwned::to_owned).or_else(|| kubeconfig.current_context.clone()) else {
        let remedy = format!("choose one: --context NAME; there are: {}", known.join(", "));
        return Err(BadInput::new("KUBECONFIG", "it has no current context", remedy));
    };
    if !known.contains(&context) {
        let remedy = format!("choose one that it has: {}", known.join(", "));
        return Err(BadInput::new("KUBECONFIG", format!("it has no context `{context}`"), remedy));
    }
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
        let problem = format!("failed to use it: {}", reason(&error));
        BadInput::new(format!("Kubernetes context `{context}`"), problem, "correct the kubeconfig")
    })?;
    Ok((context, config))
}

/// The kubeconfig of the cluster that was made for this run, else the user's.
fn kubeconfig() -> Result<Kubeconfig, KubeconfigError> {
    match chosen().into_iter().rfind(|(name, _)| *name == KUBECONFIG) {
        Some((_, made)) => Kubeconfig::read_from(made),
        None => Kubeconfig::read(),
    }
}

/// The names that the kubeconfig gives to a context and what belongs to it, each with where it stands.
fn named(context: &str) -> Vec<(String, String)> {
    let kubeconfig = kubeconfig().unwrap_or_default();
    let found = kubeconfig.contexts.into_iter().find(|known| known.name == context).and_then(|known| known.context);
    let mut told = vec![("the context's name".to_owned(), context.to_owned())];
    if let Some(found) = found {
        let server = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == found.cluster);
        let server = server.and_then(|cluster| cluster.cluster?.server);
        told.push(("the cluster's name".to_owned(), found.cluster));
        told.extend(found.user.map(|user| ("the user's name".to_owned(), user)));
        told.extend(server.map(|server| ("the server's address".to_owned(), server)));
    }
    told
}

fn labelled(what: &str, labels: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    labels.into_iter().map(|(label, value)| (format!("the label {label} of {what}"), value)).collect()
}

/// Whether a name or a label's value means production.
fn says_production(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<_> = lower.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    words.iter().enumerate().any(|(index, word)| {
        let word = word.trim_end_matches(|letter: char| letter.is_ascii_digit());
        PRODUCTION_WORDS.contains(&word) && !(index > 0 && NEGATIONS.contains(&words[index - 1]))
    })
}

/// The address from which this machine talks to the API server, unless another is named.
fn host(config: &Config) -> Result<IpAddr> {
    if let Some(text) = variable(HOST) {
        let address = text.parse();
        return address.map_err(|_| {
            BadInput::new(HOST, format!("`{text}` is no IP address"), "give this machine's address as pods see it")
                .into()
        });
    }
    let url = &config.cluster_url;
    let host = url.host().context("failed to find the API server's host")?.trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let ask = || -> std::io::Result<IpAddr> {
        // Nothing is sent: connecting a datagram socket only asks the routing table.
        let server = std::net::ToSocketAddrs::to_socket_addrs(&(host, port))?.next();
        let server = server.ok_or_else(|| std::io::Error::other("its name has no address"))?;
        let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        Ok(socket.local_addr()?.ip())
    };
    ask().with_context(|| format!("failed to find the address from which this machine talks to {host}"))
}

fn fingerprint(config: &Config) -> String {
    let mut digest = Sha256::new();
    digest.update(config.cluster_url.to_string());
    for certificate in config.root_cert.iter().flatten() {
        digest.update(certificate);
    }
    hex::encode(digest.finalize())[..16].to_owned()
}

/// An error of the client with what led to it: the API server's own message where there is one.
pub fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
        return format!("{} ({} {})", status.message, status.code, status.reason);
    }
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        cause = inner.source();
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::says_production;

    #[rstest]
    #[case("prod", true)]
    #[case("eu-prod-1", true)]
    #[case("arn:aws:eks:eu-central-1:123:cluster/Production", true)]
    #[case("https://k8s.prod2.example:6443", true)]
    #[case("shop_live", true)]
    #[case("scratch", false)]
    #[case("staging", false)]
    #[case("non-prod", false)]
    #[case("pre-production", false)]
    #[case("product-catalogue", false)]
    #[case("reproduction", false)]
    #[case("delivery", false)]
    fn production_is_told_by_whole_words(#[case] text: &str, #[case] production: bool) {
        assert_eq!(says_production(text), production);
    }
}
