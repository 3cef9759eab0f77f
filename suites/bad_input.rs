//! Bad input: one clear error with file, field and remedy, exit code 2, and nothing left behind.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rstest::rstest;
use secrecy::SecretString;

use crate::command::{conformance, kept_in, told};
use crate::remote::{Remote, documented_policy};

/// Starts a run of one cell with these further arguments; it must refuse them with exit code 2 and all of these words.
fn refuses(args: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = conformance(&["run", "--check", "scope.isolated"]);
    // Nobody listens there: the same on every machine.
    command.env("DOCKER_HOST", "tcp://127.0.0.1:1");
    let (code, said) = told(&command.args(kept_in(folder.path())).args(args).output().unwrap());
    assert_eq!(code, Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a run was begun");
}

#[rstest]
#[case::check(&["--check", "rotation.bursts"], &["--check", "rotation.bursts", "use one of", "rotation.burst"])]
#[case::candidate(&["--candidate", "keepass"], &["keepass", "vault, doppler, onepassword, aws"])]
#[case::platform(&["--platform", "nomad"], &["nomad", "process, docker, kubernetes"])]
#[case::nothing_left(&["--candidate", "onepassword", "--delivery", "native-exec"], &["no cell of the matrix fits", "conformance matrix"])]
#[case::no_engine(&["--platform", "docker"], &["--platform docker", "DOCKER_HOST", "remedy"])]
#[case::profile(&["--profile", "nightlly"], &["--profile", "nightlly", "use one of", "default"])]
#[case::target_missing(&["--target", "/nowhere/target.toml"], &["/nowhere/target.toml", "failed to read it", "remedy"])]
#[case::flag(&["--patience", "3"], &["unexpected argument", "--patience"])]
fn unknown_words_are_refused(#[case] args: &[&str], #[case] words: &[&str]) {
    refuses(args, words);
}

#[rstest]
#[case::malformed("[vault", &["line 1", "remedy"])]
#[case::unknown_field("[vault]\nadress = \"x\"\n", &["line 2", "unknown field `adress`"])]
#[case::secret("[vault]\ntoken = \"plainly-a-secret\"\n", &["line 2", "a secret is written here", "remedy"])]
#[case::not_text("\u{0}\u{1}", &["line 1"])]
fn a_bad_target_file_is_refused(#[case] text: &str, #[case] words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("target.toml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    refuses(&["--target", file], &[words, &[file]].concat());
    let (_, said) = told(&conformance(&["run", "--target", file]).output().unwrap());
    assert!(!said.contains("plainly-a-secret"), "{said}");
}

fn file_in_the_way(folder: &Path) -> String {
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    file.join("runs").display().to_string()
}

#[test]
fn an_output_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // The kernel's own file system takes no files, not even from root.
    for output in [file_in_the_way(folder.path()), "/proc/conformance".to_owned()] {
        let (code, said) = told(&conformance(&["run", "--output", &output]).output().unwrap());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&output) && said.contains("--output FOLDER"), "{said}");
    }
}

