//! The deploy templates: no value is written down in them, and every credential that they name is granted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::cell::{CandidateId, Cell, DeliveryId};
use harness::compose::{Template, Variables, credentials, faults, reference};
use harness::delivery::composed;
use harness::hold::hold_sabotaged;
use harness::run::Run;
use harness::tools::workspace;
use harness::verdict::{Patience, Sla, Verdict};
use harness::way::Sabotage;
use rstest::rstest;
use sidecar::config::{DeliverConfig, DeliveryConfig};

fn deploy(candidate: CandidateId) -> PathBuf {
    workspace().join("fixtures/deploy/compose").join(candidate.to_string())
}

fn defect(name: &str) -> PathBuf {
    workspace().join("fixtures/defects/compose").join(format!("{name}.compose.yaml"))
}

fn places(file: &Path) -> Vec<String> {
    faults(&Template::read(file).unwrap()).into_iter().map(|fault| fault.place).collect()
}

#[rstest]
#[case::vault(CandidateId::Vault)]
#[case::doppler(CandidateId::Doppler)]
#[case::onepassword(CandidateId::Onepassword)]
#[case::aws(CandidateId::Aws)]
fn a_compose_template_holds_no_value(#[case] candidate: CandidateId) {
    let files: Vec<_> = fs::read_dir(deploy(candidate)).unwrap().map(|entry| entry.unwrap().path()).collect();
    let templates: Vec<_> = files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(!templates.is_empty());
    for template in templates {
        assert_eq!(places(template), Vec::<String>::new(), "{}", template.display());
    }
    for file in files {
        assert_eq!(credentials(&fs::read_to_string(&file).unwrap()), Vec::<usize>::new(), "{}", file.display());
    }
}

/// The same of a config beside a template.
#[test]
fn a_credential_in_a_config_is_found_by_its_line() {
    let text = fs::read_to_string(deploy(CandidateId::Doppler).join("deliver.toml")).unwrap();
    let right = "token_file = \"/run/secrets/doppler-token\"";
    let at = text.lines().position(|line| line == right).unwrap() + 1;
    let wrong = text.replace(right, "token = \"dp.st.prd.notArealToken0123456789\"");
    assert_eq!(credentials(&wrong), [at]);
}

/// The sidecar's config beside a template names credentials by their files, and the template puts each of them there.
#[rstest]
#[case::vault(CandidateId::Vault)]
#[case::doppler(CandidateId::Doppler)]
#[case::onepassword(CandidateId::Onepassword)]
#[case::aws(CandidateId::Aws)]
fn every_credential_of_the_config_is_granted_by_its_template(#[case] candidate: CandidateId) {
    let text = fs::read_to_string(deploy(candidate).join("deliver.toml")).unwrap();
    let deliver: DeliverConfig = toml::from_str(&text).unwrap();
    let template = Template::read(&deploy(candidate).join("compose.yaml")).unwrap();
    let project = template.written().unwrap();
    let binds = |service: &str| project.services[service].container.mounts.clone();
    let named: toml::Table = toml::from_str(&text).unwrap();
    let (source, trigger) = (named["source"].as_table().unwrap(), named["trigger"].as_table().unwrap());
    let login = source.get("login").and_then(toml::Value::as_table);
    let parts = [source, trigger].into_iter().chain(login);
    let files: BTreeSet<&str> =
        parts.flatten().filter(|(field, _)| field.ends_with("_file")).filter_map(|(_, file)| file.as_str()).collect();
    for service in ["init", "sidecar"] {
        let granted: Vec<_> = binds(service).into_iter().filter(|bind| bind.read_only).collect();
        for file in &files {
            let bind = granted.iter().find(|bind| bind.target == Path::new(file));
            let bind = bind.unwrap_or_else(|| panic!("{service} does not see {file}"));
            assert!(reference(bind.source.to_str().unwrap()).is_some(), "{file} has a fixed place on the host");
        }
        // Nothing is granted that the config does not use.
        let secrets = granted.iter().filter(|bind| bind.target.starts_with("/run/secrets"));
        for secret in secrets {
            assert!(
                files.contains(secret.target.to_str().unwrap()),
                "{service} does not need {}",
                secret.target.display()
            );
        }
    }
    // The app sees the env file and none of the backend's credentials.
    let DeliveryConfig::Reload(reload) = deliver.delivery else { panic!("the template is written for reload") };
    assert!(binds("app").iter().any(|bind| reload.env_file.starts_with(&bind.target)));
    assert!(binds("app").iter().all(|bind| !files.contains(bind.target.to_str().unwrap())));
}

