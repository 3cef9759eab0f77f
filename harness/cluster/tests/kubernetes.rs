//! Real clusters: two at once, killed starters, components that end, bad input; and that nothing is left of any.
//!
//! These need root and Kubernetes' binaries, and fail where these are missing: ask for them with
//! `cargo nextest run --profile cluster`.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{Binaries, Cluster, Component, ImageTar, Unusable, down, reap};
use rstest::rstest;
use support::{Starter, fake, leftovers, options, pause};

/// What the issue of a cluster promises.
const DOWN: Duration = Duration::from_secs(3);

async fn up(folder: &Path) -> Cluster {
    let told = folder.display().to_string();
    Cluster::up(&options(folder), &|what| eprintln!("{told}: {what}")).await.unwrap()
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    let program = support::binaries().folder.join("kubectl");
    let said = Command::new(program).arg("--kubeconfig").arg(cluster.kubeconfig()).args(args).output().unwrap();
    assert!(said.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// A pod of an image that was loaded is running.
async fn run_pod(cluster: &Cluster) {
    let image = ImageTar::of("conformance.local/waits:1", &[("waits", &pause())]).await.unwrap();
    cluster.load(&image).await.unwrap();
    kubectl(cluster, &["run", "waits", "--image", image.name(), "--image-pull-policy", "Never"]);
    kubectl(cluster, &["wait", "pod/waits", "--for=condition=Ready", "--timeout=60s"]);
}

#[tokio::test]
async fn two_kubernetes_clusters_at_once_do_not_meet_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folders = [home.path().join("one"), home.path().join("two")];
    let (mut one, two) = tokio::join!(up(&folders[0]), up(&folders[1]));
    assert_ne!(one.node().unwrap(), two.node().unwrap());
    for cluster in [&one, &two] {
        run_pod(cluster).await;
        cluster.check().await.unwrap();
    }
    // What one has the other has not: they are two.
    kubectl(&one, &["create", "namespace", "only-here"]);
    assert!(
        kubectl(&two, &["get", "namespaces", "--output", "name"]).lines().all(|name| name != "namespace/only-here")
    );
    // A Service is reached from this machine: the one of the API itself.
    let service = kubectl(&one, &["get", "service", "kubernetes", "--output", "jsonpath={.spec.clusterIP}"]);
    let service = format!("{service}:443").parse().unwrap();
    std::net::TcpStream::connect_timeout(&service, Duration::from_secs(5)).unwrap();

    // The API goes away and comes back, and so does the kubelet.
    one.stop(Component::KubeApiserver).unwrap();
    let error = one.check().await.unwrap_err();
    assert!(error.downcast_ref::<Unusable>().is_some_and(|error| error.place == "kube-apiserver"), "{error}");
    one.start(Component::KubeApiserver).unwrap();
    one.until_ready(Duration::from_secs(60)).await.unwrap();
    one.stop(Component::Kubelet).unwrap();
    assert_eq!(one.missing(), [Component::Kubelet]);
    one.start(Component::Kubelet).unwrap();
    assert_eq!(one.missing(), []);

    let found = folders.each_ref().map(|folder| support::identity(folder));
    for (folder, identity) in folders.iter().zip(&found) {
        // What looks for leftovers sees a cluster that is up: else it would prove nothing.
        let kinds: Vec<_> = leftovers(identity).iter().map(|left| left.split(' ').next().unwrap().to_owned()).collect();
        for kind in ["process", "mount", "link", "route", "cgroup", "rule", "folder"] {
            assert!(kinds.iter().any(|found| found == kind), "no {kind} among {kinds:?}");
        }
        let begun = Instant::now();
        down(folder).unwrap();
        assert!(begun.elapsed() < DOWN, "down took {:?}", begun.elapsed());
        assert_eq!(leftovers(identity), Vec::<String>::new());
    }
}

#[rstest]
#[case::at_first("namespaces")]
#[case::half_way("the API answers")]
#[case::at_the_end("usable")]
#[tokio::test]
async fn reap_removes_what_a_killed_starter_left_of_a_kubernetes_cluster(#[case] moment: &str) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    let mut starter = Starter::begin(&folder, "run");
    starter.until(moment);
    let identity = support::identity(&folder);
    let owner = starter.owner();
    let mut roots = vec![home.path().to_owned()];
    let mut wanted = |run: &str, by: &str| run == "run" && by == owner && !support::is_alive(by);
    assert_eq!(reap(&roots, &mut wanted).unwrap(), []);
    starter.kill();
    assert!(!leftovers(&identity).is_empty());
    if moment == "usable" {
        // Found by the labels of its processes alone.
        roots.clear();
    }
    assert_eq!(reap(&roots, &mut wanted).unwrap(), [("run".to_owned(), folder)]);
    assert_eq!(leftovers(&identity), Vec::<String>::new());
}

/// Not a test: the starter that the one above kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn starter() {
    Starter::run().await;
}

