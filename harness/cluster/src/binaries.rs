//! The programs of a cluster: Kubernetes' own from one folder, everything else from this machine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Unusable;

/// The folder of test binaries that Kubernetes' own testing tools know by this variable.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// The version that `ci/kubernetes.sh` builds.
pub const BUILT: &str = "kubernetes-1.20.2";

/// The archive in which Kubernetes releases its server binaries, and where they lie in it.
const TARBALL: (&str, &str) = ("kubernetes-server-linux-amd64.tar.gz", "kubernetes/server/bin");

/// The oldest version whose flags are known here.
const OLDEST: Version = Version { major: 1, minor: 20 };

/// What comes from the folder.
const KUBERNETES: [&str; 5] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// What comes from this machine, and the Debian package that has it.
const MACHINE: [(&str, &str); 9] = [
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
];

/// Where CNI plugins lie: Debian's place, and upstream's.
const CNI: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// The CNI plugins in use.
const PLUGINS: [&str; 3] = ["ptp", "host-local", "loopback"];

/// Folders that an administrator's path has and a service's may not.
const SYSTEM_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A version as far as flags depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// One, so far.
    pub major: u32,
    /// The release.
    pub minor: u32,
}

impl Version {
    /// Out of what `--version` prints: `Kubernetes v1.20.2`.
    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim().strip_prefix("Kubernetes v")?.split('.');
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }

    /// Whether it is release 1.`minor` or later.
    pub fn has(self, minor: u32) -> bool {
        self >= Self { major: 1, minor }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Every program of a cluster, found and of a version that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Binaries {
    /// Kubernetes' own.
    pub folder: PathBuf,
    /// etcd, which such a folder may hold too.
    pub etcd: PathBuf,
    /// The CNI plugins.
    pub cni: PathBuf,
    /// The version of all of Kubernetes' own.
    pub version: Version,
    /// The version in full, as the API server says it.
    pub release: String,
}

impl Binaries {
    /// Looks in `given`, else where `KUBEBUILDER_ASSETS` points, else in `cache`, and never anywhere else when one of the
    /// first two is there. An archive of upstream's server binaries in that folder is unpacked into `cache` once.
    ///
    /// # Errors
    /// [`Unusable`]: a program is missing, does not run, or is of a version that is not known.
    pub fn find(given: Option<&Path>, cache: &Path) -> Result<Self> {
        let assets = std::env::var_os(ASSETS).map(PathBuf::from);
        let (folder, told) = match (given, assets) {
            (Some(given), _) => (given.to_owned(), "the folder that was given"),
            (None, Some(assets)) => (assets, ASSETS),
            (None, None) => (cache.join(BUILT), "the cache"),
        };
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let asked = folder.clone();
        let folder = match folder.join(TARBALL.0) {
            archive if archive.is_file() => unpacked(&archive, cache)?,
            _ => folder,
        };
        if let Some(missing) = KUBERNETES.iter().find(|name| !folder.join(name).is_file()) {
            return Err(Unusable::new(
                *missing,
                format!("not found in {} ({told})", asked.display()),
                "run ci/kubernetes.sh, which builds Kubernetes 1.20.2 once; or name a folder with upstream's server binaries",
            )
            .into());
        }
        let path = path();
        machine_has(&folder, &path)?;
        let etcd = folder.join("etcd");
        let etcd = if etcd.is_file() { etcd } else { on_path("etcd", &path).context("failed to find etcd")? };
        let cni = CNI.iter().map(Path::new).find(|folder| PLUGINS.iter().all(|name| folder.join(name).is_file()));
        let cni = cni.ok_or_else(|| {
            let problem = format!("{} are not all in one of {}", PLUGINS.join(", "), CNI.join(", "));
            Unusable::new("CNI plugins", problem, "apt-get install containernetworking-plugins")
        })?;
        let (version, release) = remembered_versions(&folder, cache)?;
        Ok(Self { folder, etcd, cni: cni.to_owned(), version, release })
    }
}

/// The search path of this process, and behind it what an administrator's has.
pub(crate) fn path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(SYSTEM_PATH.map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or(own)
}

/// Looks for what comes from this machine; etcd may also lie in the folder.
fn machine_has(folder: &Path, path: &OsString) -> Result<(), Unusable> {
    for (name, package) in MACHINE {
        if on_path(name, path).is_none() && !(name == "etcd" && folder.join(name).is_file()) {
            return Err(Unusable::new(name, "not found on the PATH", format!("apt-get install {package}")));
        }
    }
    Ok(())
}

fn on_path(name: &str, path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What the binaries said when they were asked; asked again when one of them is another. To ask them takes a second of
/// processor time: each is a hundred megabytes to load.
fn remembered_versions(folder: &Path, cache: &Path) -> Result<(Version, String)> {
    let mut key = Sha256::new();
    for name in KUBERNETES {
        let file = folder.join(name);
        let about = fs::metadata(&file).with_context(|| format!("failed to look at {}", file.display()))?;
        key.update(format!("{} {} {} {}\n", file.display(), about.size(), about.ctime(), about.ctime_nsec()));
    }
    let remembered = cache.join("kubernetes-versions").join(&hex::encode(key.finalize())[..16]);
    let known = fs::read_to_string(&remembered).ok();
    if let Some(known) = known.as_deref().and_then(|text| Some((Version::read(text)?, release(text)))) {
        return Ok(known);
    }
    let asked = versions(folder)?;
    // Whoever cannot keep it asks again.
    if fs::create_dir_all(cache.join("kubernetes-versions")).is_ok() {
        let half = remembered.with_extension(std::process::id().to_string());
        let _ = fs::write(&half, format!("Kubernetes v{}", asked.1)).and_then(|()| fs::rename(&half, &remembered));
    }
    Ok(asked)
}

fn release(text: &str) -> String {
    text.trim().trim_start_matches("Kubernetes v").to_owned()
}

/// Asks all five at once.
fn versions(folder: &Path) -> Result<(Version, String)> {
    let mut asked = Vec::new();
    for name in KUBERNETES {
        let mut command = Command::new(folder.join(name));
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        asked.push((name, command.spawn()));
    }
    let remedy = "use the binaries of one release for linux/amd64";
    let mut agreed: Option<(Version, String)> = None;
    for (name, asked) in asked {
        let place = folder.join(name).display().to_string();
        let said = asked
            .and_then(std::process::Child::wait_with_output)
            .map_err(|error| Unusable::new(place.clone(), format!("failed to run it: {error}"), remedy))?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let Some(version) = Version::read(&text) else {
            let problem = format!("it does not say its version ({}, `{text}`)", said.status);
            return Err(Unusable::new(place, problem, remedy).into());
        };
        if version < OLDEST {
            let problem =
                format!("it is of version {version}, and the flags of versions before {OLDEST} are not known");
            return Err(Unusable::new(place, problem, format!("use {OLDEST} or later")).into());
        }
        match &agreed {
            None => agreed = Some((version, release(&text))),
            Some((first, _)) if *first != version => {
                let problem = format!("it is of version {version}, and {} is of {first}", KUBERNETES[0]);
                return Err(Unusable::new(place, problem, remedy).into());
            }
            Some(_) => {}
        }
    }
    agreed.context("failed to ask a version")
}

/// Where the binaries of an archive are; unpacked first if they are not there.
fn unpacked(archive: &Path, cache: &Path) -> Result<PathBuf> {
    let about = fs::metadata(archive).with_context(|| format!("failed to look at {}", archive.display()))?;
    let key = format!("{} {} {} {}", archive.display(), about.size(), about.mtime(), about.mtime_nsec());
    let folder = cache.join(format!("kubernetes-{}", &hex::encode(Sha256::digest(key))[..16]));
    fs::create_dir_all(cache).with_context(|| format!("failed to make {}", cache.display()))?;
    let lock = folder.with_extension("lock");
    let lock = File::create(&lock).with_context(|| format!("failed to make the lock {}", lock.display()))?;
    lock.lock().context("failed to lock the cache")?;
    if !folder.exists() {
        let half = folder.with_extension("half");
        fs::create_dir_all(&half).with_context(|| format!("failed to make {}", half.display()))?;
        let members = KUBERNETES.iter().chain(&["kubectl"]).map(|name| format!("{}/{name}", TARBALL.1));
        let said = Command::new("tar")
            .args(["--extract", "--gzip", "--strip-components", "3", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(&half)
            .args(members)
            .output()
            .context("failed to start tar")?;
        if !said.status.success() {
            let problem = format!("failed to unpack it: {}", String::from_utf8_lossy(&said.stderr).trim());
            let remedy = "download it again; it must hold kubernetes/server/bin/kube-apiserver and its siblings";
            return Err(Unusable::new(archive.display().to_string(), problem, remedy).into());
        }
        fs::rename(&half, &folder).with_context(|| format!("failed to name {}", folder.display()))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Kubernetes v1.20.2", Some((1, 20)))]
    #[case("Kubernetes v1.34.1-rc.0+abc\n", Some((1, 34)))]
    #[case("v1.20.2", None)]
    #[case("", None)]
    fn a_version_is_read_from_what_a_binary_says(#[case] text: &str, #[case] expected: Option<(u32, u32)>) {
        assert_eq!(Version::read(text), expected.map(|(major, minor)| Version { major, minor }));
    }

    #[test]
    fn a_program_that_the_machine_lacks_is_named_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere").into_os_string();
        let error = machine_has(folder.path(), &nowhere).unwrap_err();
        assert_eq!((error.place.as_str(), error.remedy.as_str()), ("etcd", "apt-get install etcd-server"));
        File::create(folder.path().join("etcd")).unwrap();
        assert_eq!(machine_has(folder.path(), &nowhere).unwrap_err().place, "containerd");
    }

    #[test]
    fn versions_are_compared_by_number() {
        let version = Version { major: 1, minor: 9 };
        assert!(version.has(8) && version.has(9) && !version.has(10));
    }
}
