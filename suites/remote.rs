//! A server that is there already: an OpenBao of the case's own, used through a target file as staging would be.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::candidate::Trigger;
use harness::candidate::api::{Api, ApiError, text};
use harness::candidate::vault::DIALECT;
use harness::cell::{Cell, DeliveryId};
use harness::hold::hold;
use harness::net;
use harness::ready;
use harness::run::{Owner, Run};
use harness::tools::{Bao, Product};
use harness::verdict::{Grade, Verdict};
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::vault;

const MOUNTS: [&str; 3] = ["kv-dev", "kv-staging", "kv-prod"];

/// A plain-HTTP server in a folder of its own, ended with this.
pub(crate) struct Remote {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: String,
    child: Child,
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Remote {
    /// Starts a server: not initialised, so sealed.
    pub(crate) async fn sealed() -> Self {
        let run = Run::current().unwrap();
        let folder = tempfile::tempdir_in(harness::files::private_root()).unwrap();
        let ip = net::own_loopback();
        let listen = SocketAddr::new(ip, net::free_port(ip).unwrap());
        let audit = folder.path().join("audit.log").display().to_string();
        let config = format!(
            "storage \"inmem\" {{}}\nlog_level = \"error\"\nlistener \"tcp\" {{\n  address = \"{listen}\"\n  tls_disable = true\n}}\n\
             audit \"file\" \"log\" {{\n  options {{ file_path = {} }}\n}}\n",
            json!(audit)
        );
        let file = folder.path().join("server.hcl");
        fs::write(&file, config).unwrap();
        let child = Command::new(&run.tools.conformance)
            .args(["tether", "--parent", &std::process::id().to_string(), "--"])
            .arg(&run.tools.bao.path)
            .args(["server", "-config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let remote = Self { folder, address: format!("http://{listen}"), child };
        ready::until("the server to answer", Duration::from_secs(30), async || {
            match remote.api().get("sys/init").await {
                Ok(_) => Ok(Some(())),
                Err(ApiError::Refused { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
        .unwrap();
        remote
    }

    /// Starts a server and makes it ready as an operator would: mounts, AppRole, one token with the policy that
    /// `ci/targets` documents, for the run whose id is given.
    pub(crate) async fn ready(policy: &str) -> (Self, Api, SecretString) {
        let remote = Self::sealed().await;
        let api = remote.api();
        let keys = api.post("sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 })).await.unwrap().body;
        api.post("sys/unseal", &json!({ "key": text(&keys, "/keys/0").unwrap() })).await.unwrap();
        let root = api.with_token(text(&keys, "/root_token").unwrap().into());
        ready::until("the server to be unsealed", Duration::from_secs(30), async || {
            Ok(root.get("sys/mounts").await.ok().map(drop))
        })
        .await
        .unwrap();
        for mount in MOUNTS {
            let kv = json!({ "type": "kv", "options": { "version": "2" } });
            root.post(&format!("sys/mounts/{mount}"), &kv).await.unwrap();
            ready::until("the mount", Duration::from_secs(10), async || {
                Ok(root.get(&format!("{mount}/config")).await.ok().map(drop))
            })
            .await
            .unwrap();
        }
        root.post("sys/auth/approle", &json!({ "type": "approle" })).await.unwrap();
        root.post("sys/policies/acl/suite", &json!({ "policy": policy })).await.unwrap();
        let token = root.post("auth/token/create", &json!({ "policies": ["suite"] })).await.unwrap().body;
        let token = text(&token, "/auth/client_token").unwrap().into();
        (remote, root, token)
    }

    fn api(&self) -> Api {
        Api::new(&DIALECT, &self.address, None, "suites").unwrap()
    }

    /// A target file for this server, changed by `edit`.
    pub(crate) fn target(&self, token: &SecretString, edit: impl Fn(String) -> String) -> PathBuf {
        let token_file = self.folder.path().join("token");
        fs::write(&token_file, token.expose_secret()).unwrap();
        let text = format!(
            "[vault]\ngrade = \"self-hosted\"\naddress = \"{}\"\ntoken = {{ file = {} }}\n\
             mounts = {{ dev = \"kv-dev\", staging = \"kv-staging\", prod = \"kv-prod\" }}\n\
             audit = {{ device = \"log\", file = {} }}\n",
            self.address,
            json!(token_file),
            json!(self.folder.path().join("audit.log")),
        );
        let file = self.folder.path().join("target.toml");
        fs::write(&file, edit(text)).unwrap();
        file
    }
}

/// The policy as it is documented beside the targets, taken from there.
pub(crate) fn documented_policy() -> String {
    let page = harness::tools::workspace().join("ci/targets/README.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```hcl\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn run_at(target: &Path) -> Run {
    let current = Run::current().unwrap();
    let output = target.parent().unwrap().join("runs");
    Run::begin(&output, Owner::of(std::process::id()), current.tools, Some(target.to_owned()), Vec::new()).unwrap()
}

#[rstest]
#[case::provision("provision.end-to-end", DeliveryId::ReloadPoll, Some(Trigger::VersionPoll))]
#[case::reads("audit.reads-recorded", DeliveryId::NativeTemplate, None)]
#[case::polls_without_notifier("rotation.no-redeploy", DeliveryId::Restart, Some(Trigger::VersionPoll))]
#[tokio::test]
async fn a_target_is_used_with_the_documented_rights_and_left_as_it_was(
    #[case] check: &str,
    #[case] delivery: DeliveryId,
    #[case] trigger: Option<Trigger>,
) {
    let (remote, root, token) = Remote::ready(&documented_policy()).await;
    let before = everything(&root).await;
    let run = run_at(&remote.target(&token, |text| text));
    let evidence = hold(&run, &Cell::new(check, vault(delivery))).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
    assert_eq!(evidence.grade, Grade::SelfHosted);
    assert_eq!(evidence.record.trigger.map(|used| used.trigger), trigger);
    assert_eq!(everything(&root).await, before, "policies, roles and secrets are as they were");
}

/// The names of all policies, roles and secrets.
async fn everything(root: &Api) -> Vec<String> {
    let mut names = Vec::new();
    let mut paths = vec!["sys/policies/acl".to_owned(), "auth/approle/role".to_owned()];
    paths.extend(MOUNTS.map(|mount| format!("{mount}/metadata")));
    for path in paths {
        if let Ok(listed) = root.get(&format!("{path}?list=true")).await {
            names.extend(
                listed.body["data"]["keys"].as_array().into_iter().flatten().map(|name| format!("{path}/{name}")),
            );
        }
    }
    names
}

/// Vault in place of OpenBao, as far as the harness can tell: it says that it is Vault, and takes an audit device by API.
fn like_vault(folder: &Path, bao: &Bao) -> Bao {
    let path = folder.join("vault");
    let script = format!(
        "#!/bin/sh\ncase \"$2\" in -config=*server.hcl) \
         echo 'unsafe_allow_api_audit_creation = true' >> \"${{2#-config=}}\";; esac\nexec '{}' \"$@\"\n",
        bao.path.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    Bao { path, product: Product::Vault, version: "1.20.0".into() }
}

#[tokio::test]
async fn a_server_that_cannot_push_is_polled_and_audited_by_api() {
    let folder = tempfile::tempdir().unwrap();
    let mut tools = Run::current().unwrap().tools;
    tools.bao = like_vault(folder.path(), &tools.bao);
    let run = Run::begin(folder.path(), Owner::of(std::process::id()), tools, None, Vec::new()).unwrap();
    let evidence = hold(&run, &Cell::new("audit.reads-recorded", vault(DeliveryId::Reload))).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
    assert_eq!(evidence.record.trigger.map(|used| used.trigger), Some(Trigger::VersionPoll));
}