/// Saboteurs: templates with one defect each.
#[rstest]
#[case::literal_in_environment("literal-in-environment", "services.app.environment.DATABASE_PASSWORD")]
#[case::reference_in_environment("reference-in-environment", "services.app.environment.DATABASE_PASSWORD")]
#[case::renamed_in_environment("renamed-in-environment", "services.app.environment.PGPASS")]
#[case::literal_by_default("literal-by-default", "services.app.environment.BACKEND")]
#[case::password_in_address("password-in-address", "services.app.environment.DATABASE_URL")]
#[case::literal_in_command("literal-in-command", "services.sidecar.command")]
#[case::secret_as_build_arg("secret-as-build-arg", "services.app.build")]
#[case::env_file("env-file", "services.app.env_file")]
#[case::latest_tag("latest-tag", "services.app.image")]
#[case::default_image("default-image", "services.app.image")]
#[case::fixed_secret_file("fixed-secret-file", "secrets.doppler-token.file")]
#[case::secret_from_environment("secret-from-environment", "secrets.doppler-token.environment")]
#[case::ungranted_secret_file("ungranted-secret-file", "services.app.environment.PROBE_KEY_FILE")]
#[case::writable_root("writable-root", "services.app.read_only services.init.read_only services.sidecar.read_only")]
fn a_defect_is_found_where_it_is(#[case] name: &str, #[case] expected: &str) {
    assert_eq!(places(&defect(name)).join(" "), expected);
}

#[test]
fn every_defect_has_a_case() {
    let cases = include_str!("templates.rs").split("#[case::").skip(1);
    let cased: BTreeSet<_> = cases.filter_map(|case| case.split('"').nth(1)).map(str::to_owned).collect();
    let folder = workspace().join("fixtures/defects/compose");
    let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in there {
        assert!(cased.contains(file.trim_end_matches(".compose.yaml")), "nobody looks for the defect of {file}");
    }
}

/// What nobody set is no empty text: the template says what is missing.
#[test]
fn a_template_without_its_variables_says_which_is_missing() {
    let error = Template::read(&deploy(CandidateId::Vault).join("compose.yaml"))
        .unwrap()
        .project(&Variables::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("compose/vault/compose.yaml, ") && error.contains("is not set"), "{error}");
}

/// Saboteurs on the engine: a template by which a value does not arrive fails; one that does not come up is an error.
#[rstest]
#[case::sidecar_docker_without_the_processes_of_the_app("    pid: service:app\n", "", Verdict::Fail)]
#[case::app_docker_that_reads_elsewhere("env_file = \"/run/app/env\"", "env_file = \"/run/app/other\"", Verdict::Fail)]
#[case::init_docker_that_ends_badly("command: [deliver, --once,", "command: [deliver, --twice,", Verdict::Error)]
#[tokio::test]
async fn a_template_is_caught(#[case] right: &str, #[case] wrong: &str, #[case] verdict: Verdict) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("vault")).unwrap();
    let mut changed = 0;
    for name in ["compose.yaml", "deliver.toml"] {
        let text = fs::read_to_string(deploy(CandidateId::Vault).join(name)).unwrap();
        changed += text.matches(right).count();
        fs::write(folder.path().join("vault").join(name), text.replace(right, wrong)).unwrap();
    }
    assert_eq!(changed, 1, "the template has changed: the saboteur no longer finds its place");
    let patience = Duration::from_millis(2500);
    let sabotage = Sabotage {
        delivery: Some(composed(folder.path().to_owned())),
        limits: Some((Sla(patience), Patience(patience))),
        ..Sabotage::default()
    };
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new("rotation.no-redeploy", crate::vault_docker(DeliveryId::Compose));
    let judgement = hold_sabotaged(&run, &cell, sabotage).await.unwrap().judgement;
    println!("{}: {}", judgement.verdict, judgement.reason);
    assert_eq!(judgement.verdict, verdict, "{}", judgement.reason);
}
