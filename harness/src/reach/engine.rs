//! The Docker engine: whether one answers, which, and if none does that the platform can use, why and what to do.
//!
//! Sources: the Engine API's version history (`platform` of a created container since 1.41, engine 20.10); Docker's
//! "Rootless mode" (socket, `name=rootless`); podman-system-service(1) (sockets); testcontainers 0.28 (where it looks).

use std::borrow::Cow;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testcontainers::bollard::models::SystemVersion;
use testcontainers::core::client::docker_client_instance;
use tokio::time::timeout;

use super::{Finding, State};

/// A reachable engine answers at once; one that has much to do may take seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// The oldest API that can do all that the platform asks for: engine 20.10.
const OLDEST_API: (u32, u32) = (1, 41);

/// Where an engine is looked for when nobody says where it is.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// What was seen where an engine should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    /// The address that was asked: `unix:///var/run/docker.sock`.
    address: String,
    /// What answered there.
    answer: Answer,
    /// Sockets of other engines that nobody pointed at.
    others: Vec<PathBuf>,
}

/// What answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// There is no such socket.
    NoSocket,
    /// There is a socket, and nobody listens.
    NobodyListens,
    /// This user may not connect.
    Denied,
    /// Somebody listens, and does not answer in time.
    Slow,
    /// It is on another machine, or at least not on a socket of this one.
    Elsewhere,
    /// Something else went wrong.
    Broken(String),
    /// An engine.
    Engine {
        /// `Docker` or `Podman`.
        product: &'static str,
        /// Its own version.
        version: String,
        /// The newest API that it speaks.
        api: (u32, u32),
        /// Whether it runs as an ordinary user.
        rootless: bool,
    },
}

/// Looks for the engine; no longer than [`LIMIT`].
pub(super) async fn finding() -> Finding {
    let (state, remedy) = diagnosis(&facts().await);
    Finding { name: "docker", purpose: "the platform `docker`", state, remedy, optional: true }
}

async fn facts() -> Facts {
    let (address, named) = match std::env::var("DOCKER_HOST") {
        Ok(address) if !address.is_empty() => (address, true),
        _ => (format!("unix://{}", default_socket().display()), false),
    };
    let answer = match address.strip_prefix("unix://") {
        None => Answer::Elsewhere,
        Some(socket) => match UnixStream::connect(socket) {
            Ok(_) => asked().await,
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Answer::NoSocket,
                ErrorKind::ConnectionRefused => Answer::NobodyListens,
                ErrorKind::PermissionDenied => Answer::Denied,
                _ => Answer::Broken(error.to_string()),
            },
        },
    };
    let asked = address.trim_start_matches("unix://").to_owned();
    let others = if named { Vec::new() } else { other_sockets() };
    Facts { address, answer, others: others.into_iter().filter(|socket| *socket != Path::new(&asked)).collect() }
}

async fn asked() -> Answer {
    let asked = timeout(LIMIT, async {
        let client = docker_client_instance().await.map_err(|error| error.to_string())?;
        let version = client.version().await.map_err(|error| error.to_string())?;
        let info = client.info().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((version, info.security_options.unwrap_or_default()))
    });
    match asked.await {
        Err(_) => Answer::Slow,
        Ok(Err(problem)) => Answer::Broken(problem),
        Ok(Ok((version, options))) => engine(version, &options),
    }
}

