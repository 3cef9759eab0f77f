//! Services that are there already: stand-ins of the case's own, used through a target file as the vendors' would be.

use std::fs;
use std::path::{Path, PathBuf};

use harness::candidate::Trigger;
use harness::cell::{CandidateId, Cell, DeliveryId, Environment, Place, PlatformId};
use harness::hold::hold;
use harness::run::{Owner, Run};
use harness::verdict::{Grade, Verdict};
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use standins::aws::Principal;
use standins::onepassword::Grant;
use standins::{Listen, Running, aws, doppler, onepassword};

use crate::command::{conformance, told};

/// A running service, and a target file that names it.
pub(crate) struct Target {
    folder: tempfile::TempDir,
    service: Service,
}

enum Service {
    Doppler(Running<doppler::Control>),
    Onepassword(Running<onepassword::Control>, [String; 3]),
    Aws(Running<aws::Control>),
}

impl Target {
    /// Starts the stand-in of this candidate, and makes what an operator makes before a run.
    pub(crate) async fn of(candidate: CandidateId) -> Self {
        let listen = Listen::loopback().await.unwrap();
        let service = match candidate {
            CandidateId::Doppler => {
                let config = doppler::Config { requests_per_minute: None, ..Default::default() };
                Service::Doppler(doppler::start(config, listen).unwrap())
            }
            CandidateId::Onepassword => {
                let running = onepassword::start(Default::default(), listen).unwrap();
                let vaults = Environment::ALL.map(|one| running.control().create_vault(&format!("staging {one}")));
                Service::Onepassword(running, vaults)
            }
            CandidateId::Aws => Service::Aws(aws::start(Default::default(), listen).unwrap()),
            CandidateId::Vault => panic!("a real OpenBao is in the suite `remote`"),
        };
        let folder = tempfile::tempdir_in(harness::files::private_root()).unwrap();
        let target = Self { folder, service };
        fs::write(target.file(), target.text()).unwrap();
        target
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("target.toml")
    }

    /// A reference to a file with this secret.
    fn secret(&self, name: &str, secret: &SecretString) -> String {
        fs::write(self.folder.path().join(name), secret.expose_secret()).unwrap();
        format!("{{ file = {} }}", json!(name))
    }

    fn text(&self) -> String {
        match &self.service {
            Service::Doppler(running) => format!(
                "[doppler]\ngrade = \"stand-in\"\naddress = \"{}\"\ntoken = {}\n",
                running.url(),
                self.secret("token", running.control().admin())
            ),
            Service::Onepassword(running, vaults) => {
                let control = running.control();
                let grant = |vault: &String, write| Grant { vault: vault.clone(), read: true, write };
                let rotator = control.issue_token("rotator", vaults.iter().map(|v| grant(v, true)).collect(), None);
                let readers = Environment::ALL.iter().zip(vaults).map(|(environment, vault)| {
                    let token = control.issue_token("reader", vec![grant(vault, false)], None);
                    format!("{environment} = {}", self.secret(&environment.to_string(), &token))
                });
                let readers = readers.collect::<Vec<_>>().join(", ");
                let vaults = Environment::ALL.iter().zip(vaults).map(|(one, vault)| format!("{one} = \"{vault}\""));
                format!(
                    "[onepassword]\ngrade = \"stand-in\"\naddress = \"{}\"\nvaults = {{ {} }}\nrotator = {}\nreaders = {{ {readers} }}\n",
                    running.url(),
                    vaults.collect::<Vec<_>>().join(", "),
                    self.secret("rotator", &rotator),
                )
            }
            Service::Aws(running) => {
                let actions = [
                    "secretsmanager:CreateSecret",
                    "secretsmanager:PutSecretValue",
                    "secretsmanager:DeleteSecret",
                    "secretsmanager:ListSecrets",
                    "secretsmanager:GetSecretValue",
                    "secretsmanager:DescribeSecret",
                    "sts:GetFederationToken",
                    "cloudtrail:LookupEvents",
                ];
                let policy = json!({ "Statement": { "Effect": "Allow", "Action": actions, "Resource": "*" } });
                let user = Principal { user_name: "rotator".into(), policies: vec![policy], access_key: None };
                let key = running.control().add_principal(&user).unwrap();
                format!(
                    "[aws]\ngrade = \"stand-in\"\nregion = \"{}\"\nendpoint = \"{}\"\n\
                     rotator = {{ access_key_id = {}, secret_access_key = {} }}\n",
                    running.control().region(),
                    running.url(),
                    self.secret("rotator.id", &key.access_key_id.into()),
                    self.secret("rotator.secret", &key.secret_access_key),
                )
            }
        }
    }

