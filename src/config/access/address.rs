//! Addresses of repositories, and below which address credentials may be sent.

use std::fmt;
use std::path::Path;

use url::Url;

use crate::config::platform::not_empty;
use crate::config::types::RepoUrl;

/// Who logs in over SSH where the address does not say.
const SSH_USER: &str = "git";
/// The port of SSH.
const SSH_PORT: u16 = 22;

/// The address of a repository over SSH. Neither the user nor the host begins with `-`, and nothing in it is a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshUrl {
    /// Who logs in.
    pub user: String,
    /// The host's name in lower case, or its address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path as the server gets it: with a leading `/` from `ssh://…`, without from `user@host:path`.
    pub path: String,
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, path } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match path.starts_with('/') {
            true if *port == SSH_PORT => write!(f, "ssh://{user}@{host}{path}"),
            true => write!(f, "ssh://{user}@{host}:{port}{path}"),
            false => write!(f, "{user}@{host}:{path}"),
        }
    }
}

/// Below which address credentials may be sent: scheme, user (over SSH), host and port are the same, and the path begins with whole
/// segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    scheme: String,
    user: String,
    host: String,
    port: u16,
    path: Vec<String>,
}

impl Scope {
    /// Returns that of a repository and all below it; a repository on this machine has none.
    pub fn of(url: &RepoUrl) -> Option<Self> {
        match url {
            RepoUrl::Local(_) => None,
            RepoUrl::Http(url) => Some(Self::of_http(url)),
            RepoUrl::Ssh(url) => Some(Self {
                scheme: "ssh".to_owned(),
                user: url.user.clone(),
                host: url.host.clone(),
                port: url.port,
                path: segments(&url.path),
            }),
        }
    }

    /// Returns that of an address over HTTP and all below it.
    pub fn of_http(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            user: String::new(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            path: segments(url.path()),
        }
    }

    /// Tells whether all of the other one lies below this one.
    pub fn covers(&self, other: &Self) -> bool {
        let Self { scheme, user, host, port, path } = self;
        *scheme == other.scheme
            && *user == other.user
            && *host == other.host
            && *port == other.port
            && other.path.starts_with(path)
    }

    /// Returns the address of the server over HTTP; nothing over SSH.
    pub(super) fn root(&self) -> Option<Url> {
        let Self { scheme, host, port, .. } = self;
        if scheme == "ssh" { None } else { Url::parse(&format!("{scheme}://{host}:{port}")).ok() }
    }

