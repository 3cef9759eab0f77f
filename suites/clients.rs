//! The official clients: what each backend and each stand-in answers, as the vendor's own client understands it, and in the
//! shapes of the vendor's own documents. The scripts in `clients/` do the driving and the judging; nobody here wrote the
//! clients that they drive. Credentials go through a private file.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use harness::cell::CandidateId;
use harness::tools::{downloaded, python_with_list, workspace};
use rstest::rstest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use standins::{Listen, aws, doppler, onepassword};

use crate::remote::{Remote, documented_policy};

/// Doppler's `OpenAPI` document comes in this npm package, and its SHA-256.
const DOCUMENT: (&str, &str) = (
    "https://registry.npmjs.org/@dopplerhq/mcp-server/-/mcp-server-1.0.5.tgz",
    "c98b43d36f3ca8d17676fa13af9c5d929e7f1f8fd5f6441ddcd13d825e556f55",
);

/// Settings that no output may show.
const SECRETS: [&str; 3] = ["token", "control_token", "secret_access_key"];

/// What answers, alive as long as this.
enum Backend {
    Vault(Remote),
    Doppler(standins::Running<doppler::Control>),
    Onepassword(standins::Running<onepassword::Control>),
    Aws(standins::Running<aws::Control>),
}

/// A backend of the case's own, with what the scripts must know of it.
async fn start(candidate: CandidateId) -> (Backend, Value) {
    let listen = Listen::loopback().await.unwrap();
    match candidate {
        CandidateId::Vault => {
            let (remote, root, _) = Remote::ready(&documented_policy()).await;
            let made = root.post("auth/token/create", &json!({ "policies": ["root"] })).await.unwrap().body;
            let settings = json!({
                "url": remote.address,
                "token": made["auth"]["client_token"],
                "audit_device": "log",
                "audit_file": remote.folder.path().join("audit.log"),
            });
            (Backend::Vault(remote), settings)
        }
        CandidateId::Doppler => {
            let (url, hash) = DOCUMENT;
            let document = downloaded(url, hash).await.unwrap_or_else(|error| panic!("error: {error:#}"));
            // Only so can the script's own receiver be told of.
            let config = doppler::Config { allow_http_webhooks: true, ..doppler::Config::default() };
            let running = doppler::start(config, listen).unwrap();
            let settings = json!({
                "url": running.url(),
                "token": running.control().admin().expose_secret(),
                "control_token": running.control().token().expose_secret(),
                "document": document,
            });
            (Backend::Doppler(running), settings)
        }
        CandidateId::Onepassword => {
            let running = onepassword::start(onepassword::Config::default(), listen).unwrap();
            let settings = json!({
                "url": running.url(),
                "token": running.control().admin().expose_secret(),
                "control_token": running.control().token().expose_secret(),
            });
            (Backend::Onepassword(running), settings)
        }
        CandidateId::Aws => {
            let running = aws::start(aws::Config::default(), listen).unwrap();
            let control = running.control();
            let settings = json!({
                "url": running.url(),
                "region": control.region(),
                "account": control.account(),
                "access_key_id": control.admin().access_key_id,
                "secret_access_key": control.admin().secret_access_key.expose_secret(),
                "control_token": control.token().expose_secret(),
            });
            (Backend::Aws(running), settings)
        }
    }
}

impl Backend {
    async fn stop(self) {
        match self {
            Self::Vault(remote) => drop(remote),
            Self::Doppler(running) => running.shutdown().await,
            Self::Onepassword(running) => running.shutdown().await,
            Self::Aws(running) => running.shutdown().await,
        }
    }
}

/// Runs the candidate's script: whether it passed, and what it said.
fn script(candidate: CandidateId, settings: &Value) -> (bool, String) {
    let folder = workspace().join("suites/clients");
    let python = python_with_list(&folder.join("requirements.txt")).unwrap_or_else(|error| panic!("error: {error:#}"));
    let private = tempfile::tempdir_in(harness::files::private_root()).unwrap();
    let file: PathBuf = private.path().join("settings.json");
    standins::write_private(&file, settings.to_string().as_bytes()).unwrap();
    let output = Command::new(python)
        .arg(folder.join(format!("{candidate}.py")))
        .env("CLIENTS_SETTINGS", &file)
        // Nothing is written beside the sources, and what is on this machine is not asked for through a proxy.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    println!("{said}");
    for secret in SECRETS.iter().filter_map(|name| settings[name].as_str()) {
        assert!(!said.contains(secret), "the script says a secret");
    }
    (output.status.success(), said)
}

#[rstest]
#[case::vault(CandidateId::Vault)]
#[case::doppler(CandidateId::Doppler)]
#[case::onepassword(CandidateId::Onepassword)]
#[case::aws(CandidateId::Aws)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_is_content(#[case] candidate: CandidateId) {
    let (backend, settings) = start(candidate).await;
    let (passed, said) = script(candidate, &settings);
    assert!(passed, "{said}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}");
    backend.stop().await;
}