    /// A run that points here.
    fn run(&self) -> Run {
        let tools = Run::current().unwrap().tools;
        let output = self.folder.path().join("runs");
        Run::begin(&output, Owner::of(std::process::id()), tools, Some(self.file()), Vec::new()).unwrap()
    }
}

/// The command with this target, while the service goes on answering.
pub(crate) async fn command(args: &[&str], target: &Path) -> (Option<i32>, String) {
    let mut command = conformance(args);
    command.arg("--target").arg(target);
    tokio::task::spawn_blocking(move || told(&command.output().unwrap())).await.unwrap()
}

#[rstest]
#[case::doppler_stream("rotation.no-redeploy", CandidateId::Doppler, DeliveryId::Reload, Some(Trigger::WatchStream))]
#[case::doppler_audit("audit.rotation-recorded", CandidateId::Doppler, DeliveryId::Reload, None)]
#[case::onepassword_reads(
    "audit.reads-recorded",
    CandidateId::Onepassword,
    DeliveryId::Restart,
    Some(Trigger::VersionPoll)
)]
#[case::onepassword_scopes("scope.isolated", CandidateId::Onepassword, DeliveryId::Reload, None)]
#[case::aws_reads("audit.reads-recorded", CandidateId::Aws, DeliveryId::Reload, Some(Trigger::VersionPoll))]
#[case::aws_scopes("scope.isolated", CandidateId::Aws, DeliveryId::Reload, None)]
#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_used_and_left_as_it_was(
    #[case] check: &str,
    #[case] candidate: CandidateId,
    #[case] delivery: DeliveryId,
    #[case] trigger: Option<Trigger>,
) {
    let target = Target::of(candidate).await;
    let run = target.run();
    let cell = Cell::new(check, Place::new(candidate, PlatformId::Process, delivery));
    let evidence = hold(&run, &cell).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
    assert_eq!(evidence.grade, Grade::StandIn);
    assert_eq!(evidence.record.trigger.map(|used| used.trigger), trigger);
    let left = harness::candidate::reap(&run.targets().unwrap(), "conformance-").await.unwrap();
    assert!(left.is_empty(), "the cell left something: {left:?}");
}

#[rstest]
#[case::doppler(CandidateId::Doppler, "project conformance-")]
#[case::onepassword(CandidateId::Onepassword, "item conformance-")]
#[case::aws(CandidateId::Aws, "secret conformance-")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_on_a_target_is_reaped(#[case] candidate: CandidateId, #[case] left: &str) {
    let target = Target::of(candidate).await;
    let run = target.run();
    let targets = run.targets().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let platform =
        harness::platform::process::ProcessPlatform::new(folder.path(), folder.path(), &run, &Default::default());
    let setup = harness::candidate::Setup {
        targets: &targets,
        scope: format!("conformance-{}-killed", run.id),
        platform: Box::new(platform.unwrap()),
        tools: &run.tools,
        redactor: &Default::default(),
        durable: false,
        user_agent: "suites".into(),
    };
    let mut killed = harness::candidate::open(candidate, setup).await.unwrap();
    killed.provision().await.unwrap();
    killed.write(Environment::Dev, &harness::way::probed("left behind".into())).await.unwrap();
    // Never removed: the cell is gone. Its run is still at work, as long as this case lives, so it is left alone…
    let runs = target.folder.path().join("runs").display().to_string();
    let (code, said) = command(&["reap", &run.id, "--output", &runs], &target.file()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is at work") && !said.contains("removed"), "{said}");
    // …until it has ended.
    let removed = harness::candidate::reap(&targets, &format!("conformance-{}-", run.id)).await.unwrap();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(removed[0].1.starts_with(left), "{removed:?}");
    assert!(harness::candidate::reap(&targets, "conformance-").await.unwrap().is_empty(), "it is gone");
}