#[test]
fn a_bao_with_another_hash_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let file = harness::tools::cached_bao(&cache.path().join("secrets-conformance"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "not the binary that was pinned").unwrap();
    let output = tempfile::tempdir().unwrap();
    let mut command = conformance(&["run", "--check", "scope.isolated"]);
    // A `bao` on the path would be taken first.
    let path = std::env::var("PATH").unwrap();
    let has_bao = |folder: &&str| ["bao", "vault"].iter().any(|name| Path::new(folder).join(name).exists());
    let path = path.split(':').filter(|folder| !has_bao(folder)).collect::<Vec<_>>().join(":");
    command.args(kept_in(output.path())).env("XDG_CACHE_HOME", cache.path()).env("PATH", path);
    let (code, said) = told(&command.output().unwrap());
    assert_eq!(code, Some(2), "{said}");
    let words = [file.to_str().unwrap(), "SHA-256", "delete the file"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// What answers at the address of the target instead of a server.
#[derive(Clone, Copy, Debug)]
enum Other {
    Nobody,
    Silence,
    PlainHttp,
    Website,
}

#[rstest]
#[case::refuses(Other::Nobody, "http", &["refused the connection", "start the server"])]
#[case::times_out(Other::Silence, "https", &["did not answer in time", "route, firewall"])]
#[case::speaks_no_tls(Other::PlainHttp, "https", &["TLS with", "ca_file"])]
#[case::is_something_else(Other::Website, "http", &["not as OpenBao or Vault does", "address of the API"])]
fn an_address_without_a_server_is_refused(#[case] other: Other, #[case] scheme: &str, #[case] words: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    match other {
        Other::Nobody => drop(listener),
        // It is never accepted: the kernel takes the connection, and nobody answers.
        Other::Silence => std::mem::forget(listener),
        Other::PlainHttp | Other::Website => answer_with_a_page(listener),
    }
    let folder = tempfile::tempdir().unwrap();
    let file = target_at(folder.path(), scheme, address);
    refuses(&["--target", &file], &[words, &["vault.address", &file]].concat());
}

fn answer_with_a_page(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let page = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
            // Whatever was asked, and whoever is gone before the answer.
            let _ = connection.read(&mut [0; 1024]).and_then(|_| connection.write_all(page.as_bytes()));
        }
    });
}

fn target_at(folder: &Path, scheme: &str, address: SocketAddr) -> String {
    let file = folder.join("target.toml");
    let text = format!(
        "[vault]\ngrade = \"live\"\naddress = \"{scheme}://{address}\"\ntoken = {{ env = \"NO_TOKEN\" }}\n\
         mounts = {{ dev = \"d\", staging = \"s\", prod = \"p\" }}\naudit = {{ device = \"a\", file = \"/a\" }}\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_sealed_server_is_refused() {
    let remote = Remote::sealed().await;
    let target = remote.target(&"any".into(), |text| text);
    refuses(&["--target", target.to_str().unwrap()], &["vault.address", "is sealed", "unseal it"]);
}

#[rstest]
#[case::no_mount("kv-prod", "kv-nowhere", &["vault.mounts.prod", "kv-nowhere"])]
#[case::no_device("\"log\"", "\"nolog\"", &["vault.token", "sys/audit-hash/nolog"])]
#[case::no_log("audit.log", "nothing.log", &["vault.audit.file", "nothing.log", "failed to read the audit log"])]
#[case::no_auth_mount("[vault]", "[vault]\nauth_mount = \"nowhere\"", &["vault.token", "may not update `auth/nowhere/role"])]
#[case::no_notifier("[vault]", "[vault]\nnotifier = { address = \"http://127.0.0.1:1\", token_file = \"token\" }", &["vault.notifier.address", "127.0.0.1:1"])]
#[case::no_token_file("/token\"", "/no-token\"", &["vault.token", "no-token"])]
#[tokio::test]
async fn a_target_that_does_not_fit_its_server_is_refused(
    #[case] from: &str,
    #[case] to: &str,
    #[case] words: &[&str],
) {
    let (remote, _, token) = Remote::ready(&documented_policy()).await;
    let target = remote.target(&token, |text| text.replace(from, to));
    refuses(&["--target", target.to_str().unwrap()], words);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let (remote, _, _) = Remote::ready(&documented_policy()).await;
    let target = remote.target(&SecretString::from("hvs.nobody-was-given-this"), |text| text);
    refuses(&["--target", target.to_str().unwrap()], &["vault.token", "does not accept the token"]);
}

#[tokio::test]
async fn a_token_without_the_right_to_the_audit_log_is_refused() {
    let policy = documented_policy();
    let lacking: Vec<_> = policy.lines().filter(|line| !line.contains("audit-hash")).collect();
    assert!(lacking.len() < policy.lines().count(), "the documented policy names the audit log");
    let (remote, _, token) = Remote::ready(&lacking.join("\n")).await;
    let target = remote.target(&token, |text| text);
    let words = ["vault.token", "may not update `sys/audit-hash/log`", "add to its policy"];
    refuses(&["--target", target.to_str().unwrap()], &words);
}
