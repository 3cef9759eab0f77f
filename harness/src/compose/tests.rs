use std::path::Path;

use rstest::rstest;

use super::interpolate::interpolate;
use super::{Condition, Template, Variables, faults, reference};
use crate::platform::Restart;

fn parse(text: &str) -> Template {
    Template::parse(Path::new("/srv/poc/compose.yaml"), text).unwrap()
}

fn set(each: &[(&str, &str)]) -> Variables {
    each.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[rstest]
#[case("plain", "plain")]
#[case("$A and ${A}", "a and a")]
#[case("$$A", "$A")]
#[case("${A:-word}${B:-word}${EMPTY:-word}${EMPTY-word}", "awordword")]
#[case("${A:+word}${B:+word}${EMPTY:+word}${EMPTY+word}", "wordword")]
#[case("${A:?what it is}", "a")]
#[case("$A.b", "a.b")]
fn references_are_replaced(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(interpolate(text, &set(&[("A", "a"), ("EMPTY", "")])).unwrap(), expected);
}

#[rstest]
#[case("${B:?the file with it}", "set B: the file with it")]
#[case("${EMPTY:?it}", "set EMPTY: it")]
#[case("$B", "set B")]
#[case("${A", "close it with `}`")]
#[case("${A:-${B}}", "use a word without references")]
#[case("${A!x}", "use one of")]
#[case("a $ b", "$$ for a `$`")]
#[case("$1", "$$ for a `$`")]
fn what_cannot_be_replaced_says_what_to_do(#[case] text: &str, #[case] remedy: &str) {
    let problem = interpolate(text, &set(&[("A", "a"), ("EMPTY", "")])).unwrap_err();
    assert!(problem.remedy.contains(remedy), "{problem:?}");
}

#[rstest]
#[case("${A_FILE:?x}", Some("A_FILE"))]
#[case("$A", Some("A"))]
#[case("${A}/x", None)]
#[case("x", None)]
fn a_text_may_be_nothing_but_a_reference(#[case] text: &str, #[case] name: Option<&str>) {
    assert_eq!(reference(text), name);
}

const WHOLE: &str = "
x-common: &common
  image: ${IMAGE:?the image}
  user: '1:2'
  read_only: true
services:
  first:
    <<: *common
    command: [one, '$$two']
    environment: [A=b=c]
  second:
    <<: *common
    environment: {PORT: 8080}
    mem_limit: 64m
    pids_limit: 16
    restart: on-failure
    pid: service:third
    secrets: [token]
    volumes:
      - {type: bind, source: ./here, target: /there, read_only: true, bind: {create_host_path: false}}
    depends_on:
      first: {condition: service_completed_successfully}
  third:
    <<: *common
    depends_on: [first]
secrets:
  token: {file: '${TOKEN_FILE:?a token}'}
";

#[test]
fn all_that_a_template_says_is_read() {
    let variables = set(&[("IMAGE", "probe:1"), ("TOKEN_FILE", "/etc/token")]);
    let project = parse(WHOLE).project(&variables).unwrap();
    assert_eq!(project.order().unwrap(), ["first", "third", "second"]);
    let (first, second) = (&project.services["first"], &project.services["second"]);
    assert_eq!((first.command.join(" ").as_str(), first.environment["A"].as_str()), ("one $two", "b=c"));
    assert_eq!(first.container.restart, Restart::No);
    let container = &second.container;
    assert_eq!((container.image.as_str(), container.user.as_deref()), ("probe:1", Some("1:2")));
    assert_eq!((container.memory, container.processes, container.read_only), (Some(64 << 20), Some(16), true));
    assert_eq!(container.restart, Restart::OnFailure);
    assert_eq!(second.environment["PORT"], "8080");
    assert_eq!(second.beside.as_deref(), Some("third"));
    assert_eq!(second.depends_on["first"], Condition::Completed);
    let mounts: Vec<_> = container.mounts.iter().map(|bind| (bind.source.to_str().unwrap(), &*bind.target)).collect();
    assert!(mounts.contains(&("/etc/token", Path::new("/run/secrets/token"))), "{mounts:?}");
    assert!(mounts.contains(&("/srv/poc/./here", Path::new("/there"))), "{mounts:?}");
}

#[rstest]
#[case::unknown_top("networks: {}", "compose.yaml, networks: it is not understood")]
#[case::unknown_field("services: {app: {image: a, ports: [80]}}", "service app, field ports: it is not understood")]
#[case::unknown_option(
    "services: {app: {image: a, volumes: [{type: bind, source: a, target: b, tmpfs: {}, bind: {create_host_path: false}}]}}",
    "service app, field volumes: it has a form"
)]
#[case::short_volume("services: {app: {image: a, volumes: ['a:/b']}}", "service app, field volumes: it has a form")]
#[case::made_folder(
    "services: {app: {image: a, volumes: [{type: bind, source: a, target: /b, bind: {create_host_path: true}}]}}",
    "the engine would make a missing folder"
)]
#[case::named_volume(
    "services: {app: {image: a, volumes: [{type: volume, source: a, target: /b, bind: {create_host_path: false}}]}}",
    "only folders and files of the host"
)]
#[case::healthy(
    "services: {app: {image: a, depends_on: {b: {condition: service_healthy}}}}",
    "service app, field depends_on: it has a form"
)]
#[case::always("services: {app: {image: a, restart: always}}", "it would start the app at a boot without its values")]
#[case::host_processes("services: {app: {image: a, pid: host}}", "it names no service")]
#[case::no_image("services: {app: {}}", "service app, field image: it is missing")]
#[case::no_secret("services: {app: {image: a, secrets: [b]}}", "there is no secret b")]
#[case::caller_environment("services: {app: {image: a, environment: [HOME]}}", "it would come from the caller")]
#[case::unit("services: {app: {image: a, mem_limit: 1x}}", "its unit is not understood")]
#[case::no_services("x-a: 1", "services: there are none")]
#[case::unset("services: {app: {image: '${IMAGE:?the image}'}}", "services.app.image: the variable IMAGE is not set")]
fn what_is_not_understood_is_refused_by_name(#[case] text: &str, #[case] expected: &str) {
    let error = parse(text).project(&Variables::new()).unwrap_err().to_string();
    assert!(error.contains(expected) && error.contains("remedy: "), "{error}");
}