#[rstest]
#[case::doppler(CandidateId::Doppler)]
#[case::onepassword(CandidateId::Onepassword)]
#[case::aws(CandidateId::Aws)]
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_like_the_stand_in_keeps_the_contract(#[case] candidate: CandidateId) {
    let target = Target::of(candidate).await;
    let (code, said) = command(&["contract"], &target.file()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 not like the stand-in"), "{said}");
    assert!(harness::candidate::reap(&target.run().targets().unwrap(), "conformance-").await.unwrap().is_empty());
}

/// A reader that may write: what the vendor would never do, and what the contract must tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_differs_is_told_endpoint_by_endpoint() {
    let target = Target::of(CandidateId::Onepassword).await;
    let Service::Onepassword(running, vaults) = &target.service else { panic!("no Connect") };
    let grants = vec![Grant { vault: vaults[0].clone(), read: true, write: true }];
    target.secret("dev", &running.control().issue_token("reader", grants, None));
    let (code, said) = command(&["contract"], &target.file()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("differs  PUT /v1/vaults/{}/items/{}: refuses a write by a reader (200)"), "{said}");
    assert!(said.contains("status: expected 403, found 200"), "{said}");
    assert!(said.contains("1 not like the stand-in"), "{said}");
}

#[rstest]
#[case::doppler_token(CandidateId::Doppler, "token", "dp.pt.wrong", &["`doppler.token`", "does not accept the token"])]
#[case::doppler_empty(CandidateId::Doppler, "token", "", &["`doppler.token`", "is empty, missing or unreadable"])]
#[case::onepassword_rotator(CandidateId::Onepassword, "rotator", "a.b.c", &["`onepassword.rotator`", "does not accept the token"])]
#[case::onepassword_reader(CandidateId::Onepassword, "prod", "a.b.c", &["`onepassword.readers.prod`", "does not accept the token"])]
#[case::aws_secret(CandidateId::Aws, "rotator.secret", "wrong", &["`aws.rotator`", "AWS does not accept the key"])]
#[case::aws_unknown(CandidateId::Aws, "rotator.id", "AKIAAAAAAAAAAAAAAAAA", &["`aws.rotator`", "AWS does not accept the key"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_is_refused_before_a_run_begins(
    #[case] candidate: CandidateId,
    #[case] name: &str,
    #[case] secret: &str,
    #[case] words: &[&str],
) {
    let target = Target::of(candidate).await;
    fs::write(target.folder.path().join(name), secret).unwrap();
    let (code, said) = command(&["run", "--check", "scope.isolated"], &target.file()).await;
    assert_eq!(code, Some(2), "{said}");
    for word in words.iter().chain(&["target.toml", "remedy"]) {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[rstest]
#[case::refused("http://127.0.0.1:1", &["refused the connection", "start the server"])]
#[case::no_scheme("127.0.0.1:1", &["not of the form"])]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_used_is_told(#[case] address: &str, #[case] words: &[&str]) {
    let target = Target::of(CandidateId::Doppler).await;
    let Service::Doppler(running) = &target.service else { panic!("no Doppler") };
    fs::write(target.file(), target.text().replace(&running.url(), address)).unwrap();
    let (code, said) = command(&["contract"], &target.file()).await;
    assert_eq!(code, Some(2), "{said}");
    for word in words.iter().chain(&["`doppler.address`", "remedy"]) {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// A clock that is off by ten minutes: AWS refuses the signature and says what time it is, and the SDK corrects itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_corrected() {
    let target = Target::of(CandidateId::Aws).await;
    let Service::Aws(running) = &target.service else { panic!("no AWS") };
    running.control().clock().advance(std::time::Duration::from_secs(600));
    let run = target.run();
    let place = Place::new(CandidateId::Aws, PlatformId::Process, DeliveryId::Reload);
    let evidence = hold(&run, &Cell::new("rotation.no-redeploy", place)).await.unwrap();
    assert_eq!(evidence.judgement.verdict, Verdict::Pass, "{}", evidence.judgement.reason);
}
