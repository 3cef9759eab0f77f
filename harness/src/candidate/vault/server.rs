//! An OpenBao server of the cell's own: TLS on loopback, not in dev mode, audited to a file and to the notifier.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sidecar::config::{IngestConfig, PushConfig, VaultIngest};
use tokio::time::Instant;

use super::{AUDIT_DEVICE, DIALECT};
use crate::candidate::api::{Api, ApiError, text};
use crate::candidate::notifier::Notifier;
use crate::files::write_private;
use crate::net;
use crate::platform::{Endpoint, Member, Platform, Program, Workload, line};
use crate::random;
use crate::ready;
use crate::tools::{Audits, Bao};

/// OpenBao answers in a quarter of a second; a loaded machine gets a hundred times that.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The port of the API where a platform lets the server choose: OpenBao's own default.
const PORT: u16 = 8200;

/// A running server and its notifier.
pub(super) struct Server {
    platform: Box<dyn Platform>,
    bao: Box<dyn Member>,
    notifier: Notifier,
    /// Where the API is for members of the cell.
    pub(super) inside: String,
    /// Where it is for the harness.
    pub(super) outside: String,
    /// The CA that signed its certificate.
    pub(super) ca_file: PathBuf,
    /// How it is told to keep an audit log.
    pub(super) audits: Audits,
    /// The file that its audit device writes.
    pub(super) audit_file: PathBuf,
    /// What opens it after a start, once it is initialised.
    unseal_key: Option<SecretString>,
}