/// The same with one thing wrong: an answer that a proxy changes on its way. The script must name the endpoint.
#[rstest]
#[case::vault_value(CandidateId::Vault, "\"destroyed\":false", "\"destroyed\":true ", "GET /v1/{mount}/data/{path}")]
#[case::doppler_member(CandidateId::Doppler, "\"billing_email\"", "\"bill1ng_email\"", "GET /v3/workplace")]
#[case::doppler_type(CandidateId::Doppler, "\"page\":1", "\"page\":[", "GET /v3/projects")]
#[case::doppler_error(CandidateId::Doppler, "Invalid Auth token", "Invalid Auth tokem", "GET /v3/me")]
#[case::doppler_header(CandidateId::Doppler, "retry-after: ", "retry-aftes: ", "GET /v3/me")]
#[case::onepassword_kind(CandidateId::Onepassword, "\"USER_CREATED\"", "\"USER_CREATEE\"", "GET /v1/vaults")]
#[case::onepassword_member(CandidateId::Onepassword, "\"favorite\":", "\"favorita\":", "POST /v1/vaults/{vault}/items")]
#[case::onepassword_range(CandidateId::Onepassword, "content-range: 1-3/", "content-range: 1-4/", "GET /v1/activity")]
#[case::aws_label(CandidateId::Aws, "\"AWSCURRENT\"", "\"AWSCURRENS\"", "secretsmanager DescribeSecret")]
#[case::aws_member(CandidateId::Aws, "\"CreatedDate\":", "\"CreatedDatE\":", "secretsmanager DescribeSecret")]
#[case::aws_error(
    CandidateId::Aws,
    "\"ResourceExistsException\"",
    "\"ResourceExistsExceptioo\"",
    "secretsmanager CreateSecret"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_answer_is_noticed(
    #[case] candidate: CandidateId,
    #[case] from: &'static str,
    #[case] to: &'static str,
    #[case] endpoint: &str,
) {
    let (backend, mut settings) = start(candidate).await;
    let url = settings["url"].as_str().unwrap();
    let upstream = url.strip_prefix("http://").unwrap().parse().unwrap();
    settings["url"] = json!(format!("http://{}", saboteur(upstream, from, to)));
    let (passed, said) = script(candidate, &settings);
    assert!(!passed, "nobody noticed:\n{said}");
    let failed = said.lines().find(|line| line.starts_with("FAIL ")).unwrap_or_default();
    assert!(failed.contains(endpoint), "{said}");
    backend.stop().await;
}

#[rstest]
#[case::vault(CandidateId::Vault, "token", "GET /v1/sys/mounts")]
#[case::doppler(CandidateId::Doppler, "token", "GET /v3/me")]
#[case::onepassword(CandidateId::Onepassword, "token", "GET /v1/vaults")]
#[case::aws(CandidateId::Aws, "secret_access_key", "secretsmanager CreateSecret")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_credential_is_noticed(#[case] candidate: CandidateId, #[case] member: &str, #[case] endpoint: &str) {
    let (backend, mut settings) = start(candidate).await;
    settings[member] = json!("nobody-was-given-this-one");
    let (passed, said) = script(candidate, &settings);
    assert!(!passed, "nobody noticed:\n{said}");
    let failed = said.lines().find(|line| line.starts_with("FAIL ")).unwrap_or_default();
    assert!(failed.contains(endpoint), "{said}");
    backend.stop().await;
}

/// Passes everything on, but for one text in the answers. Both texts are of one length, so no header has to change.
fn saboteur(upstream: SocketAddr, from: &'static str, to: &'static str) -> SocketAddr {
    assert_eq!(from.len(), to.len(), "the length of an answer must stay");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                let server = TcpStream::connect(upstream)?;
                let (mut asked, mut asking) = (client.try_clone()?, server.try_clone()?);
                thread::spawn(move || {
                    // A client that has gone has nothing more to ask.
                    let _ = std::io::copy(&mut asked, &mut asking);
                    let _ = asking.shutdown(Shutdown::Write);
                });
                answer(server, client, from.as_bytes(), to.as_bytes())
            });
        }
    });
    address
}

fn answer(mut server: TcpStream, mut client: TcpStream, from: &[u8], to: &[u8]) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        // An answer as small as those that are changed comes in one piece.
        let length = server.read(&mut buffer)?;
        if length == 0 {
            return client.shutdown(Shutdown::Write);
        }
        let mut at = 0;
        while let Some(found) = buffer[at..length].windows(from.len()).position(|window| window == from) {
            buffer[at + found..at + found + to.len()].copy_from_slice(to);
            at += found + to.len();
        }
        client.write_all(&buffer[..length])?;
    }
}
