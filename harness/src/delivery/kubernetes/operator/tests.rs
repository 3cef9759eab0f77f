use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::Value;
use sidecar::config::{AwsConfig, DopplerConfig, OnepasswordConfig, SourceConfig, VaultConfig, VaultLogin};

use super::*;
use crate::cell::CandidateId;
use crate::compose;
use crate::tools::workspace;

/// Where a source is, without a credential.
fn source(candidate: CandidateId) -> SourceConfig {
    let file = |name: &str| PathBuf::from(format!("/run/identity/{name}"));
    match candidate {
        CandidateId::Vault => SourceConfig::Vault(VaultConfig {
            address: "https://vault.example:8200".into(),
            ca_file: Some(file("ca.pem")),
            mount: "prod".into(),
            path: "poc/app".into(),
            login: VaultLogin::Approle {
                role_id_file: file("role-id"),
                secret_id_file: file("secret-id"),
                mount: "approle".into(),
            },
        }),
        CandidateId::Doppler => SourceConfig::Doppler(DopplerConfig {
            address: "https://api.doppler.com".into(),
            ca_file: None,
            project: "poc".into(),
            config: "prd".into(),
            token_file: file("serviceToken"),
        }),
        CandidateId::Onepassword => SourceConfig::Onepassword(OnepasswordConfig {
            address: "https://connect.example:8080".into(),
            ca_file: None,
            vault: "prodvaultprodvaultprodvaul".into(),
            item: "appitemappitemappitemappit".into(),
            token_file: file("token"),
        }),
        CandidateId::Aws => SourceConfig::Aws(AwsConfig {
            region: "eu-central-1".into(),
            secret_id: "prod/poc/app".into(),
            endpoint: None,
            ca_file: None,
            credentials_file: Some(file("credentials")),
        }),
    }
}

fn objects(delivery: DeliveryId, candidate: CandidateId) -> Vec<Value> {
    let source = source(candidate);
    let order = Order {
        delivery,
        source: &source,
        identity: "app-backend",
        secret: "app-env",
        names: &["POC_TEST_VALUE".to_owned()],
        every: Duration::from_secs(60),
    };
    order.objects().unwrap().into_iter().map(|(_, object)| object).collect()
}

#[rstest]
#[case::eso_vault(DeliveryId::NativeEso, CandidateId::Vault)]
#[case::eso_doppler(DeliveryId::NativeEso, CandidateId::Doppler)]
#[case::eso_onepassword(DeliveryId::NativeEso, CandidateId::Onepassword)]
#[case::eso_aws(DeliveryId::NativeEso, CandidateId::Aws)]
#[case::operator_doppler(DeliveryId::NativeOperator, CandidateId::Doppler)]
#[case::operator_onepassword(DeliveryId::NativeOperator, CandidateId::Onepassword)]
fn an_operator_is_told_what_to_deliver(#[case] delivery: DeliveryId, #[case] candidate: CandidateId) {
    insta::assert_json_snapshot!(format!("{delivery}_{candidate}"), objects(delivery, candidate));
}

#[rstest]
#[case::csi(DeliveryId::NativeCsi, CandidateId::Vault)]
#[case::no_such_operator(DeliveryId::NativeOperator, CandidateId::Aws)]
fn no_object_is_made_up_where_there_is_none(#[case] delivery: DeliveryId, #[case] candidate: CandidateId) {
    let source = source(candidate);
    let order =
        Order { delivery, source: &source, identity: "i", secret: "s", names: &[], every: Duration::from_secs(1) };
    assert!(order.objects().is_err());
}

#[rstest]
#[case::vault("role_id secret_id", SourceKind::Vault, &["role-id", "secret-id"])]
#[case::aws("aws_access_key_id = id\naws_secret_access_key = a=b\naws_session_token=t\n", SourceKind::Aws, &["access-key-id", "secret-access-key", "session-token"])]
fn credentials_stand_under_the_keys_that_the_objects_name(
    #[case] text: &str,
    #[case] kind: SourceKind,
    #[case] keys: &[&str],
) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credential");
    fs::write(&file, text).unwrap();
    let found = credentials(&kind.at(&file)).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), keys);
    if let SourceKind::Aws = kind {
        assert_eq!(found["secret-access-key"], "a=b");
    }
}

/// A source all of whose credentials are in one file.
#[derive(Clone, Copy)]
enum SourceKind {
    Vault,
    Aws,
}

impl SourceKind {
    fn at(self, file: &Path) -> SourceConfig {
        match self {
            Self::Vault => {
                let SourceConfig::Vault(vault) = source(CandidateId::Vault) else { unreachable!() };
                let (role_id_file, secret_id_file) = (file.to_owned(), file.to_owned());
                let login = VaultLogin::Approle { role_id_file, secret_id_file, mount: "approle".into() };
                SourceConfig::Vault(VaultConfig { login, ca_file: None, ..vault })
            }
            Self::Aws => {
                let SourceConfig::Aws(aws) = source(CandidateId::Aws) else { unreachable!() };
                SourceConfig::Aws(AwsConfig { credentials_file: Some(file.to_owned()), ..aws })
            }
        }
    }
}