#[rstest]
#[case::twice("services: {}\nservices: {}")]
#[case::no_mapping("- a")]
fn what_is_no_compose_file_is_refused(#[case] text: &str) {
    let error = Template::parse(Path::new("compose.yaml"), text).unwrap_err();
    assert!(error.to_string().starts_with("compose.yaml: "), "{error}");
}

#[rstest]
#[case::each_other("{a: {image: i, depends_on: [b]}, b: {image: i, pid: 'service:a'}}", "services a, b: they wait")]
#[case::nobody("{a: {image: i, depends_on: [b]}}", "services a: they wait")]
fn an_order_that_cannot_be_is_refused(#[case] services: &str, #[case] expected: &str) {
    let project = parse(&format!("services: {services}")).project(&Variables::new()).unwrap();
    let error = project.order().unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

/// One service without a fault but for this field.
fn with(field: &str) -> String {
    format!(
        "services:\n  app:\n    user: '1:1'\n    read_only: true\n    cap_drop: [ALL]\n    mem_limit: 64m\n    pids_limit: 16\n    \
         security_opt: ['no-new-privileges:true']\n    {field}\n"
    )
}

#[rstest]
#[case::required("image: ${IMAGE:?the image}")]
#[case::digest("image: probe@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
#[case::tag("image: registry:5000/probe:1.2")]
#[case::granted("image: a:1\n    environment: {API_TOKEN_FILE: /run/secrets/api-token}")]
#[case::plain("image: a:1\n    environment: {PORT: 8080, LOG_LEVEL: info, NAMES: '${NAMES:-POC_TEST_VALUE}'}")]
#[case::file_flag("image: a:1\n    command: [--token-file, /run/secrets/api-token]")]
fn what_is_in_order_has_no_fault(#[case] field: &str) {
    assert_eq!(faults(&parse(&with(field))), []);
}

#[rstest]
#[case::environment("image: a:1\n    environment: {API_TOKEN: x}", "services.app.environment.API_TOKEN")]
#[case::environment_list("image: a:1\n    environment: [DB_PASSWORD=x]", "services.app.environment.DB_PASSWORD")]
#[case::environment_reference(
    "image: a:1\n    environment: {API_KEY: '${API_KEY:?it}'}",
    "services.app.environment.API_KEY"
)]
#[case::environment_renamed("image: a:1\n    environment: {X: '${API_TOKEN}'}", "services.app.environment.X")]
#[case::ungranted("image: a:1\n    environment: {TOKEN_FILE: /etc/token}", "services.app.environment.TOKEN_FILE")]
#[case::by_its_looks("image: a:1\n    environment: {X: hvs.CAESIJlU02}", "services.app.environment.X")]
#[case::by_default("image: a:1\n    environment: {X: '${X:-q83vn4JK2hfWq0ZpL9xT}'}", "services.app.environment.X")]
#[case::in_an_address("image: a:1\n    environment: {URL: 'postgres://app:pw@db/app'}", "services.app.environment.URL")]
#[case::label("image: a:1\n    labels: {x: dp.st.prd.abcdefgh}", "services.app.labels.x")]
#[case::flag("image: a:1\n    command: [--token, x]", "services.app.command")]
#[case::flag_in_a_line("image: a:1\n    command: app --password=x", "services.app.command")]
#[case::argument_reference("image: a:1\n    entrypoint: [app, '${API_TOKEN:?it}']", "services.app.entrypoint")]
#[case::build("image: a:1\n    build: {context: ., args: {NPM_TOKEN: x}}", "services.app.build")]
#[case::env_file("image: a:1\n    env_file: .env", "services.app.env_file")]
#[case::latest("image: a:latest", "services.app.image")]
#[case::no_tag("image: registry:5000/a", "services.app.image")]
#[case::default_image("image: '${IMAGE:-a:1}'", "services.app.image")]
#[case::secret_of_environment("image: a:1\nsecrets: {t: {environment: T}}", "secrets.t.environment")]
#[case::secret_of_fixed_file("image: a:1\nsecrets: {t: {file: ./token}}", "secrets.t.file")]
#[case::secret_by_default("image: a:1\nsecrets: {t: {file: '${T_FILE:-./token}'}}", "secrets.t.file")]
fn one_fault_is_found_where_it_is(#[case] field: &str, #[case] place: &str) {
    let faults = faults(&parse(&with(field)));
    let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
    assert_eq!(places, [place]);
}

#[rstest]
#[case("user")]
#[case("read_only")]
#[case("cap_drop")]
#[case("security_opt")]
#[case("mem_limit")]
#[case("pids_limit")]
fn a_right_too_many_is_a_fault(#[case] field: &str) {
    let text = with("image: a:1");
    let without: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with(field)).collect();
    let faults = faults(&parse(&without.join("\n")));
    let places: Vec<_> = faults.iter().map(|fault| fault.place.clone()).collect();
    assert_eq!(places, [format!("services.app.{field}")]);
}