    /// Returns how many segments the path has: the more, the closer.
    pub(super) fn depth(&self) -> usize {
        self.path.len()
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Parses the address that credentials are bound to: of a repository, or of all below a path.
pub(super) fn prefix(text: &str) -> Result<Scope, String> {
    // Whether plain http is spoken at all, each source says for itself.
    let url = parse(text, true, Path::new(""))?;
    Scope::of(&url).ok_or_else(|| "write https://HOST/PATH/, or ssh://git@HOST/PATH/".to_owned())
}

/// Parses a repository's address. Credentials in it and plain http to another machine are refused with what to write instead.
pub(in crate::config) fn address(text: &str, insecure: bool, base: &Path) -> Result<RepoUrl, String> {
    match parse(text, insecure, base)? {
        RepoUrl::Ssh(url) if url.path.trim_matches('/').is_empty() => {
            Err("this address names no repository: write ssh://git@HOST/OWNER/NAME.git".to_owned())
        }
        url => Ok(url),
    }
}

fn parse(text: &str, insecure: bool, base: &Path) -> Result<RepoUrl, String> {
    if let Some(path) = text.strip_prefix("file://") {
        return Ok(RepoUrl::Local(base.join(path)));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let before = text.split('/').next().unwrap_or_default();
        if before.contains('@') && before.contains(':') {
            return scp_like(text).map(RepoUrl::Ssh);
        }
        return not_empty(text).map(|path| RepoUrl::Local(base.join(path))).map_err(str::to_owned);
    };
    match scheme {
        "ssh" => ssh(rest).map(RepoUrl::Ssh),
        "https" | "http" => http(text, insecure).map(RepoUrl::Http),
        _ => Err(format!(
            "{scheme}:// is not spoken: write https://HOST/OWNER/NAME.git, or ssh://git@HOST/OWNER/NAME.git"
        )),
    }
}

fn http(text: &str, insecure: bool) -> Result<Url, String> {
    // The text itself is never repeated: it may hold a token.
    let url = Url::parse(text).map_err(|error| format!("this is not an address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address may not hold credentials: write them as credentials.token_file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address has no '?' and no '#'".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() || host.starts_with('-') {
        return Err("this address has no host".to_owned());
    }
    if url.scheme() == "http" && !insecure && !loopback(&url) {
        return Err(
            "plain http shows its credentials to everyone: write https://, or insecure: true".to_owned()
        );
    }
    Ok(url)
}

/// Tells whether an address is on this machine.
pub(in crate::config) fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Parses what follows `ssh://`.
fn ssh(text: &str) -> Result<SshUrl, String> {
    let (authority, path) = text.split_once('/').unwrap_or((text, ""));
    let (user, rest) = authority.rsplit_once('@').unwrap_or((SSH_USER, authority));
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(SSH_PORT), str::parse::<u16>);
    let port = port.ok().filter(|port| *port != 0).ok_or("the port is a number from 1 to 65535")?;
    checked(user, host, port, format!("/{path}"))
}

/// Parses `user@host:path`.
fn scp_like(text: &str) -> Result<SshUrl, String> {
    let (user, rest) = text.split_once('@').unwrap_or((SSH_USER, text));
    let split = match rest.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some(split) => Some(split),
        None => rest.split_once(':'),
    };
    let (host, path) = split.ok_or("this is not an address: write git@HOST:OWNER/NAME.git")?;
    checked(user, host, SSH_PORT, path.to_owned())
}

fn checked(user: &str, host: &str, port: u16, path: String) -> Result<SshUrl, String> {
    // None of the texts is repeated: they may hold a password.
    if user.contains(':') {
        return Err("an address may not hold a password: over SSH a key is used".to_owned());
    }
    let name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !name(user) || user.starts_with('-') {
        return Err("the user before '@' is letters, digits, '.', '_' and '-', and does not begin with '-'"
            .to_owned());
    }
    let is_host = name(host) || host.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_host || host.starts_with('-') {
        return Err("this address has no host, or one that begins with '-'".to_owned());
    }
    if path.starts_with('-') {
        return Err("the path does not begin with '-'".to_owned());
    }
    if path.chars().any(char::is_control) || path.contains(['%', '?', '#', '\\']) {
        return Err("a path over SSH is written as it is, without '%', '?', '#' and '\\'".to_owned());
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("a path over SSH has no '.' and no '..'".to_owned());
    }
    Ok(SshUrl { user: user.to_owned(), host: host.to_ascii_lowercase(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RepoUrl, String> {
        address(text, true, Path::new("/base"))
    }

    #[test]
    fn ssh_is_written_in_two_ways() {
        let url = |user: &str, host: &str, port, path: &str| SshUrl {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, wanted, shown) in [
            ("ssh://git@git.example.com/a/b.git", url("git", "git.example.com", 22, "/a/b.git"), None),
            (
                "ssh://me@GIT.example.com:2222/a/b",
                url("me", "git.example.com", 2222, "/a/b"),
                Some("ssh://me@git.example.com:2222/a/b"),
            ),
            (
                "ssh://git.example.com/a",
                url("git", "git.example.com", 22, "/a"),
                Some("ssh://git@git.example.com/a"),
            ),
            ("ssh://git@[::1]:7999/a", url("git", "::1", 7999, "/a"), None),
            ("git@git.example.com:a/b.git", url("git", "git.example.com", 22, "a/b.git"), None),
            ("git@[::1]:a's/b", url("git", "::1", 22, "a's/b"), None),
            (
                "git@git.example.com:/srv/b",
                url("git", "git.example.com", 22, "/srv/b"),
                Some("ssh://git@git.example.com/srv/b"),
            ),
        ] {
            let RepoUrl::Ssh(found) = parsed(text).unwrap() else { panic!("{text}") };
            assert_eq!(found, wanted, "{text}");
            assert_eq!(found.to_string(), shown.unwrap_or(text));
        }
        assert_eq!(parsed("x/git@host:a").unwrap(), RepoUrl::Local("/base/x/git@host:a".into()));
    }

    #[test]
    fn an_address_that_could_be_read_as_something_else_is_refused_and_not_repeated() {
        for (text, wanted) in [
            ("ssh://-oProxyCommand=canary/a", "begins with '-'"),
            ("ssh://git@-oProxyCommand/a", "begins with '-'"),
            ("ssh://-canary@host/a", "does not begin with '-'"),
            ("-canary@host:a", "does not begin with '-'"),
            ("git@-canary:a", "begins with '-'"),
            ("git@host:-canary", "does not begin with '-'"),
            ("git@host:", "names no repository"),
            ("ssh://git@host", "names no repository"),
            ("ssh://git@host//", "names no repository"),
            ("ssh://git@host:0/a", "the port is"),
            ("ssh://git@host:canary/a", "the port is"),
            ("ssh://git:canary@host/a", "may not hold a password"),
            ("ssh://git@ho st/a", "has no host"),
            ("ssh://git@host/a\nb", "written as it is"),
            ("ssh://git@host/a%2f", "written as it is"),
            ("ssh://git@host/a/../b", "no '..'"),
            ("git://host/a", "git:// is not spoken"),
            ("https://me:canary@host/a", "may not hold credentials"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("canary"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_scope_covers_whole_segments_of_its_own_host_port_and_scheme() {
        let scope = |text: &str| Scope::of(&parsed(text).unwrap()).unwrap();
        for (prefix, other, covers) in [
            ("https://git.example.com/acme/", "https://git.example.com/acme/a.git", true),
            ("https://git.example.com/acme", "https://GIT.example.com:443//acme/a/b", true),
            ("https://git.example.com/", "https://git.example.com/a", true),
            ("https://git.example.com/acme/a", "https://git.example.com/acme/a/info/refs?x", true),
            ("https://git.example.com/acme/a", "https://git.example.com/acme/a.git", false),
            ("https://git.example.com/acme", "https://git.example.com/acme-evil/a", false),
            ("https://git.example.com/acme", "https://git.example.com/acme/../b", false),
            ("https://git.example.com/acme", "https://git.example.com/acme/%2e%2e/b", false),
            ("https://git.example.com/acme", "https://git.example.com/ACME/a", false),
            ("https://git.example.com/", "https://git.example.com:8443/a", false),
            ("https://git.example.com/", "http://git.example.com:443/a", false),
            ("https://git.example.com/", "https://git.example.com.evil.com/a", false),
            ("https://git.example.com/", "https://example.com/a", false),
            ("ssh://git@host/acme", "git@host:acme/a.git", true),
            ("ssh://git@host/acme", "git@host:/acme/a.git", true),
            ("ssh://git@host/acme", "me@host:acme/a.git", false),
            ("ssh://git@host/acme", "ssh://git@host:2222/acme/a", false),
            ("ssh://git@host/acme", "https://host/acme/a", false),
        ] {
            let other = other.split('?').next().unwrap();
            assert_eq!(scope(prefix).covers(&scope(other)), covers, "{prefix} {other}");
        }
    }
}