const ESO: &[&str] = &["clustersecretstores", "externalsecrets", "externalsecrets/status", "secretstores"];
const RELOADER: &[&str] = &["registry.example/etcd:3", "ghcr.io/stakater/reloader:v1.4.21"];

/// What a cluster lacks, by the first words that name it; empty where it lacks nothing.
#[rstest]
#[case::nothing_there(DeliveryId::NativeEso, CandidateId::Vault, &[], &[], "the External Secrets Operator is not in the cluster: it has no secretstores of external-secrets.io/v1")]
#[case::half_there(DeliveryId::NativeEso, CandidateId::Vault, &["secretstores"], RELOADER, "the External Secrets Operator is not in the cluster: it has no externalsecrets")]
#[case::nobody_rolls(DeliveryId::NativeEso, CandidateId::Vault, ESO, &["ghcr.io/stakater/forecastle:1"], "the External Secrets Operator leaves the app as it is, and Stakater's Reloader")]
#[case::all_there(DeliveryId::NativeEso, CandidateId::Vault, ESO, RELOADER, "")]
#[case::connect_by_its_object(DeliveryId::NativeEso, CandidateId::Onepassword, ESO, RELOADER, "")]
#[case::address_of_the_operator(
    DeliveryId::NativeEso,
    CandidateId::Doppler,
    ESO,
    RELOADER,
    "the External Secrets Operator takes Doppler's address from its own environment"
)]
#[case::endpoint_of_the_operator(
    DeliveryId::NativeEso,
    CandidateId::Aws,
    ESO,
    RELOADER,
    "the External Secrets Operator takes the endpoint of AWS from its own environment"
)]
#[case::no_doppler_operator(DeliveryId::NativeOperator, CandidateId::Doppler, &[], &[], "the Doppler operator is not in the cluster: it has no dopplersecrets of secrets.doppler.com/v1alpha1")]
#[case::doppler_rolls_by_itself(DeliveryId::NativeOperator, CandidateId::Doppler, &["dopplersecrets"], &[], "")]
#[case::no_onepassword_operator(DeliveryId::NativeOperator, CandidateId::Onepassword, &[], &[], "the 1Password operator is not in the cluster: it has no onepassworditems of onepassword.com/v1")]
#[case::connect_of_the_operator(DeliveryId::NativeOperator, CandidateId::Onepassword, &["onepassworditems"], &[], "the 1Password operator reads from the Connect server of its own environment")]
#[case::no_csi_driver(DeliveryId::NativeCsi, CandidateId::Vault, &[], &[], "the Secrets Store CSI driver is not in the cluster: it has no secretproviderclasses of secrets-store.csi.x-k8s.io/v1")]
#[case::csi_trusts_its_own(DeliveryId::NativeCsi, CandidateId::Vault, &["secretproviderclasses"], RELOADER, "the Secrets Store CSI driver has a provider for this backend that trusts the authorities in its own pod alone")]
#[case::csi_takes_a_role(DeliveryId::NativeCsi, CandidateId::Aws, &["secretproviderclasses"], RELOADER, "the Secrets Store CSI driver has a provider for this backend that takes on the IAM role")]
fn what_is_not_there_is_said_before_anything_is_begun(
    #[case] delivery: DeliveryId,
    #[case] candidate: CandidateId,
    #[case] kinds: &[&str],
    #[case] images: &[&str],
    #[case] expected: &str,
) {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let place = Place::new(candidate, PlatformId::Kubernetes, delivery);
    let operator = operator(place).unwrap();
    let said = absent(&operator, place, &Targets::default(), &owned(kinds), &owned(images)).unwrap_or_default();
    assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said}");
    assert!(said.is_empty() || said.contains("(source: "), "{said}");
}

/// Services themselves, where the credentials do not matter.
const SERVICES: &str = r#"
    [vault]
    grade = "self-hosted"
    address = "https://vault.example:8200"
    token = { env = "T" }
    mounts = { dev = "d", staging = "s", prod = "p" }
    audit = { device = "file", file = "/var/log/audit" }

    [doppler]
    grade = "live"
    token = { env = "T" }

    [onepassword]
    grade = "live"
    address = "https://connect.example:8080"
    vaults = { dev = "d", staging = "s", prod = "p" }
    rotator = { env = "T" }
    readers = { dev = { env = "T" }, staging = { env = "T" }, prod = { env = "T" } }

    [aws]
    grade = "live"
    region = "eu-central-1"
    rotator = { access_key_id = { env = "T" }, secret_access_key = { env = "T" } }
"#;

