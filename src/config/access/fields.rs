//! Reads how sources are reached: `credentials`, `ca_file` and `proxy` of a source, and those that the platform gives to all.

use std::path::Path;

use base64::Engine as _;
use url::Url;

use super::address::{Scope, loopback, prefix};
use super::{Access, GitHubApp, HostKeys, Proof, Proxy, Route, SharedProof, SshKey};
use crate::config::platform::{credentials, not_empty, secret};
use crate::config::reader::{At, Section};
use crate::config::types::RepoUrl;

/// The types of keys that a server may have over SSH.
const HOST_KEY_TYPES: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// Where credentials are for.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// Nobody knows: the address is a problem of its own.
    Unknown,
    /// A repository on this machine.
    Local,
    /// All below an address.
    Below(&'a Scope),
}

/// Reads what `platform` gives to all sources: `credentials`, `ca_file` and `proxy`.
pub(in crate::config) fn platform(section: &mut Section<'_>, base: &Path) -> (Vec<SharedProof>, Route) {
    let route = route(section, base);
    let mut found: Vec<SharedProof> = Vec::new();
    for mut inner in section.sections("credentials") {
        let fix = "write for example https://git.example.com/acme/: they are sent nowhere else";
        let scope = inner.required("url", fix, prefix);
        let given = proof(
            &mut inner,
            scope.as_ref().map_or(Target::Unknown, |scope| Target::Below(&scope.value)),
            base,
        );
        if let (Some(At { at, value: scope }), Some(proof)) = (scope, given) {
            if found.iter().any(|other| other.scope == scope) {
                inner.problem(at, "url", "this address stands here twice");
            } else {
                found.push(SharedProof { scope, proof });
            }
        }
        inner.finish();
    }
    (found, route)
}

/// Reads how one source is reached. What it says of itself goes before what the platform gives to all; of that the closest address
/// counts.
pub(in crate::config) fn access(
    section: &mut Section<'_>,
    url: Option<&RepoUrl>,
    (shared, common): (&[SharedProof], &Route),
    base: &Path,
) -> Access {
    let scope = url.and_then(Scope::of);
    let target = match (url, &scope) {
        (None, _) => Target::Unknown,
        (Some(_), None) => Target::Local,
        (Some(_), Some(scope)) => Target::Below(scope),
    };
    let given = section.section("credentials").and_then(|mut inner| {
        let found = proof(&mut inner, target, base);
        inner.finish();
        found
    });
    let below = shared.iter().filter(|entry| scope.as_ref().is_some_and(|scope| entry.scope.covers(scope)));
    let closest = below.max_by_key(|entry| entry.scope.depth()).map(|entry| entry.proof.clone());
    let asked = section.node("credentials").is_some();
    if !asked && closest.is_none() && matches!(url, Some(RepoUrl::Ssh(_))) {
        section.missing(
            "credentials",
            "SSH needs a key and the server's key: write credentials: {ssh: {private_key_file: …, known_hosts_file: …}}, or an https:// address",
        );
    }
    let own = route(section, base);
    if (own != Route::default()) && !matches!(url, Some(RepoUrl::Http(_)) | None) {
        section.problem(section.at, "proxy", "ca_file and proxy are for https:// addresses: remove them");
    }
    let route = Route {
        ca_file: own.ca_file.or_else(|| common.ca_file.clone()),
        proxy: own.proxy.or_else(|| common.proxy.clone()),
    };
    // Credentials that did not parse are a problem already; others do not take their place.
    Access { proof: if asked { given } else { closest }, route }
}

/// Reads the one way to prove oneself below an address: none or two are a problem, and one that the address does not speak as well.
fn proof(section: &mut Section<'_>, target: Target<'_>, base: &Path) -> Option<Proof> {
    let basic = ["token_file", "token_env"].map(|name| section.node(name).is_some());
    let bearer = ["bearer_token_file", "bearer_token_env"].map(|name| section.node(name).is_some());
    let given = [
        ("token_file", basic.contains(&true) || section.node("username").is_some()),
        ("bearer_token_file", bearer.contains(&true)),
        ("github_app", section.node("github_app").is_some()),
        ("ssh", section.node("ssh").is_some()),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    match given.as_slice() {
        [] => {
            section
                .missing("token_file", "write token_file, token_env, bearer_token_file, github_app or ssh");
        }
        [_] => {}
        [first, second, ..] => {
            section.problem(section.at, second, format!("{first} stands here as well: keep one of the two"));
        }
    }
    let basic = credentials(section, base, "token_file", "token_env").map(Proof::Basic);
    let bearer = secret(section, base, "bearer_token_file", "bearer_token_env").map(Proof::Bearer);
    let root = if let Target::Below(scope) = target { scope.root() } else { None };
    let app = section.section("github_app").and_then(|inner| github_app(inner, root.as_ref(), base));
    let key = section.section("ssh").and_then(|inner| ssh(inner, base));
    let is_key = given.contains(&"ssh");
    let wrong = match target {
        Target::Local => Some("a repository on this machine is read where it is: remove this"),
        Target::Below(_) if is_key && root.is_some() => {
            Some("a key is for ssh:// addresses: write token_file or github_app")
        }
        Target::Below(_) if !is_key && root.is_none() => Some("over SSH a key is used: write ssh"),
        Target::Below(_) | Target::Unknown => None,
    };
    if let (Some(why), Some(field)) = (wrong, given.first()) {
        section.problem(section.at, field, why);
        return None;
    }
    basic.or(bearer).or(app.map(Proof::GitHubApp)).or(key.map(Proof::Ssh))
}

fn github_app(mut section: Section<'_>, root: Option<&Url>, base: &Path) -> Option<GitHubApp> {
    let app_id = section.identifier("app_id", "write the App ID that the App's page shows");
    let installation_id = section.identifier(
        "installation_id",
        "write the number at the end of the address of the installation's page",
    );
    let key = section.required("private_key_file", "write the file with the App's private key", not_empty);
    let given = section.parsed("api_url", api_url).map(|found| found.value);
    let asked = section.node("api_url").is_some();
    section.finish();
    let api = if asked { given } else { root.and_then(github_api) };
    let private_key = base.join(key?.value);
    Some(GitHubApp { app_id: app_id?, installation_id: installation_id?, private_key, api_url: api? })
}

/// Returns where the API of GitHub is for a repository there, or of a GitHub Enterprise Server.
pub(in crate::config) fn github_api(repository: &Url) -> Option<Url> {
    if repository.host_str() == Some("github.com") {
        return Url::parse("https://api.github.com").ok();
    }
    repository.join("/api/v3").ok()
}

/// Parses the address of a forge's API.
pub(in crate::config) fn api_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim_end_matches('/')).map_err(|error| error.to_string())?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("an address may not hold credentials".to_owned())
        }
        "https" => Ok(url),
        "http" if loopback(&url) => Ok(url),
        _ => Err("write https://: the token would be readable by everyone".to_owned()),
    }
}