#[tokio::test]
async fn a_kubernetes_component_that_ends_is_named_with_its_last_words_and_nothing_is_left() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(&home.path().join("cluster"));
    options.binaries.etcd = fake(home.path(), "etcd", "echo 'no etcd today' >&2; exit 1");
    let error = Cluster::up(&options, &|_| {}).await.unwrap_err();
    let error = error.downcast_ref::<Unusable>().unwrap();
    assert_eq!(error.place, "etcd");
    assert!(error.problem.contains("no etcd today"), "{error}");
    assert!(!options.folder.exists());
}

#[rstest]
#[case::occupied("occupied/something", "something is in it already")]
#[case::hidden("/var/tmp/conformance-cluster", "a /var of its own")]
#[case::no_folder("/proc/cluster", "failed to make it")]
#[tokio::test]
async fn a_folder_that_will_not_do_for_a_kubernetes_cluster_is_bad_input(#[case] folder: &str, #[case] problem: &str) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("occupied/something")).unwrap();
    let folder = if folder.starts_with('/') { folder.into() } else { home.path().join("occupied") };
    let error = Cluster::up(&options(&folder), &|_| {}).await.unwrap_err();
    let error = error.downcast_ref::<Unusable>().unwrap();
    assert!(error.problem.contains(problem), "{error}");
    assert!(error.remedy.contains("--folder"), "{error}");
}

#[rstest]
#[case::none("", "kube-apiserver", "not found in", "ci/kubernetes.sh")]
#[case::silent("exit 1", "kube-apiserver", "does not say its version", "linux/amd64")]
#[case::old("echo Kubernetes v1.19.16", "kube-apiserver", "of version 1.19", "1.20 or later")]
#[case::mixed(
    "case $0 in *kubelet) echo Kubernetes v1.21.0 ;; *) echo Kubernetes v1.20.2 ;; esac",
    "kubelet",
    "of version 1.21, and kube-apiserver is of 1.20",
    "one release"
)]
fn binaries_of_kubernetes_that_will_not_do_are_bad_input(
    #[case] script: &str,
    #[case] place: &str,
    #[case] problem: &str,
    #[case] remedy: &str,
) {
    let home = tempfile::tempdir().unwrap();
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"] {
        if !script.is_empty() {
            fake(home.path(), name, script);
        }
    }
    let error = Binaries::find(Some(home.path()), home.path()).unwrap_err();
    let error = error.downcast_ref::<Unusable>().unwrap();
    assert!(error.place.ends_with(place) && error.problem.contains(problem), "{error}");
    assert!(error.remedy.contains(remedy), "{error}");
}

#[test]
fn binaries_of_kubernetes_come_out_of_upstreams_archive_once() {
    let (home, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inside = home.path().join("kubernetes/server/bin");
    std::fs::create_dir_all(&inside).unwrap();
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"] {
        fake(&inside, name, "echo Kubernetes v1.34.1");
    }
    let archive = home.path().join("kubernetes-server-linux-amd64.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(home.path()).arg("kubernetes");
    assert!(tar.status().unwrap().success());
    let found = Binaries::find(Some(home.path()), cache.path()).unwrap();
    assert_eq!(found.release, "1.34.1");
    assert!(found.folder.starts_with(cache.path()) && found.folder.join("kubectl").is_file());
    assert_eq!(Binaries::find(Some(home.path()), cache.path()).unwrap().folder, found.folder);

    std::fs::write(&archive, "no archive").unwrap();
    let error = Binaries::find(Some(home.path()), cache.path()).unwrap_err();
    assert!(
        error.downcast_ref::<Unusable>().is_some_and(|error| error.remedy.contains("download it again")),
        "{error}"
    );
}

#[test]
fn a_user_who_is_not_root_gets_no_kubernetes_cluster() {
    let error = Starter::as_nobody();
    assert!(error.contains("user: it may not make network interfaces"), "{error}");
    assert!(error.contains("remedy: run as root"), "{error}");
}

#[test]
fn a_machine_whose_blocks_are_all_taken_gets_no_kubernetes_cluster() {
    let (error, folder) = Starter::without_blocks();
    assert!(error.contains("all 128 blocks of 198.18.0.0/15 are taken"), "{error}");
    assert!(!folder.exists());
}
