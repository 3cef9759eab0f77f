//! The cells as nextest cases: a case names its cell and calls the harness. One file per suite, one function per check.
//! Beside them, what holds the suite itself to account: saboteurs, bad input, interruptions, redaction, and judges that
//! nobody here wrote.

mod audit;
mod bad_cluster;
mod bad_input;
mod clients;
mod cluster;
mod command;
mod complete;
mod delivery;
mod docker;
mod engine;
mod hygiene;
mod interrupted;
mod judged;
mod network;
mod provision;
mod redaction;
mod remote;
mod rights;
mod rollout;
mod rotation;
mod saboteurs;
mod scope;
mod targets;
mod templates;

use harness::cell::{CandidateId, Cell, DeliveryId, Place, PlatformId};
use harness::hold::hold;
use harness::run::Run;
use harness::verdict::Verdict;
use rstest_reuse::{self, template};

/// Holds the cell; the case fails when its verdict is `fail` or `error`, and says why.
async fn holds(check: &str, place: Place) {
    harness::cli::log();
    let run = Run::current().unwrap_or_else(|error| panic!("error: {error:#}"));
    let cell = Cell::new(check, place);
    match hold(&run, &cell).await {
        Ok(evidence) => {
            let judgement = &evidence.judgement;
            println!("{}: {} [{}]: {}", cell, judgement.verdict, evidence.grade, judgement.reason);
            assert!(judgement.verdict < Verdict::Fail, "{}: {}", judgement.verdict, judgement.reason);
        }
        Err(error) => panic!("error: {error:#}"),
    }
}

const fn vault(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Vault, PlatformId::Process, delivery)
}

const fn vault_docker(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Vault, PlatformId::Docker, delivery)
}

const fn vault_kubernetes(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Vault, PlatformId::Kubernetes, delivery)
}

const fn doppler(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Doppler, PlatformId::Process, delivery)
}

const fn doppler_docker(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Doppler, PlatformId::Docker, delivery)
}

const fn doppler_kubernetes(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Doppler, PlatformId::Kubernetes, delivery)
}

const fn onepassword(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Onepassword, PlatformId::Process, delivery)
}

const fn onepassword_docker(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Onepassword, PlatformId::Docker, delivery)
}

const fn onepassword_kubernetes(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Onepassword, PlatformId::Kubernetes, delivery)
}

const fn aws(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Aws, PlatformId::Process, delivery)
}

const fn aws_docker(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Aws, PlatformId::Docker, delivery)
}

const fn aws_kubernetes(delivery: DeliveryId) -> Place {
    Place::new(CandidateId::Aws, PlatformId::Kubernetes, delivery)
}

