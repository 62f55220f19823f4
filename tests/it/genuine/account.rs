//! The daemon's service account, made as `examples/rbac.yaml` says, and what it asked a genuine API server for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

use super::ground::Ground;

const EXAMPLE: &str = include_str!("../../../examples/rbac.yaml");
const HOME: &str = "idp-system";
/// By which name the server knows it.
pub const ACCOUNT: &str = "system:serviceaccount:idp-system:idpd";

/// The service account, made as the example says.
pub struct Account {
    /// How the daemon reaches the API server as this account.
    pub kubeconfig: PathBuf,
    audit: PathBuf,
}

/// A verb on a resource: what a rule of a role is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

impl Account {
    /// Applies the example and gets a token for the account.
    pub async fn make(ground: &Ground) -> anyhow::Result<Self> {
        ground.api.apply(EXAMPLE).await?;
        let answer = ground.api.kubectl(&["create", "token", "idpd", "--namespace", HOME]).await?;
        anyhow::ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let token = String::from_utf8(answer.stdout)?.trim().to_owned();
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&ground.api.kubeconfig)?)?;
        *config.pointer_mut("/users/0/user/token").context("the kubeconfig has a token")? = token.into();
        let kubeconfig = ground.file("kubeconfig-of-the-account");
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(Self { kubeconfig, audit: ground.api.audit() })
    }

    /// Returns what the account asked for: the right, how it was answered, and where. A patch that made an object asks for two rights.
    fn asked(&self) -> anyhow::Result<Vec<(Right, u64, String)>> {
        let mut all = Vec::new();
        for line in std::fs::read_to_string(&self.audit)?.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            if text("/user/username") != ACCOUNT || text("/objectRef/resource").is_empty() {
                continue;
            }
            let slash = if text("/objectRef/subresource").is_empty() { "" } else { "/" };
            let right = Right {
                group: text("/objectRef/apiGroup").to_owned(),
                resource: format!("{}{slash}{}", text("/objectRef/resource"), text("/objectRef/subresource")),
                verb: text("/verb").to_owned(),
            };
            let code = event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
            if code == 201 && right.verb == "patch" {
                all.push((Right { verb: "create".to_owned(), ..right.clone() }, code, String::new()));
            }
            all.push((right, code, text("/requestURI").to_owned()));
        }
        Ok(all)
    }

    /// Returns the rights that were used, and fails if one was missing.
    pub fn used(&self) -> anyhow::Result<BTreeSet<Right>> {
        let asked = self.asked()?;
        let forbidden = asked.iter().filter(|(_, code, _)| *code == 403);
        let forbidden: BTreeSet<String> =
            forbidden.map(|(right, _, uri)| format!("{right}: {uri}")).collect();
        anyhow::ensure!(forbidden.is_empty(), "the example lacks rights: {forbidden:#?}");
        anyhow::ensure!(!asked.is_empty(), "the account asked for nothing: {}", self.audit.display());
        Ok(asked.into_iter().map(|(right, ..)| right).collect())
    }
}

/// Returns the rights that the example gives the daemon.
pub fn granted() -> anyhow::Result<BTreeSet<Right>> {
    let mut all = BTreeSet::new();
    for text in EXAMPLE.split("\n---\n") {
        let object: Value = serde_yaml::from_str(text)?;
        let is_role = matches!(object["kind"].as_str(), Some("ClusterRole" | "Role"));
        if !is_role || object["metadata"]["name"] != "idpd" {
            continue;
        }
        for rule in object["rules"].as_array().context("a role has rules")? {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        all.insert(Right { group: group.clone(), resource: resource.clone(), verb });
                    }
                }
            }
        }
    }
    Ok(all)
}

fn texts(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
