//! What is left of runs on the engine: `reap` finds all of it, and nothing else.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use harness::ready;
use harness::run::Owner;
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use testcontainers::bollard::models::{ContainerCreateBody, NetworkCreateRequest, VolumeCreateRequest};
use testcontainers::bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions,
};

use super::*;
use crate::command::{conformance, kept_in};

/// A process that has ended: nobody has this id with that start.
fn ended() -> Owner {
    Owner { pid: std::process::id(), ticks: 1 }
}

/// A run of its own, so that nobody else's reaper looks at it.
fn own_run(owner: Owner) -> Run {
    Run { id: format!("left-{}", random::hex(4).unwrap()), owner, ..Run::current().unwrap() }
}

/// The containers, networks and volumes with the label of a run.
async fn labelled(run: &str) -> Vec<String> {
    let engine = engine().await;
    let filters = HashMap::from([("label", vec![format!("{RUN_LABEL}={run}")])]);
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers = engine.list_containers(Some(containers)).await.unwrap();
    let networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = engine.list_networks(Some(networks)).await.unwrap();
    let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes = engine.list_volumes(Some(volumes)).await.unwrap().volumes.unwrap_or_default();
    let containers = containers.into_iter().map(|container| format!("container {}", container.names.unwrap()[0]));
    let networks = networks.into_iter().map(|network| format!("network {}", network.name.unwrap()));
    containers.chain(networks).chain(volumes.into_iter().map(|volume| format!("volume {}", volume.name))).collect()
}

#[tokio::test]
async fn what_an_ended_run_left_is_reaped_and_nothing_else() {
    let mut scene = Scene::of(own_run(ended())).await;
    let probe = scene.started().await;
    let image = inspect(&id(probe.as_ref())).await.image;
    // Nobody is left who would remove it.
    std::mem::forget(probe);
    let engine = engine().await;
    let labels = HashMap::from([
        (RUN_LABEL.to_owned(), scene.run.id.clone()),
        (OWNER_LABEL.to_owned(), scene.run.owner.to_string()),
    ]);
    let volume = VolumeCreateRequest { name: Some(scene.run.id.clone()), labels: Some(labels), ..Default::default() };
    engine.create_volume(volume).await.unwrap();
    // Somebody else's: the same image, similar names, no label, or a label without an owner.
    let stranger = format!("conformance-stranger-{}", random::hex(4).unwrap());
    let odd = HashMap::from([(RUN_LABEL.to_owned(), scene.run.id.clone())]);
    let body = ContainerCreateBody { image, labels: Some(odd), ..Default::default() };
    let options = CreateContainerOptionsBuilder::new().name(&stranger).build();
    engine.create_container(Some(options), body).await.unwrap();
    let network = NetworkCreateRequest { name: stranger.clone(), ..Default::default() };
    engine.create_network(network).await.unwrap();
    let volume = VolumeCreateRequest { name: Some(stranger.clone()), ..Default::default() };
    engine.create_volume(volume).await.unwrap();
    let reaped = harness::reap::containers(Some(&scene.run.id)).await.unwrap();
    let kinds: Vec<_> = reaped.iter().map(|(_, what)| what.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["container", "network", "volume"], "{reaped:?}");
    assert_eq!(labelled(&scene.run.id).await, [format!("container /{stranger}")]);
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    engine.remove_container(&stranger, Some(force)).await.expect("it was left alone");
    engine.remove_network(&stranger).await.expect("it was left alone");
    engine.remove_volume(&stranger, None::<RemoveVolumeOptions>).await.expect("it was left alone");
    assert_eq!(harness::reap::containers(Some(&scene.run.id)).await.unwrap(), []);
    scene.folder.remove().unwrap();
}

#[tokio::test]
async fn a_run_at_work_keeps_its_containers_until_they_are_dropped() {
    let mut scene = Scene::of(own_run(Owner::of(std::process::id()))).await;
    let probe = scene.started().await;
    let id = id(probe.as_ref());
    assert_eq!(harness::reap::containers(Some(&scene.run.id)).await.unwrap(), []);
    inspect(&id).await;
    drop(probe);
    engine().await.inspect_container(&id, None::<InspectContainerOptions>).await.unwrap_err();
    scene.end().await;
}

#[tokio::test]
async fn what_a_panic_leaves_is_reaped() {
    let run = own_run(ended());
    let panicking = run.clone();
    let panicked = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut scene = Scene::of(panicking).await;
            let _probe = scene.started().await;
            panic!("as planned");
        })
    });
    panicked.join().unwrap_err();
    // What was dropped is gone; the network needs somebody who waits.
    harness::reap::containers(Some(&run.id)).await.unwrap();
    assert_eq!(labelled(&run.id).await, Vec::<String>::new());
}

#[rstest]
#[case::sigint(Signal::INT, 130)]
#[case::sigterm(Signal::TERM, 143)]
#[case::sigkill(Signal::KILL, 137)]
#[tokio::test]
async fn a_run_that_is_ended_leaves_nothing_that_reap_does_not_find(#[case] signal: Signal, #[case] code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        conformance(&["run", "--platform", "docker", "--check", "rotation.propagates", "--delivery", "native-exec"]);
    let mut child = command.args(kept_in(folder.path())).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let run = said.find_map(|line| Some(line.unwrap().strip_prefix("run ")?.split(':').next()?.to_owned()));
    let run = run.expect("the run says its id before it begins");
    // Whoever writes to a pipe that nobody reads would end by that and not by the signal.
    std::thread::spawn(move || said.for_each(drop));
    // The network, the notifier, the server, the agent.
    let under_way = async || Ok((labelled(&run).await.len() >= 4).then_some(()));
    ready::until("the cell to be under way", Duration::from_secs(90), under_way).await.unwrap();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = child.wait().unwrap();
    let ended = status.code().or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s));
    assert_eq!(ended, Some(code));
    if signal != Signal::KILL {
        // Who is asked to end cleans up by itself.
        assert_eq!(labelled(&run).await, Vec::<String>::new());
    }
    // A cell notices that its run is over, and may be at work while the reaper is.
    let gone = async || {
        assert!(conformance(&["reap", &run]).status()?.success());
        Ok(labelled(&run).await.is_empty().then_some(()))
    };
    ready::until("the run's traces to go", Duration::from_secs(30), gone).await.unwrap();
}