/// A check that is held under every delivery.
#[template]
#[rstest]
#[case::vault_process_reload(crate::vault(DeliveryId::Reload))]
#[case::vault_process_reload_poll(crate::vault(DeliveryId::ReloadPoll))]
#[case::vault_process_restart(crate::vault(DeliveryId::Restart))]
#[case::vault_process_native_template(crate::vault(DeliveryId::NativeTemplate))]
#[case::vault_process_native_exec(crate::vault(DeliveryId::NativeExec))]
#[case::vault_process_redeploy(crate::vault(DeliveryId::Redeploy))]
#[case::doppler_process_reload(crate::doppler(DeliveryId::Reload))]
#[case::doppler_process_reload_webhook(crate::doppler(DeliveryId::ReloadWebhook))]
#[case::doppler_process_restart(crate::doppler(DeliveryId::Restart))]
#[case::doppler_process_redeploy(crate::doppler(DeliveryId::Redeploy))]
#[case::onepassword_process_reload(crate::onepassword(DeliveryId::Reload))]
#[case::onepassword_process_restart(crate::onepassword(DeliveryId::Restart))]
#[case::onepassword_process_redeploy(crate::onepassword(DeliveryId::Redeploy))]
#[case::aws_process_reload(crate::aws(DeliveryId::Reload))]
#[case::aws_process_reload_poll(crate::aws(DeliveryId::ReloadPoll))]
#[case::aws_process_restart(crate::aws(DeliveryId::Restart))]
#[case::aws_process_redeploy(crate::aws(DeliveryId::Redeploy))]
#[case::vault_docker_reload(crate::vault_docker(DeliveryId::Reload))]
#[case::vault_docker_restart(crate::vault_docker(DeliveryId::Restart))]
#[case::vault_docker_native_template(crate::vault_docker(DeliveryId::NativeTemplate))]
#[case::vault_docker_native_exec(crate::vault_docker(DeliveryId::NativeExec))]
#[case::vault_docker_compose(crate::vault_docker(DeliveryId::Compose))]
#[case::vault_docker_redeploy(crate::vault_docker(DeliveryId::Redeploy))]
#[case::doppler_docker_reload(crate::doppler_docker(DeliveryId::Reload))]
#[case::doppler_docker_restart(crate::doppler_docker(DeliveryId::Restart))]
#[case::doppler_docker_compose(crate::doppler_docker(DeliveryId::Compose))]
#[case::doppler_docker_redeploy(crate::doppler_docker(DeliveryId::Redeploy))]
#[case::onepassword_docker_reload(crate::onepassword_docker(DeliveryId::Reload))]
#[case::onepassword_docker_restart(crate::onepassword_docker(DeliveryId::Restart))]
#[case::onepassword_docker_compose(crate::onepassword_docker(DeliveryId::Compose))]
#[case::onepassword_docker_redeploy(crate::onepassword_docker(DeliveryId::Redeploy))]
#[case::aws_docker_reload(crate::aws_docker(DeliveryId::Reload))]
#[case::aws_docker_restart(crate::aws_docker(DeliveryId::Restart))]
#[case::aws_docker_compose(crate::aws_docker(DeliveryId::Compose))]
#[case::aws_docker_redeploy(crate::aws_docker(DeliveryId::Redeploy))]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::vault_kubernetes_reload_service_account(crate::vault_kubernetes(DeliveryId::ReloadServiceAccount))]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
#[case::vault_kubernetes_native_template(crate::vault_kubernetes(DeliveryId::NativeTemplate))]
#[case::vault_kubernetes_native_exec(crate::vault_kubernetes(DeliveryId::NativeExec))]
#[case::vault_kubernetes_native_eso(crate::vault_kubernetes(DeliveryId::NativeEso))]
#[case::vault_kubernetes_native_csi(crate::vault_kubernetes(DeliveryId::NativeCsi))]
#[case::vault_kubernetes_redeploy(crate::vault_kubernetes(DeliveryId::Redeploy))]
#[case::doppler_kubernetes_reload(crate::doppler_kubernetes(DeliveryId::Reload))]
#[case::doppler_kubernetes_restart(crate::doppler_kubernetes(DeliveryId::Restart))]
#[case::doppler_kubernetes_native_eso(crate::doppler_kubernetes(DeliveryId::NativeEso))]
#[case::doppler_kubernetes_native_operator(crate::doppler_kubernetes(DeliveryId::NativeOperator))]
#[case::doppler_kubernetes_redeploy(crate::doppler_kubernetes(DeliveryId::Redeploy))]
#[case::onepassword_kubernetes_reload(crate::onepassword_kubernetes(DeliveryId::Reload))]
#[case::onepassword_kubernetes_restart(crate::onepassword_kubernetes(DeliveryId::Restart))]
#[case::onepassword_kubernetes_native_eso(crate::onepassword_kubernetes(DeliveryId::NativeEso))]
#[case::onepassword_kubernetes_native_operator(crate::onepassword_kubernetes(DeliveryId::NativeOperator))]
#[case::onepassword_kubernetes_redeploy(crate::onepassword_kubernetes(DeliveryId::Redeploy))]
#[case::aws_kubernetes_reload(crate::aws_kubernetes(DeliveryId::Reload))]
#[case::aws_kubernetes_restart(crate::aws_kubernetes(DeliveryId::Restart))]
#[case::aws_kubernetes_native_eso(crate::aws_kubernetes(DeliveryId::NativeEso))]
#[case::aws_kubernetes_native_csi(crate::aws_kubernetes(DeliveryId::NativeCsi))]
#[case::aws_kubernetes_redeploy(crate::aws_kubernetes(DeliveryId::Redeploy))]
fn every_delivery(#[case] place: Place) {}

/// A check that is held under every delivery by which a rotation reaches the running container.
#[template]
#[rstest]
#[case::vault_process_reload(crate::vault(DeliveryId::Reload))]
#[case::vault_process_reload_poll(crate::vault(DeliveryId::ReloadPoll))]
#[case::vault_process_restart(crate::vault(DeliveryId::Restart))]
#[case::vault_process_native_template(crate::vault(DeliveryId::NativeTemplate))]
#[case::vault_process_native_exec(crate::vault(DeliveryId::NativeExec))]
#[case::doppler_process_reload(crate::doppler(DeliveryId::Reload))]
#[case::doppler_process_reload_webhook(crate::doppler(DeliveryId::ReloadWebhook))]
#[case::doppler_process_restart(crate::doppler(DeliveryId::Restart))]
#[case::onepassword_process_reload(crate::onepassword(DeliveryId::Reload))]
#[case::onepassword_process_restart(crate::onepassword(DeliveryId::Restart))]
#[case::aws_process_reload(crate::aws(DeliveryId::Reload))]
#[case::aws_process_reload_poll(crate::aws(DeliveryId::ReloadPoll))]
#[case::aws_process_restart(crate::aws(DeliveryId::Restart))]
#[case::vault_docker_reload(crate::vault_docker(DeliveryId::Reload))]
#[case::vault_docker_restart(crate::vault_docker(DeliveryId::Restart))]
#[case::vault_docker_native_template(crate::vault_docker(DeliveryId::NativeTemplate))]
#[case::vault_docker_native_exec(crate::vault_docker(DeliveryId::NativeExec))]
#[case::vault_docker_compose(crate::vault_docker(DeliveryId::Compose))]
#[case::doppler_docker_reload(crate::doppler_docker(DeliveryId::Reload))]
#[case::doppler_docker_restart(crate::doppler_docker(DeliveryId::Restart))]
#[case::doppler_docker_compose(crate::doppler_docker(DeliveryId::Compose))]
#[case::onepassword_docker_reload(crate::onepassword_docker(DeliveryId::Reload))]
#[case::onepassword_docker_restart(crate::onepassword_docker(DeliveryId::Restart))]
#[case::onepassword_docker_compose(crate::onepassword_docker(DeliveryId::Compose))]
#[case::aws_docker_reload(crate::aws_docker(DeliveryId::Reload))]
#[case::aws_docker_restart(crate::aws_docker(DeliveryId::Restart))]
#[case::aws_docker_compose(crate::aws_docker(DeliveryId::Compose))]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::vault_kubernetes_reload_service_account(crate::vault_kubernetes(DeliveryId::ReloadServiceAccount))]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
#[case::vault_kubernetes_native_template(crate::vault_kubernetes(DeliveryId::NativeTemplate))]
#[case::vault_kubernetes_native_exec(crate::vault_kubernetes(DeliveryId::NativeExec))]
#[case::vault_kubernetes_native_eso(crate::vault_kubernetes(DeliveryId::NativeEso))]
#[case::vault_kubernetes_native_csi(crate::vault_kubernetes(DeliveryId::NativeCsi))]
#[case::doppler_kubernetes_reload(crate::doppler_kubernetes(DeliveryId::Reload))]
#[case::doppler_kubernetes_restart(crate::doppler_kubernetes(DeliveryId::Restart))]
#[case::doppler_kubernetes_native_eso(crate::doppler_kubernetes(DeliveryId::NativeEso))]
#[case::doppler_kubernetes_native_operator(crate::doppler_kubernetes(DeliveryId::NativeOperator))]
#[case::onepassword_kubernetes_reload(crate::onepassword_kubernetes(DeliveryId::Reload))]
#[case::onepassword_kubernetes_restart(crate::onepassword_kubernetes(DeliveryId::Restart))]
#[case::onepassword_kubernetes_native_eso(crate::onepassword_kubernetes(DeliveryId::NativeEso))]
#[case::onepassword_kubernetes_native_operator(crate::onepassword_kubernetes(DeliveryId::NativeOperator))]
#[case::aws_kubernetes_reload(crate::aws_kubernetes(DeliveryId::Reload))]
#[case::aws_kubernetes_restart(crate::aws_kubernetes(DeliveryId::Restart))]
#[case::aws_kubernetes_native_eso(crate::aws_kubernetes(DeliveryId::NativeEso))]
#[case::aws_kubernetes_native_csi(crate::aws_kubernetes(DeliveryId::NativeCsi))]
fn rotating_deliveries(#[case] place: Place) {}

/// A check whose answer does not depend on the delivery.
#[template]
#[rstest]
#[case::vault_process_reload(crate::vault(DeliveryId::Reload))]
#[case::doppler_process_reload(crate::doppler(DeliveryId::Reload))]
#[case::onepassword_process_reload(crate::onepassword(DeliveryId::Reload))]
#[case::aws_process_reload(crate::aws(DeliveryId::Reload))]
#[case::vault_docker_reload(crate::vault_docker(DeliveryId::Reload))]
#[case::doppler_docker_reload(crate::doppler_docker(DeliveryId::Reload))]
#[case::onepassword_docker_reload(crate::onepassword_docker(DeliveryId::Reload))]
#[case::aws_docker_reload(crate::aws_docker(DeliveryId::Reload))]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::doppler_kubernetes_reload(crate::doppler_kubernetes(DeliveryId::Reload))]
#[case::onepassword_kubernetes_reload(crate::onepassword_kubernetes(DeliveryId::Reload))]
#[case::aws_kubernetes_reload(crate::aws_kubernetes(DeliveryId::Reload))]
fn any_delivery(#[case] place: Place) {}

/// A check of what `restart` alone promises.
#[template]
#[rstest]
#[case::vault_process_restart(crate::vault(DeliveryId::Restart))]
#[case::doppler_process_restart(crate::doppler(DeliveryId::Restart))]
#[case::onepassword_process_restart(crate::onepassword(DeliveryId::Restart))]
#[case::aws_process_restart(crate::aws(DeliveryId::Restart))]
#[case::vault_docker_restart(crate::vault_docker(DeliveryId::Restart))]
#[case::doppler_docker_restart(crate::doppler_docker(DeliveryId::Restart))]
#[case::onepassword_docker_restart(crate::onepassword_docker(DeliveryId::Restart))]
#[case::aws_docker_restart(crate::aws_docker(DeliveryId::Restart))]
fn restart_alone(#[case] place: Place) {}

/// The negative control.
#[template]
#[rstest]
#[case::vault_process_redeploy(crate::vault(DeliveryId::Redeploy))]
#[case::doppler_process_redeploy(crate::doppler(DeliveryId::Redeploy))]
#[case::onepassword_process_redeploy(crate::onepassword(DeliveryId::Redeploy))]
#[case::aws_process_redeploy(crate::aws(DeliveryId::Redeploy))]
#[case::vault_docker_redeploy(crate::vault_docker(DeliveryId::Redeploy))]
#[case::doppler_docker_redeploy(crate::doppler_docker(DeliveryId::Redeploy))]
#[case::onepassword_docker_redeploy(crate::onepassword_docker(DeliveryId::Redeploy))]
#[case::aws_docker_redeploy(crate::aws_docker(DeliveryId::Redeploy))]
#[case::vault_kubernetes_redeploy(crate::vault_kubernetes(DeliveryId::Redeploy))]
#[case::doppler_kubernetes_redeploy(crate::doppler_kubernetes(DeliveryId::Redeploy))]
#[case::onepassword_kubernetes_redeploy(crate::onepassword_kubernetes(DeliveryId::Redeploy))]
#[case::aws_kubernetes_redeploy(crate::aws_kubernetes(DeliveryId::Redeploy))]
fn redeploy_alone(#[case] place: Place) {}

/// A check that only containers can be held to, where the app stays when its sidecar goes.
#[template]
#[rstest]
#[case::vault_docker_reload(crate::vault_docker(DeliveryId::Reload))]
#[case::doppler_docker_reload(crate::doppler_docker(DeliveryId::Reload))]
#[case::onepassword_docker_reload(crate::onepassword_docker(DeliveryId::Reload))]
#[case::aws_docker_reload(crate::aws_docker(DeliveryId::Reload))]
fn containers_reloaded(#[case] place: Place) {}

/// A check that only containers can be held to, however values reach the app.
#[template]
#[rstest]
#[case::vault_docker_reload(crate::vault_docker(DeliveryId::Reload))]
#[case::vault_docker_restart(crate::vault_docker(DeliveryId::Restart))]
#[case::doppler_docker_reload(crate::doppler_docker(DeliveryId::Reload))]
#[case::doppler_docker_restart(crate::doppler_docker(DeliveryId::Restart))]
#[case::onepassword_docker_reload(crate::onepassword_docker(DeliveryId::Reload))]
#[case::onepassword_docker_restart(crate::onepassword_docker(DeliveryId::Restart))]
#[case::aws_docker_reload(crate::aws_docker(DeliveryId::Reload))]
#[case::aws_docker_restart(crate::aws_docker(DeliveryId::Restart))]
fn containers(#[case] place: Place) {}

/// A check of what a Deployment that rolls promises.
#[template]
#[rstest]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
#[case::doppler_kubernetes_restart(crate::doppler_kubernetes(DeliveryId::Restart))]
#[case::onepassword_kubernetes_restart(crate::onepassword_kubernetes(DeliveryId::Restart))]
#[case::aws_kubernetes_restart(crate::aws_kubernetes(DeliveryId::Restart))]
fn rolling(#[case] place: Place) {}

/// A check that breaks the cluster.
#[template]
#[rstest]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
fn in_a_scratch_cluster(#[case] place: Place) {}

/// A check of what a delivery leaves in a cluster.
#[template]
#[rstest]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::vault_kubernetes_reload_service_account(crate::vault_kubernetes(DeliveryId::ReloadServiceAccount))]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
#[case::vault_kubernetes_redeploy(crate::vault_kubernetes(DeliveryId::Redeploy))]
#[case::doppler_kubernetes_reload(crate::doppler_kubernetes(DeliveryId::Reload))]
#[case::doppler_kubernetes_restart(crate::doppler_kubernetes(DeliveryId::Restart))]
#[case::doppler_kubernetes_redeploy(crate::doppler_kubernetes(DeliveryId::Redeploy))]
#[case::onepassword_kubernetes_reload(crate::onepassword_kubernetes(DeliveryId::Reload))]
#[case::onepassword_kubernetes_restart(crate::onepassword_kubernetes(DeliveryId::Restart))]
#[case::onepassword_kubernetes_redeploy(crate::onepassword_kubernetes(DeliveryId::Redeploy))]
#[case::aws_kubernetes_reload(crate::aws_kubernetes(DeliveryId::Reload))]
#[case::aws_kubernetes_restart(crate::aws_kubernetes(DeliveryId::Restart))]
#[case::aws_kubernetes_redeploy(crate::aws_kubernetes(DeliveryId::Redeploy))]
fn in_a_cluster(#[case] place: Place) {}

/// A check of the service accounts of app and delivery.
#[template]
#[rstest]
#[case::vault_kubernetes_reload(crate::vault_kubernetes(DeliveryId::Reload))]
#[case::vault_kubernetes_reload_service_account(crate::vault_kubernetes(DeliveryId::ReloadServiceAccount))]
#[case::vault_kubernetes_restart(crate::vault_kubernetes(DeliveryId::Restart))]
#[case::doppler_kubernetes_reload(crate::doppler_kubernetes(DeliveryId::Reload))]
#[case::doppler_kubernetes_restart(crate::doppler_kubernetes(DeliveryId::Restart))]
#[case::onepassword_kubernetes_reload(crate::onepassword_kubernetes(DeliveryId::Reload))]
#[case::onepassword_kubernetes_restart(crate::onepassword_kubernetes(DeliveryId::Restart))]
#[case::aws_kubernetes_reload(crate::aws_kubernetes(DeliveryId::Reload))]
#[case::aws_kubernetes_restart(crate::aws_kubernetes(DeliveryId::Restart))]
fn with_accounts(#[case] place: Place) {}