fn engine(version: SystemVersion, security_options: &[String]) -> Answer {
    let podman = version.components.iter().flatten().any(|component| component.name == "Podman Engine");
    let api = version.api_version.as_deref().and_then(|api| {
        let (major, minor) = api.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let Some(api) = api else { return Answer::Broken("it does not say which API it speaks".to_owned()) };
    Answer::Engine {
        product: if podman { "Podman" } else { "Docker" },
        version: version.version.unwrap_or_else(|| "of an unknown version".to_owned()),
        api,
        rootless: security_options.iter().any(|option| option.split(',').any(|field| field == "name=rootless")),
    }
}

/// The first socket that is there of those where testcontainers looks as well.
fn default_socket() -> PathBuf {
    let below = |variable: &str, path: &str| Some(PathBuf::from(std::env::var_os(variable)?).join(path));
    let places = [
        Some(DEFAULT_SOCKET.into()),
        below("XDG_RUNTIME_DIR", ".docker/run/docker.sock"),
        below("HOME", ".docker/run/docker.sock"),
        below("HOME", ".docker/desktop/docker.sock"),
    ];
    places.into_iter().flatten().find(|path| path.exists()).unwrap_or_else(|| DEFAULT_SOCKET.into())
}

/// The well-known sockets of engines that have to be named: Docker's rootless one, and Podman's two.
fn other_sockets() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = |path: &str| runtime.as_ref().map(|folder| folder.join(path));
    let places = [own("docker.sock"), Some("/run/podman/podman.sock".into()), own("podman/podman.sock")];
    places.into_iter().flatten().filter(|path| path.exists()).collect()
}

/// What is to be said of these facts, and what to do.
fn diagnosis(facts: &Facts) -> (State, Cow<'static, str>) {
    let Facts { address, answer, others } = facts;
    let missing = |why: String, remedy: String| (State::Missing(why), Cow::Owned(remedy));
    let start = "start a Docker engine (as root on Debian: ci/engine.sh COMMAND starts one for a command), or set \
                 DOCKER_HOST to the socket of one that runs";
    let or_another = match others.first() {
        None => start.to_owned(),
        Some(socket) => {
            format!("another engine may listen at {0}: DOCKER_HOST=unix://{0}; or {start}", socket.display())
        }
    };
    match answer {
        Answer::NoSocket => missing(format!("there is no socket {address}"), or_another),
        Answer::NobodyListens => {
            missing(format!("nobody listens at {address}: the engine has ended and left its socket"), or_another)
        }
        Answer::Denied => missing(
            format!("this user may not connect to {address}"),
            "run as root, or join the group that owns the socket (usually `docker`: its members are as good as root)"
                .into(),
        ),
        Answer::Slow => missing(
            format!("{address} takes connections, and does not answer within {} s", LIMIT.as_secs()),
            "look at the engine's log; restart it if it hangs".into(),
        ),
        Answer::Elsewhere => missing(
            format!("DOCKER_HOST is {address}, and containers share folders of this machine"),
            "set DOCKER_HOST to the unix:// socket of an engine on this machine".into(),
        ),
        Answer::Broken(problem) => {
            missing(format!("{address} does not answer as an engine does: {problem}"), start.into())
        }
        Answer::Engine { product: "Podman", version, .. } => missing(
            format!("Podman {version} answers at {address}, which imports images without their names (4.3.1 does)"),
            start.into(),
        ),
        Answer::Engine { version, api, .. } if *api < OLDEST_API => missing(
            format!("engine {version} at {address} speaks API {}.{} at most", api.0, api.1),
            format!("use an engine with API {}.{} or later: 20.10", OLDEST_API.0, OLDEST_API.1),
        ),
        Answer::Engine { version, rootless: true, .. } => missing(
            format!(
                "engine {version} at {address} is rootless: users in its containers are other users of this machine, who \
                 may not read the private folder of a cell"
            ),
            "set DOCKER_HOST to an engine that runs as root; containers of the suite have no root either way".into(),
        ),
        Answer::Engine { product, version, api, .. } => (
            State::Here(format!("{product} engine {version}, API {}.{}, at {address}", api.0, api.1)),
            Cow::Borrowed(""),
        ),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOCKET: &str = "unix:///var/run/docker.sock";

    fn answered(product: &'static str, api: (u32, u32), rootless: bool) -> Answer {
        Answer::Engine { product, version: "20.10.24".into(), api, rootless }
    }

    #[rstest]
    #[case::no_socket(SOCKET, Answer::NoSocket, &[])]
    #[case::no_socket_but_podmans(SOCKET, Answer::NoSocket, &["/run/podman/podman.sock"])]
    #[case::no_socket_but_a_rootless_one(SOCKET, Answer::NoSocket, &["/run/user/1000/docker.sock"])]
    #[case::nobody_listens(SOCKET, Answer::NobodyListens, &[])]
    #[case::denied(SOCKET, Answer::Denied, &[])]
    #[case::slow(SOCKET, Answer::Slow, &[])]
    #[case::elsewhere("tcp://192.0.2.1:2376", Answer::Elsewhere, &[])]
    #[case::broken(SOCKET, Answer::Broken("invalid HTTP version parsed".into()), &[])]
    #[case::old(SOCKET, answered("Docker", (1, 40), false), &[])]
    #[case::rootless("unix:///run/user/1000/docker.sock", answered("Docker", (1, 45), true), &[])]
    #[case::podman("unix:///run/podman/podman.sock", answered("Podman", (1, 41), false), &[])]
    #[case::good(SOCKET, answered("Docker", (1, 41), false), &[])]
    fn every_state_says_what_to_do(#[case] address: &str, #[case] answer: Answer, #[case] others: &[&str]) {
        let good = answer == answered("Docker", (1, 41), false);
        let others = others.iter().map(PathBuf::from).collect();
        let (state, remedy) = diagnosis(&Facts { address: address.into(), answer, others });
        assert_eq!((matches!(state, State::Here(_)), remedy.is_empty()), (good, good));
        let name = std::thread::current().name().unwrap().rsplit("::").next().unwrap().to_owned();
        insta::assert_snapshot!(name, format!("{}\n{remedy}", state.text()));
    }

    #[rstest]
    #[case::docker(
        r#"{"Components":[{"Name":"Engine","Version":"20.10.24"}],"Version":"20.10.24","ApiVersion":"1.41"}"#,
        &["name=seccomp,profile=default"],
        answered("Docker", (1, 41), false)
    )]
    #[case::rootless(
        r#"{"Components":[{"Name":"Engine","Version":"20.10.24"}],"Version":"20.10.24","ApiVersion":"1.41"}"#,
        &["name=seccomp,profile=default", "name=rootless"],
        answered("Docker", (1, 41), true)
    )]
    #[case::podman(
        r#"{"Components":[{"Name":"Podman Engine","Version":"4.3.1"}],"Version":"20.10.24","ApiVersion":"1.41"}"#,
        &[],
        answered("Podman", (1, 41), false)
    )]
    #[case::something_else("{}", &[], Answer::Broken("it does not say which API it speaks".into()))]
    fn an_engine_is_known_by_what_it_says(#[case] said: &str, #[case] options: &[&str], #[case] expected: Answer) {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        assert_eq!(engine(serde_json::from_str(said).unwrap(), &options), expected);
    }

    #[test]
    fn ten_is_more_than_nine() {
        assert!((1, 41) < (1, 100) && (1, 9) < OLDEST_API);
    }
}