fn ssh(mut section: Section<'_>, base: &Path) -> Option<SshKey> {
    let key = section.required(
        "private_key_file",
        "write the file of a key made with: ssh-keygen -t ed25519 -N '' -f FILE",
        not_empty,
    );
    let passphrase = secret(&mut section, base, "passphrase_file", "passphrase_env");
    let file = section.parsed("known_hosts_file", not_empty);
    let listed = section.texts("host_keys", host_key);
    let asked = section.node("host_keys").is_some();
    let known = match (file, asked) {
        (Some(file), true) => {
            section.problem(
                file.at,
                "known_hosts_file",
                "host_keys stands here as well: keep one of the two",
            );
            None
        }
        (Some(file), false) => Some(HostKeys::File(base.join(file.value))),
        (None, true) if listed.is_empty() => {
            section.missing("host_keys", "without a key no server would be accepted");
            None
        }
        (None, true) => Some(HostKeys::Listed(listed.into_iter().map(|found| found.value).collect())),
        (None, false) => {
            section.missing(
                "host_keys",
                "write the server's keys as its owner publishes them, for example \"ssh-ed25519 AAAA…\", or known_hosts_file",
            );
            None
        }
    };
    section.finish();
    Some(SshKey { private_key: base.join(key?.value), passphrase, known: known? })
}

/// Checks `TYPE KEY`, with a comment after another space, and returns it without that.
fn host_key(text: &str) -> Result<String, String> {
    let mut words = text.split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Err("write TYPE KEY, for example \"ssh-ed25519 AAAA…\"".to_owned());
    };
    if !HOST_KEY_TYPES.contains(&kind) {
        return Err(format!("{kind:?} is no type of host key: write one of {}", HOST_KEY_TYPES.join(", ")));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(key).ok();
    let parts = bytes.as_deref().and_then(parts).unwrap_or_default();
    if parts.len() > 1 && parts.first() == Some(&kind.as_bytes()) {
        return Ok(format!("{kind} {key}"));
    }
    Err(format!("this is not a key of the type {kind}: copy the whole line"))
}

/// Splits a key into its parts (RFC 4253, 6.6), of which the first says its type once more: so one that was cut or mixed up is found.
fn parts(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

/// Reads `ca_file` and `proxy`.
fn route(section: &mut Section<'_>, base: &Path) -> Route {
    let ca_file = section.parsed("ca_file", not_empty).map(|found| base.join(found.value));
    let proxy = section.section("proxy").and_then(|mut inner| {
        let url = inner.required("url", "write for example http://proxy.example.com:3128", proxy_url);
        let credentials = credentials(&mut inner, base, "password_file", "password_env");
        let no_proxy = inner.texts("no_proxy", |text| {
            let bad = text.trim().is_empty() || text.contains([',', '/']) && !is_network(text);
            if bad {
                Err(format!("{text:?} is no host and no network: each is its own item"))
            } else {
                Ok(text.trim().to_owned())
            }
        });
        inner.finish();
        let no_proxy = no_proxy.into_iter().map(|found| found.value).collect();
        Some(Proxy { url: url?.value, credentials, no_proxy })
    });
    Route { ca_file, proxy }
}

fn is_network(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(address, bits)| {
        address.parse::<std::net::IpAddr>().is_ok() && bits.parse::<u8>().is_ok()
    })
}

fn proxy_url(text: &str) -> Result<Url, String> {
    // The text itself is never repeated: it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("this is not an address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address may not hold credentials: write username and password_file".to_owned());
    }
    let plain = url.path().trim_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        "http" | "https" if plain && url.has_host() => Ok(url),
        "http" | "https" => Err("the address of a proxy is a host and a port, and no more".to_owned()),
        other => Err(format!("{other}:// is not spoken to a proxy: write http:// or https://")),
    }
}
