//! The platform `docker` itself: what a container may do, what is seen of it, and that nothing of it stays.

mod left;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use harness::files::{PrivateFolder, below, write_private};
use harness::platform::docker::images::{BaoImage, ProbeImage, SidecarImage, StandinImage};
use harness::platform::docker::{DockerPlatform, IMAGE_LABEL, Network, OWNER_LABEL, RUN_LABEL, image};
use harness::platform::{Member, Platform, Program, Workload};
use harness::random;
use harness::redact::Redactor;
use harness::run::Run;
use probe::observation::{Event, Observation};
use secrecy::SecretString;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::ContainerInspectResponse;
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, KillContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{Image, ImageExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A container starts within a second; this is for a machine in trouble.
const LIMIT: Duration = Duration::from_secs(30);

/// What a probe in a container reads.
const NAME: &str = "POC_TEST_VALUE";

/// A cell's network and platform, without a backend.
struct Scene {
    folder: PrivateFolder,
    run: Run,
    network: Rc<Network>,
    platform: DockerPlatform,
    redactor: Redactor,
    logs: tempfile::TempDir,
}

impl Scene {
    async fn of(run: Run) -> Self {
        let unique = random::hex(3).unwrap();
        let folder = PrivateFolder::new(&run.id, run.owner, &unique).unwrap();
        let app = folder.path().join("app");
        std::fs::create_dir(&app).unwrap();
        let network = Rc::new(Network::make(&run, &unique).await.unwrap());
        let (redactor, logs) = (Redactor::default(), tempfile::tempdir().unwrap());
        let platform = DockerPlatform::new(&app, logs.path(), &run, &redactor, Rc::clone(&network)).unwrap();
        write_private(&app.join("digest.key"), "a key").unwrap();
        Self { folder, run, network, platform, redactor, logs }
    }

    async fn new() -> Self {
        Self::of(Run::current().unwrap()).await
    }

    async fn end(self) {
        self.network.remove().await.unwrap();
        self.folder.remove().unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.platform.folder().join(name).display().to_string()
    }

    fn probe(&mut self) -> Workload {
        let endpoint = self.platform.endpoint("app.probe", 8000).unwrap();
        let env = [
            ("PROBE_KEY_FILE", self.file("digest.key")),
            ("PROBE_LISTEN", endpoint.listen.to_string()),
            ("PROBE_PID_FILE", self.file("pid")),
            ("PROBE_ENV_FILE", self.file("env")),
        ];
        Workload {
            name: "app.probe".into(),
            endpoint: Some(endpoint),
            env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Workload::default()
        }
    }

    async fn started(&mut self) -> Box<dyn Member> {
        let workload = self.probe();
        let mut probe = self.platform.start(workload).await.unwrap();
        observed(probe.as_mut(), Event::Started).await;
        probe
    }
}

async fn engine() -> Docker {
    docker_client_instance().await.unwrap()
}

/// The id of a member's container.
fn id(member: &dyn Member) -> String {
    member.identity().strip_prefix("container ").expect("the container is there").to_owned()
}

async fn inspect(id: &str) -> ContainerInspectResponse {
    engine().await.inspect_container(id, None::<InspectContainerOptions>).await.unwrap()
}

/// The next observation of this kind; other lines are passed over.
async fn observed(member: &mut dyn Member, event: Event) -> Observation {
    let wait = async {
        while let Some(line) = member.out().recv().await {
            if let Some(observation) = Observation::parse(&line.text).filter(|seen| seen.event == event) {
                return Some(observation);
            }
        }
        None
    };
    let seen = timeout(LIMIT, wait).await.ok().flatten();
    seen.unwrap_or_else(|| panic!("no {event:?}: {:?}", std::iter::from_fn(|| member.err().try_recv().ok()).last()))
}

async fn is_ready(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: probe\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn a_probe_starts_answers_and_stops_with_its_last_words() {
    let mut scene = Scene::new().await;
    let mut probe = scene.started().await;
    let outside = probe.outside().unwrap().to_owned();
    assert!(outside.starts_with("127."), "{outside}");
    assert!(is_ready(&outside).await);
    let id = id(probe.as_ref());
    probe.stop(Duration::from_secs(5)).await.unwrap();
    observed(probe.as_mut(), Event::Stopping).await;
    assert!(probe.out().recv().await.is_none(), "the lines end with the container");
    assert_eq!(probe.identity(), "gone");
    probe.stop(Duration::ZERO).await.unwrap();
    engine().await.inspect_container(&id, None::<InspectContainerOptions>).await.unwrap_err();
    assert!(scene.platform.leaks().is_empty());
    let log = std::fs::read_to_string(scene.logs.path().join("app.probe.log")).unwrap();
    assert!(log.contains("started") && log.contains("stopping"), "{log}");
    scene.end().await;
}

#[tokio::test]
async fn a_sidecar_beside_a_probe_signals_it() {
    let mut scene = Scene::new().await;
    let mut probe = scene.started().await;
    // As the harness writes it: the next start makes it readable inside.
    write_private(scene.file("env").as_ref(), &format!("{NAME}=rotated\n")).unwrap();
    let sidecar = Workload {
        name: "app.sidecar".into(),
        program: Program::Sidecar,
        beside: Some("app.probe".into()),
        args: vec!["signal".into(), "--pid-file".into(), scene.file("pid")],
        ..Workload::default()
    };
    let mut sidecar = scene.platform.start(sidecar).await.unwrap();
    let seen = observed(probe.as_mut(), Event::Reloaded).await;
    assert_eq!(seen.values[NAME].as_ref().map(|seen| seen.length), Some("rotated".len()));
    // It has ended on its own.
    assert!(timeout(LIMIT, sidecar.err().recv()).await.unwrap().is_none());
    sidecar.stop(Duration::from_secs(1)).await.unwrap();
    probe.stop(Duration::from_secs(5)).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_member_that_is_killed_is_gone_and_another_has_another_identity() {
    let mut scene = Scene::new().await;
    let mut first = scene.started().await;
    let identity = first.identity();
    assert_eq!(first.identity(), identity);
    let kill = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
    engine().await.kill_container(&id(first.as_ref()), Some(kill)).await.unwrap();
    while timeout(LIMIT, first.out().recv()).await.unwrap().is_some() {}
    assert_eq!(first.identity(), "gone");
    first.stop(Duration::from_secs(1)).await.unwrap();
    // The same name on the network.
    let mut second = scene.started().await;
    assert_ne!(second.identity(), identity);
    second.stop(Duration::from_secs(5)).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_secret_that_the_engine_shows_is_found_and_one_in_the_folder_is_not() {
    let mut scene = Scene::new().await;
    let secret = SecretString::from(format!("s3cr3t-{}", random::hex(8).unwrap()));
    scene.redactor.learn(&secret);
    scene.redactor.learn(&"hidden-in-a-file".into());
    write_private(scene.file("env").as_ref(), "X=hidden-in-a-file\n").unwrap();
    let mut quiet = scene.started().await;
    assert_eq!(scene.platform.exposed().await.unwrap(), []);
    quiet.stop(Duration::ZERO).await.unwrap();
    let mut workload = scene.probe();
    workload.secret_env.insert(NAME.into(), secret);
    let mut probe = scene.platform.start(workload).await.unwrap();
    let exposed = scene.platform.exposed().await.unwrap();
    assert_eq!(exposed.len(), 1, "{exposed:?}");
    assert_eq!((exposed[0].member.as_str(), exposed[0].environment), ("app.probe", true));
    assert_eq!(exposed[0].place, "docker inspect app.probe: Config.Env");
    // What made the image is looked at as well: here it holds what is taken for a secret.
    scene.redactor.learn(&"Imported from -".into());
    let exposed = scene.platform.exposed().await.unwrap();
    let by = |by: &str| exposed.iter().any(|exposure| exposure.place.starts_with(by) && !exposure.environment);
    assert!(by("docker history of the image of app.probe"), "{exposed:?}");
    assert!(by("docker inspect of the image of app.probe"), "{exposed:?}");
    probe.stop(Duration::ZERO).await.unwrap();
    assert_eq!(scene.platform.exposed().await.unwrap(), []);
    scene.end().await;
}

#[tokio::test]
async fn a_container_has_no_rights() {
    let mut scene = Scene::new().await;
    let mut probe = scene.started().await;
    let inspection = inspect(&id(probe.as_ref())).await;
    // What the kernel says, not what was asked for.
    let pid = inspection.state.unwrap().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(field("Uid").iter().all(|uid| uid != "0") && field("Gid").iter().all(|gid| gid != "0"), "{status}");
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), (vec!["1".into()], vec!["2".into()]));
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");
    let core = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core: Vec<_> =
        core.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[..2], ["0", "0"]);
    let limits = inspection.host_config.unwrap();
    assert_eq!((limits.memory, limits.memory_swap), (Some(256 << 20), Some(256 << 20)));
    assert_eq!((limits.pids_limit, limits.publish_all_ports), (Some(128), Some(false)));
    let bound: Vec<_> = inspection.network_settings.unwrap().ports.unwrap().into_values().flatten().flatten().collect();
    // The loopback address of the case: nobody outside this machine.
    assert!(bound.len() == 1 && bound[0].host_ip.as_deref().is_some_and(|ip| ip.starts_with("127.")), "{bound:?}");
    // The folder is the same inside, and the probe may write there.
    assert!(below(scene.platform.folder()).iter().any(|file| file.ends_with("pid")));
    probe.stop(Duration::from_secs(5)).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn members_find_each_other_by_name() {
    let mut scene = Scene::new().await;
    let endpoint = scene.platform.endpoint("standin-doppler", 8080).unwrap();
    let args = ["doppler", "--listen", &endpoint.listen.to_string(), "--allow-remote", "--credentials-file"];
    let mut args: Vec<_> = args.map(str::to_owned).into();
    args.push(scene.file("credentials.json"));
    let inside = endpoint.inside.clone();
    let name = "standin-doppler".to_owned();
    let standin = Workload { name, program: Program::Standin, endpoint: Some(endpoint), args, ..Workload::default() };
    let mut standin = scene.platform.start(standin).await.unwrap();
    // `bao agent` is a client as well: it says whom it cannot understand, not whom it cannot find.
    write_private(scene.file("role").as_ref(), "role").unwrap();
    let config = format!(
        "vault {{ address = \"http://{inside}\" }}\nauto_auth {{ method \"approle\" {{ config = {{\n\
         role_id_file_path = \"{role}\"\nsecret_id_file_path = \"{role}\"\n\
         remove_secret_id_file_after_reading = false }} }}\nsink \"file\" {{ config = {{ path = \"{sink}\" }} }} }}\n",
        role = scene.file("role"),
        sink = scene.file("token"),
    );
    write_private(scene.file("agent.hcl").as_ref(), &config).unwrap();
    let args = vec!["agent".into(), format!("-config={}", scene.file("agent.hcl"))];
    let client = Workload { name: "client".into(), program: Program::Bao, args, ..Workload::default() };
    let mut client = scene.platform.start(client).await.unwrap();
    let mut said = Vec::new();
    let refused = async {
        while let Some(line) = client.err().recv().await {
            said.push(line.text);
            if said.last().is_some_and(|line| line.contains("Code: 4")) {
                return true;
            }
        }
        false
    };
    assert!(timeout(LIMIT, refused).await.unwrap_or(false), "{said:?}");
    client.stop(Duration::ZERO).await.unwrap();
    standin.stop(Duration::ZERO).await.unwrap();
    scene.end().await;
}

/// Everything that a run makes on the engine says whose it is.
#[tokio::test]
async fn containers_networks_and_images_carry_the_runs_label() {
    let mut scene = Scene::new().await;
    scene.run.tools.probe = unheard_of(&scene);
    scene.platform = DockerPlatform::new(
        scene.platform.folder(),
        scene.logs.path(),
        &scene.run,
        &scene.redactor,
        Rc::clone(&scene.network),
    )
    .unwrap();
    let mut probe = scene.started().await;
    let container = inspect(&id(probe.as_ref())).await;
    let engine = engine().await;
    let tag = container.config.as_ref().unwrap().image.clone().unwrap();
    let image = engine.inspect_image(&tag).await.unwrap().config.unwrap().labels.unwrap();
    let attached = container.network_settings.unwrap().networks.unwrap().into_keys().next().unwrap();
    let network = engine.inspect_network(&attached, None::<InspectNetworkOptions>).await.unwrap().labels.unwrap();
    let owner = scene.run.owner.to_string();
    for labels in [&container.config.unwrap().labels.unwrap(), &image, &network] {
        assert_eq!((labels.get(RUN_LABEL), labels.get(OWNER_LABEL)), (Some(&scene.run.id), Some(&owner)), "{labels:?}");
    }
    assert_eq!(image[IMAGE_LABEL], "probe");
    probe.stop(Duration::ZERO).await.unwrap();
    remove(&engine, &tag).await;
    scene.end().await;
}

/// A probe that no engine has an image of: the same program with other bytes after its end.
fn unheard_of(scene: &Scene) -> std::path::PathBuf {
    let copy = scene.folder.path().join("probe");
    std::fs::copy(&scene.run.tools.probe, &copy).unwrap();
    let salted = std::fs::OpenOptions::new().append(true).open(&copy);
    salted.and_then(|mut file| std::io::Write::write_all(&mut file, random::hex(8).unwrap().as_bytes())).unwrap();
    copy
}

async fn remove(engine: &Docker, image: &str) {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    engine.remove_image(image, Some(options), None).await.unwrap();
}

#[tokio::test]
async fn an_image_is_made_once_and_the_same_from_the_same_binaries() {
    let mut scene = Scene::new().await;
    let engine = engine().await;
    let honest = image::built(&engine, &Program::Probe, &scene.run.tools, &HashMap::new()).await.unwrap();
    scene.run.tools.probe = unheard_of(&scene);
    let labels = HashMap::new();
    let build = || image::built(&engine, &Program::Probe, &scene.run.tools, &labels);
    let (first, second) = tokio::join!(build(), build());
    let tag = first.unwrap();
    assert_eq!(second.unwrap(), tag, "two builders at once make one image");
    assert_ne!(tag, honest, "another content is another image");
    let name = format!("{}:{tag}", ProbeImage::default().name());
    let made = engine.inspect_image(&name).await.unwrap();
    build().await.unwrap();
    assert_eq!(engine.inspect_image(&name).await.unwrap().created, made.created, "it is not made again");
    remove(&engine, &name).await;
    build().await.unwrap();
    let again = engine.inspect_image(&name).await.unwrap();
    assert_eq!(again.root_fs, made.root_fs, "its layers have the same digests");
    assert_ne!(again.created, made.created);
    remove(&engine, &name).await;
    // The newest one is honest again, for whoever starts it by hand.
    remove(&engine, &format!("{}:{honest}", ProbeImage::default().name())).await;
    scene.run.tools = Run::current().unwrap().tools;
    image::built(&engine, &Program::Probe, &scene.run.tools, &labels).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_default_image_gives_a_working_container() {
    async fn starts<I: Image + Default + 'static>(scene: &Scene, program: &Program) {
        image::built(&engine().await, program, &scene.run.tools, &HashMap::new()).await.unwrap();
        let labels = [(RUN_LABEL, scene.run.id.clone()), (OWNER_LABEL, scene.run.owner.to_string())];
        let container = I::default().with_labels(labels).start().await.unwrap();
        container.rm().await.unwrap();
    }
    let scene = Scene::new().await;
    starts::<ProbeImage>(&scene, &Program::Probe).await;
    starts::<SidecarImage>(&scene, &Program::Sidecar).await;
    starts::<StandinImage>(&scene, &Program::Standin).await;
    starts::<BaoImage>(&scene, &Program::Bao).await;
    scene.end().await;
}

#[tokio::test]
async fn a_container_that_does_not_become_ready_is_an_error_and_leaves_nothing() {
    let mut scene = Scene::new().await;
    let mut workload = scene.probe();
    workload.env.insert("PROBE_KEY_FILE".into(), scene.file("no-such-key"));
    let Err(error) = scene.platform.start(workload).await else { panic!("it started") };
    assert!(format!("{error:#}").contains("failed to start the container app.probe"), "{error:#}");
    // Nobody is on it any more.
    scene.end().await;
}

#[tokio::test]
async fn a_program_of_this_machine_is_refused() {
    let mut scene = Scene::new().await;
    let workload = Workload { program: Program::Other("/bin/sh".into()), ..Workload::default() };
    let Err(error) = scene.platform.start(workload).await else { panic!("it was started") };
    assert!(error.to_string().contains("failed to start /bin/sh: the platform `docker` has no image"), "{error:#}");
    scene.end().await;
}
