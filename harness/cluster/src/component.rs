//! The programs of a cluster, how each is started, and how each is told what to do.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::binaries::Version;
use crate::certificates::NODE;
use crate::record::{Record, write_private};
use crate::{cgroup, namespace};

/// The image of the first process of each pod.
pub const PAUSE_IMAGE: &str = "conformance.local/pause:1";

/// Where containerd listens: its own default, in a `/run` that is the cluster's own.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// A program of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The database.
    Etcd,
    /// Runs containers.
    Containerd,
    /// The API.
    KubeApiserver,
    /// Runs pods.
    Kubelet,
    /// Makes Services.
    KubeProxy,
    /// Makes pods of Deployments, accounts of namespaces, and all else that follows from something.
    KubeControllerManager,
    /// Gives pods their node.
    KubeScheduler,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::Containerd,
        Self::KubeApiserver,
        Self::Kubelet,
        Self::KubeProxy,
        Self::KubeControllerManager,
        Self::KubeScheduler,
    ];

    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
        }
    }

    /// The command that runs it inside a cluster, with its output in its log.
    ///
    /// # Errors
    /// The cluster was never up, or the log cannot be written.
    pub(crate) fn command(self, record: &Record) -> Result<Command> {
        let log = record.log(self.name());
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        let log = log.with_context(|| format!("failed to open the log of {}", self.name()))?;
        let mut command = match self {
            Self::Etcd => namespace::enter(record, &record.binaries.etcd)?,
            Self::Containerd => namespace::enter(record, "containerd")?,
            _ => namespace::enter(record, record.binaries.folder.join(self.name()))?,
        };
        command.args(self.args(record)?).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn args(self, record: &Record) -> Result<Vec<String>> {
        let version = record.binaries.version;
        let config = |name: &str| record.folder.join("config").join(name).display().to_string();
        let kubeconfig = || config(&format!("{}.kubeconfig", self.name()));
        Ok(match self {
            Self::Etcd => vec!["--data-dir=/var/lib/etcd".to_owned()],
            Self::Containerd => vec!["--config".to_owned(), config("containerd.toml")],
            Self::KubeApiserver => apiserver(record)?,
            Self::Kubelet => {
                let mut args = vec![
                    format!("--config={}", config("kubelet.json")),
                    format!("--kubeconfig={}", kubeconfig()),
                    format!("--hostname-override={NODE}"),
                    format!("--node-ip={}", record.block()?.node()),
                ];
                if !version.has(27) {
                    // Later ones take it from the configuration file.
                    args.push("--container-runtime=remote".to_owned());
                    args.push(format!("--container-runtime-endpoint=unix://{SOCKET}"));
                }
                args
            }
            Self::KubeProxy => vec![format!("--config={}", config("kube-proxy.json"))],
            Self::KubeControllerManager => {
                let pki = record.file("pki").display().to_string();
                let mut args = manager(&kubeconfig(), version);
                args.extend([
                    format!("--service-account-private-key-file={pki}/tokens.key"),
                    format!("--root-ca-file={pki}/ca.crt"),
                    format!("--cluster-signing-cert-file={pki}/ca.crt"),
                    format!("--cluster-signing-key-file={pki}/ca.key"),
                    // At the default of 20 a second its own start takes five seconds longer.
                    "--kube-api-qps=300".to_owned(),
                    "--kube-api-burst=600".to_owned(),
                ]);
                args
            }
            Self::KubeScheduler => manager(&kubeconfig(), version),
        })
    }
}

/// What controller manager and scheduler have in common.
fn manager(kubeconfig: &str, version: Version) -> Vec<String> {
    let mut args = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        // There is only one of each.
        "--leader-elect=false".to_owned(),
    ];
    if !version.has(23) {
        // Before, they also answer anybody without TLS; later ones do not know the flag.
        args.push("--port=0".to_owned());
    }
    args
}

fn apiserver(record: &Record) -> Result<Vec<String>> {
    let (block, pki) = (record.block()?, record.file("pki").display().to_string());
    Ok(vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--advertise-address={}", block.node()),
        "--secure-port=6443".to_owned(),
        format!("--service-cluster-ip-range={}", block.services()),
        format!("--tls-cert-file={pki}/kube-apiserver.crt"),
        format!("--tls-private-key-file={pki}/kube-apiserver.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--kubelet-client-certificate={pki}/kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={pki}/tokens.pub"),
        format!("--service-account-signing-key-file={pki}/tokens.key"),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={pki}/front-proxy.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy.key"),
    ])
}

/// Writes the configuration files of those who want one.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn configure(record: &Record) -> Result<()> {
    let (folder, block) = (record.file("config"), record.block()?);
    let (pki, cni) = (record.file("pki"), folder.join("cni"));
    let file = |name: &str, content: String| write_private(&folder.join(name), content.as_bytes());
    let containerd = format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Its profile would stay in the machine's kernel.
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE no sandbox starts otherwise: runc says "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{}"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
        record.binaries.cni.display(),
        cni.display(),
    );
    file("containerd.toml", containerd)?;
    // Point to point, not a bridge: all traffic is routed, so Services work whatever `br_netfilter` is set to.
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": block.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    file("cni/10-pods.conflist", network.to_string())?;
    file("resolv.conf", String::new())?;
    let version = record.binaries.version;
    let mut kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": block.node(),
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join("kubelet.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup::name(&record.id)),
        "makeIPTablesUtilChains": false,
        "failSwapOn": false,
        // At the default of ten seconds the node of 1.20 is ready ten seconds later.
        "nodeStatusUpdateFrequency": "1s",
        "nodeStatusReportFrequency": "1s",
        // The defaults since 1.27; with five a second, those of 1.20, starting pods wait for each other's status. For events
        // five are enough: each costs the API server as much as a status.
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "resolvConf": folder.join("resolv.conf"),
        // A disk that is nearly full must not evict a test.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    });
    if version.has(27) {
        kubelet["containerRuntimeEndpoint"] = json!(format!("unix://{SOCKET}"));
    }
    if version.has(31) {
        // The default of later ones is to refuse version 1 of cgroups.
        kubelet["failCgroupV1"] = json!(false);
    }
    file("kubelet.json", kubelet.to_string())?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": block.node(),
        "clientConnection": {"kubeconfig": folder.join("kube-proxy.kubeconfig")},
        "clusterCIDR": block.pods(),
        "hostnameOverride": NODE,
        "mode": "iptables",
        // These belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    file("kube-proxy.json", proxy.to_string())
}