impl Server {
    /// Starts the notifier, then the server, which tells it of every request.
    pub(super) async fn start(mut platform: Box<dyn Platform>, bao: &Bao, durable: bool) -> Result<Self> {
        let folder = platform.folder().to_owned();
        let ca_file = folder.join("ca.pem");
        let ingest_token_file = folder.join("ingest.token");
        let ingest_token = random::token(32)?;
        write_private(&ingest_token_file, ingest_token.expose_secret())?;
        let ingest = IngestConfig::Vault(VaultIngest { token_file: ingest_token_file });
        let notifier = Notifier::start(platform.as_mut(), ingest).await?;
        let endpoint = platform.endpoint("openbao", PORT)?;
        certificates(&endpoint, &folder)?;
        let audit_file = folder.join("audit.log");
        let bearer = folder.join("ingest.header");
        write_private(&bearer, &format!("Bearer {}", ingest_token.expose_secret()))?;
        let config_file = folder.join("server.hcl");
        write_private(
            &config_file,
            &config(&folder, endpoint.listen, durable, bao.audits(), &audit_file, &notifier.address, &bearer),
        )?;
        let mut member = platform
            .start(Workload {
                name: "openbao".into(),
                program: Program::Bao,
                endpoint: Some(endpoint.clone()),
                args: vec!["server".into(), format!("-config={}", config_file.display())],
                ..Workload::default()
            })
            .await?;
        let outside = format!("https://{}", member.outside().context("failed to find where OpenBao listens")?);
        let api = Api::new(&DIALECT, &outside, Some(&fs::read(&ca_file)?), "secrets-conformance")?;
        let answers = ready::until("OpenBao to answer", START_LIMIT, async || match api.get("sys/init").await {
            Ok(_) => Ok(Some(())),
            // Before the server listens, what publishes its port takes the connection and drops it.
            Err(ApiError::Refused { .. } | ApiError::Tls { .. } | ApiError::Transport { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        });
        let deadline = Instant::now() + START_LIMIT;
        // A server that rejects its configuration ends at once: say what it said, do not wait for it to answer.
        tokio::select! {
            answered = answers => answered?,
            ended = line(member.as_mut(), "OpenBao running", deadline, |_| None::<()>) => ended?,
        }
        let inside = format!("https://{}", endpoint.inside);
        let audits = bao.audits();
        let unseal_key = None;
        Ok(Self { platform, bao: member, notifier, inside, outside, ca_file, audits, audit_file, unseal_key })
    }

    /// Initialises and unseals by API; returns the root token.
    pub(super) async fn initialise(&mut self, api: &Api) -> Result<SecretString> {
        let keys = api.post("sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 })).await?.body;
        let root = SecretString::from(text(&keys, "/root_token")?);
        self.unseal_key = Some(text(&keys, "/keys/0")?.into());
        let admin = api.with_token(root.clone());
        self.unseal(&admin).await?;
        if self.audits == Audits::ByApi {
            let options = json!({ "file_path": self.audit_file });
            let device = json!({ "type": "file", "options": options });
            admin.post(&format!("sys/audit/{AUDIT_DEVICE}"), &device).await?;
        }
        Ok(root)
    }

    /// Opens the server after a start, as its operator does, and waits until it serves.
    pub(super) async fn unseal(&self, admin: &Api) -> Result<()> {
        let key = self.unseal_key.as_ref().context("failed to unseal: nothing is initialised")?;
        let body = json!({ "key": key.expose_secret() });
        ready::until("OpenBao to take its key", START_LIMIT, async || match admin.post("sys/unseal", &body).await {
            Ok(_) => Ok(Some(())),
            Err(ApiError::Refused { .. } | ApiError::Tls { .. } | ApiError::Transport { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await?;
        ready::until("OpenBao to be unsealed", START_LIMIT, async || match admin.get("sys/mounts").await {
            Ok(_) => Ok(Some(())),
            Err(ApiError::Sealed { .. } | ApiError::Status { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// Where sidecars subscribe, if the server tells the notifier anything.
    pub(super) fn subscription(&self) -> Option<&PushConfig> {
        (self.audits == Audits::Declared { push: true }).then_some(&self.notifier.subscription)
    }

    pub(super) fn leaks(&self) -> Vec<String> {
        self.platform.leaks()
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        // Its storage is in memory and goes with it: there is nothing to shut down gently.
        let (server, notifier) = tokio::join!(self.bao.stop(Duration::ZERO), self.notifier.stop());
        server.and(notifier)
    }
}

/// HCL takes a JSON string as it is, as long as it holds no `${`; none of these does: they are paths of our own.
fn config(
    folder: &Path,
    listen: SocketAddr,
    durable: bool,
    audits: Audits,
    audit_file: &Path,
    notifier: &str,
    bearer: &Path,
) -> String {
    let quoted = |value: &str| json!(value).to_string();
    let path = |path: &Path| quoted(&path.display().to_string());
    // A single node is its own leader; one that keeps nothing needs no election.
    let storage = match durable {
        true => format!(
            "storage \"raft\" {{\n  path = {}\n  node_id = \"one\"\n  performance_multiplier = 1\n}}\n\
             cluster_addr = \"https://127.0.0.1:8201\"\napi_addr = \"https://127.0.0.1:8200\"",
            path(folder)
        ),
        false => "storage \"inmem\" {}".to_owned(),
    };
    let mut config = format!(
        "{storage}\nlog_level = \"warn\"\n\
         listener \"tcp\" {{\n  address = {}\n  tls_cert_file = {}\n  tls_key_file = {}\n}}\n",
        quoted(&listen.to_string()),
        path(&folder.join("server.pem")),
        path(&folder.join("server.key")),
    );
    let Audits::Declared { push } = audits else { return config };
    let file = path(audit_file);
    config += &format!("audit \"file\" \"{AUDIT_DEVICE}\" {{\n  options {{ file_path = {file} }}\n}}\n");
    if push {
        let headers = json!({ "Authorization": [format!("file://{}", bearer.display())] }).to_string();
        let (uri, headers) = (quoted(&format!("{notifier}/audit")), quoted(&headers));
        config +=
            &format!("audit \"http\" \"push\" {{\n  options {{\n    uri = {uri}\n    headers = {headers}\n  }}\n}}\n");
    }
    config
}

/// The server shows itself to members by its own name or address, and to the harness on loopback.
fn certificates(endpoint: &Endpoint, folder: &Path) -> Result<()> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "conformance run");
    let ca_key = KeyPair::generate()?;
    write_private(&folder.join("ca.pem"), &ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);
    let mut server = CertificateParams::default();
    server.distinguished_name.push(DnType::CommonName, "OpenBao of a conformance run");
    let (host, _) = endpoint.inside.rsplit_once(':').context("failed to find the server's name")?;
    let names = [host.to_owned(), net::own_loopback().to_string()];
    server.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    let key = KeyPair::generate()?;
    write_private(&folder.join("server.pem"), &server.signed_by(&key, &issuer)?.pem())?;
    write_private(&folder.join("server.key"), &key.serialize_pem())
}
