//! The files by which a control plane and its clients know each other, made anew for every one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

/// Where the server writes the certificate that it signs for itself.
pub const CERTIFICATES: &str = "certificates";
pub const TOKENS: &str = "tokens.csv";
pub const SIGNING_KEY: &str = "service-account.key";
pub const AUDIT_POLICY: &str = "audit-policy.yaml";

/// Only the daemon's own account is written down: it is what the tests ask about.
const AUDITED: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["system:serviceaccount:idp-system:idpd"]}
  - {level: None}
"#;

/// What a client needs.
pub struct Credentials {
    pub token: String,
    pub kubeconfig: PathBuf,
}

/// Writes a token file, a key to sign service account tokens with, what is audited, and a kubeconfig for `url`.
pub fn write(folder: &Path, url: &str) -> anyhow::Result<Credentials> {
    let token = hex::encode(rand::random::<[u8; 16]>());
    // This group may do everything, by a binding that the server makes itself.
    fs::write(folder.join(TOKENS), format!("{token},admin,admin,\"system:masters\"\n"))?;
    fs::write(folder.join(SIGNING_KEY), signing_key()?)?;
    fs::write(folder.join(AUDIT_POLICY), AUDITED)?;
    let kubeconfig = folder.join("kubeconfig");
    let authority = folder.join(CERTIFICATES).join("apiserver.crt");
    fs::write(&kubeconfig, kubeconfig_for(url, &token, &authority).to_string())?;
    Ok(Credentials { token, kubeconfig })
}

fn kubeconfig_for(url: &str, token: &str, authority: &Path) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stack",
        "contexts": [{ "name": "stack", "context": { "cluster": "stack", "user": "admin" } }],
        "clusters": [{ "name": "stack", "cluster": { "server": url, "certificate-authority": authority } }],
        "users": [{ "name": "admin", "user": { "token": token } }],
    })
}

fn signing_key() -> anyhow::Result<String> {
    let key = KeyPair::generate(KeySize::Rsa2048).context("generate a key")?;
    let der: Pkcs8V1Der = key.as_der().context("encode a key")?;
    // One long line: Go's decoder wants no wrapping.
    let text = BASE64_STANDARD.encode(der.as_ref());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
}