#[rstest]
#[case::vault(DeliveryId::NativeEso, CandidateId::Vault, "", true)]
#[case::vault_with_a_ca(DeliveryId::NativeEso, CandidateId::Vault, "vault.ca_file", true)]
#[case::vault_by_its_app_role(DeliveryId::NativeCsi, CandidateId::Vault, "", false)]
#[case::doppler_itself(DeliveryId::NativeEso, CandidateId::Doppler, "", true)]
#[case::doppler_elsewhere(DeliveryId::NativeEso, CandidateId::Doppler, "doppler.address", false)]
#[case::doppler_elsewhere_by_its_object(DeliveryId::NativeOperator, CandidateId::Doppler, "doppler.address", true)]
#[case::doppler_with_a_ca(DeliveryId::NativeOperator, CandidateId::Doppler, "doppler.ca_file", false)]
#[case::connect(DeliveryId::NativeEso, CandidateId::Onepassword, "", true)]
#[case::connect_with_a_ca(DeliveryId::NativeEso, CandidateId::Onepassword, "onepassword.ca_file", false)]
#[case::connect_of_the_operator(DeliveryId::NativeOperator, CandidateId::Onepassword, "", true)]
#[case::aws_itself(DeliveryId::NativeEso, CandidateId::Aws, "", true)]
#[case::aws_elsewhere(DeliveryId::NativeEso, CandidateId::Aws, "aws.endpoint", false)]
fn an_operator_reaches_what_its_objects_can_name(
    #[case] delivery: DeliveryId,
    #[case] candidate: CandidateId,
    #[case] besides: &str,
    #[case] reached: bool,
) {
    let mut targets: toml::Table = toml::from_str(SERVICES).unwrap();
    if let Some((section, field)) = besides.split_once('.') {
        targets[section].as_table_mut().unwrap().insert(field.into(), "https://stage.example".into());
    }
    let targets = targets.try_into().unwrap();
    let place = Place::new(candidate, PlatformId::Kubernetes, delivery);
    assert_eq!(facts::out_of_reach(place, &targets).is_none(), reached);
}

#[rstest]
#[case("ghcr.io/stakater/reloader:v1.4.21", true)]
#[case("registry.example:5000/mirror/stakater-reloader@sha256:00", true)]
#[case("ghcr.io/reloader/other:1", false)]
fn reloader_is_known_by_its_image(#[case] image: &str, #[case] expected: bool) {
    assert_eq!(facts::is_reloader(image), expected);
}

/// A Deployment of the version that is there already is not to be rolled for nothing.
#[rstest]
#[case::doppler(Rolls::Doppler, &[("secrets.doppler.com/secretsupdate.app-env", "W/\"7\"")])]
#[case::reloader(Rolls::Reloader, &[])]
#[case::onepassword(Rolls::Onepassword, &[])]
fn what_the_operator_would_note_is_noted_before(#[case] rolls: Rolls, #[case] expected: &[(&str, &str)]) {
    let annotations = BTreeMap::from([("secrets.doppler.com/version".to_owned(), "W/\"7\"".to_owned())]);
    let seen = rolls.seen("app-env", &annotations);
    assert_eq!(seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
}

/// The documents of a manifest.
fn manifest(name: &str) -> (String, Vec<Value>) {
    let file = workspace().join("fixtures/deploy/kubernetes").join(name).with_extension("yaml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let documents = serde_saphyr::from_multiple(&text).unwrap();
    (text, documents)
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("there is no {kind}"))
}

/// What stands in a manifest for people is what a cell makes; and its Deployment rolls by the same annotation.
#[rstest]
#[case::eso_vault("eso-vault", DeliveryId::NativeEso, CandidateId::Vault)]
#[case::eso_doppler("eso-doppler", DeliveryId::NativeEso, CandidateId::Doppler)]
#[case::eso_onepassword("eso-onepassword", DeliveryId::NativeEso, CandidateId::Onepassword)]
#[case::eso_aws("eso-aws", DeliveryId::NativeEso, CandidateId::Aws)]
#[case::operator_doppler("operator-doppler", DeliveryId::NativeOperator, CandidateId::Doppler)]
#[case::operator_onepassword("operator-onepassword", DeliveryId::NativeOperator, CandidateId::Onepassword)]
#[case::csi_vault("csi-vault", DeliveryId::NativeCsi, CandidateId::Vault)]
#[case::csi_aws("csi-aws", DeliveryId::NativeCsi, CandidateId::Aws)]
fn a_manifest_is_what_a_cell_makes(#[case] name: &str, #[case] delivery: DeliveryId, #[case] candidate: CandidateId) {
    let (text, documents) = manifest(name);
    let operator = facts::of(delivery, candidate).unwrap();
    match delivery {
        // No cell makes these: what reads is the pod's service account.
        DeliveryId::NativeCsi => {
            let class = of_kind(&documents, "SecretProviderClass");
            assert_eq!(class["apiVersion"], operator.version());
            assert_eq!(class["spec"]["secretObjects"][0]["secretName"], "app-env");
        }
        _ => {
            for object in objects(delivery, candidate) {
                assert_eq!(of_kind(&documents, object["kind"].as_str().unwrap()), &object);
            }
        }
    }
    let app = of_kind(&documents, "Deployment");
    let (mark, marked) = operator.rolls.mark("app-env");
    assert_eq!(app["metadata"]["annotations"][mark], marked.as_str());
    let values = &app["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"];
    assert_eq!((&values["name"], &values["key"]), (&"app-env".into(), &"POC_TEST_VALUE".into()));
    assert!(documents.iter().all(|document| document["kind"] != "Secret"), "a Secret is written down");
    assert_eq!(compose::credentials(&text), Vec::<usize>::new());
}
