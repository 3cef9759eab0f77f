//! The certificates of a cluster, and a kubeconfig for each who calls its API.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::network::Block;
use crate::record::write_private;

/// The node's name.
pub(crate) const NODE: &str = "node";

/// Who calls the API with a kubeconfig: file name, user, group.
const CALLERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    // All rights at once: its own role, and those of its controllers, come only with the API server's readiness.
    ("kube-controller-manager", "system:kube-controller-manager", "system:masters"),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", ""),
    ("kubelet", "system:node:node", "system:nodes"),
];

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut about = CertificateParams::default();
        about.distinguished_name.push(DnType::CommonName, name);
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        about.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        Ok(Self { certificate: about.self_signed(&key)?, issuer: Issuer::new(about, key) })
    }

    /// A certificate and its key, as PEM. With names it is a server's, without a client's.
    fn sign(&self, user: &str, group: &str, names: &[String]) -> Result<(String, String)> {
        let mut about = CertificateParams::new(names)?;
        about.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            about.distinguished_name.push(DnType::OrganizationName, group);
        }
        about.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        about.extended_key_usages = vec![if names.is_empty() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        let key = KeyPair::generate()?;
        Ok((about.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// Writes all certificates, keys and kubeconfigs of a cluster below its folder.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn make(folder: &Path, block: Block) -> Result<()> {
    let pki = folder.join("pki");
    let write = |name: &str, (certificate, key): (String, String)| -> Result<()> {
        write_private(&pki.join(format!("{name}.crt")), certificate.as_bytes())?;
        write_private(&pki.join(format!("{name}.key")), key.as_bytes())
    };
    let (authority, front) = (Authority::new("cluster")?, Authority::new("front-proxy")?);
    let ca = authority.certificate.pem();
    write("ca", (ca.clone(), authority.issuer.key().serialize_pem()))?;
    write_private(&pki.join("front-proxy-ca.crt"), front.certificate.pem().as_bytes())?;
    write("front-proxy", front.sign("front-proxy", "", &[])?)?;

    let (node, service) = (block.node().to_string(), block.first_service().to_string());
    let mut names: Vec<String> = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let domains =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    names.extend(domains.map(str::to_owned));
    names.extend([node.clone(), service]);
    write("kube-apiserver", authority.sign("kube-apiserver", "", &names)?)?;
    write("kubelet", authority.sign(NODE, "", &[NODE.to_owned(), node.clone(), "127.0.0.1".to_owned()])?)?;
    write("kubelet-client", authority.sign("kube-apiserver", "system:masters", &[])?)?;

    // Tokens of ServiceAccounts.
    let tokens = KeyPair::generate()?;
    write_private(&pki.join("tokens.key"), tokens.serialize_pem().as_bytes())?;
    write_private(&pki.join("tokens.pub"), tokens.public_key_pem().as_bytes())?;

    for (file, user, group) in CALLERS {
        let (certificate, key) = authority.sign(user, group, &[])?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "scratch", "cluster": {
                "server": format!("https://{node}:6443"),
                "certificate-authority-data": STANDARD.encode(&ca),
            }}],
            "users": [{"name": file, "user": {
                "client-certificate-data": STANDARD.encode(&certificate),
                "client-key-data": STANDARD.encode(&key),
            }}],
            "contexts": [{"name": "scratch", "context": {"cluster": "scratch", "user": file}}],
            "current-context": "scratch",
        });
        // JSON is YAML too.
        let text = serde_json::to_vec_pretty(&config)?;
        write_private(&folder.join("config").join(format!("{file}.kubeconfig")), &text)?;
        if file == "admin" {
            write("admin", (certificate, key))?;
        }
    }
    let (admin, kubeconfig) = (folder.join("config/admin.kubeconfig"), folder.join("kubeconfig"));
    fs::rename(&admin, &kubeconfig).with_context(|| format!("failed to write {}", kubeconfig.display()))
}
