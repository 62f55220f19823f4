//! How sources are reached, on literals: what is read, whose credentials count, and what every kind of mistake is told.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Config, SecretRef, load, parse};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn text(platform: &str, source: &str) -> String {
    format!(
        "cluster: {{in_cluster: true}}\nenvironments: [{{name: p, namespace: p}}]\nplatform: {{{platform}}}\n\
         sources: [{{name: a, {source}}}]\n"
    )
}

fn config(platform: &str, source: &str) -> Config {
    parse(&text(platform, source), Path::new("/etc/idp")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn access(platform: &str, source: &str) -> Access {
    config(platform, source).sources.into_values().next().unwrap().access.clone()
}

fn problems(platform: &str, source: &str) -> String {
    let errors = parse(&text(platform, source), Path::new("/etc/idp")).expect_err("there is a mistake");
    errors.to_string()
}

fn file(name: &str) -> SecretRef {
    SecretRef::File(Path::new("/etc/idp").join(name))
}

#[test]
fn a_source_proves_itself_in_one_of_four_ways() {
    let basic = |username: &str, secret| Proof::Basic(Credentials { username: username.to_owned(), secret });
    let app = |api: &str| {
        let ids = ("12".to_owned(), "34".to_owned());
        let key = PathBuf::from("/etc/idp/app.pem");
        Proof::GitHubApp(GitHubApp {
            app_id: ids.0,
            installation_id: ids.1,
            private_key: key,
            api_url: api.parse().unwrap(),
        })
    };
    let ssh =
        |passphrase, known| Proof::Ssh(SshKey { private_key: "/etc/idp/key".into(), passphrase, known });
    let listed = HostKeys::Listed(vec![ED25519.to_owned()]);
    let known = HostKeys::File("/etc/idp/known".into());
    let named = "app_id: 12, installation_id: \"34\", private_key_file: app.pem";
    for (url, credentials, wanted) in [
        ("https://h/o/n", "{token_file: t}".to_owned(), basic("idp", file("t"))),
        ("https://h/o/n", "{username: me, token_env: T}".to_owned(), basic("me", SecretRef::Env("T".into()))),
        ("https://h/o/n", "{bearer_token_file: t}".to_owned(), Proof::Bearer(file("t"))),
        ("https://github.com/o/n", format!("{{github_app: {{{named}}}}}"), app("https://api.github.com")),
        ("https://h:8443/o/n", format!("{{github_app: {{{named}}}}}"), app("https://h:8443/api/v3")),
        (
            "https://h/o/n",
            format!("{{github_app: {{{named}, api_url: \"https://x/api/\"}}}}"),
            app("https://x/api"),
        ),
        ("git@h:o/n", "{ssh: {private_key_file: key, known_hosts_file: known}}".to_owned(), ssh(None, known)),
        (
            "ssh://git@h/o/n",
            format!(
                "{{ssh: {{private_key_file: key, passphrase_file: w, host_keys: [\"{ED25519} comment\"]}}}}"
            ),
            ssh(Some(file("w")), listed),
        ),
    ] {
        let found = access("", &format!("url: \"{url}\", credentials: {credentials}"));
        assert_eq!(found, Access { proof: Some(wanted), route: Route::default() }, "{url} {credentials}");
    }
}

#[test]
fn the_closest_address_of_the_platform_counts_and_a_source_s_own_before_it() {
    let shared = "credentials: [{url: \"https://h/\", token_file: all}, {url: \"https://h/acme\", token_file: acme}, \
        {url: \"https://h/acme/deep/\", bearer_token_file: deep}, {url: \"ssh://git@h/\", ssh: {private_key_file: k, known_hosts_file: w}}]";
    let token =
        |name: &str| Some(Proof::Basic(Credentials { username: "idp".to_owned(), secret: file(name) }));
    let key = || HostKeys::File("/etc/idp/w".into());
    let key = Some(Proof::Ssh(SshKey { private_key: "/etc/idp/k".into(), passphrase: None, known: key() }));
    for (source, wanted) in [
        ("url: \"https://h/acme/a.git\"", token("acme")),
        ("url: \"https://h/acme/deep/a\"", Some(Proof::Bearer(file("deep")))),
        ("url: \"https://h/acme-evil/a\"", token("all")),
        ("url: \"https://h:8443/acme/a\"", None),
        ("insecure: true, url: \"http://h/acme/a\"", None),
        ("url: \"https://h.evil.com/acme/a\"", None),
        ("url: /srv/a", None),
        ("url: \"git@h:acme/a\"", key),
        ("url: \"https://h/acme/a\", credentials: {token_file: own}", token("own")),
    ] {
        assert_eq!(access(shared, source).proof, wanted, "{source}");
    }
}

#[test]
fn a_source_s_own_way_goes_before_that_of_the_platform() {
    let proxy = |url: &str, no_proxy: &[&str]| Proxy {
        url: url.parse().unwrap(),
        credentials: None,
        no_proxy: no_proxy.iter().map(|text| (*text).to_owned()).collect(),
    };
    let platform =
        "ca_file: ca.pem, proxy: {url: \"http://p:3128\", no_proxy: [.internal, 10.0.0.0/8, \"*\"]}";
    let common = Route {
        ca_file: Some("/etc/idp/ca.pem".into()),
        proxy: Some(proxy("http://p:3128", &[".internal", "10.0.0.0/8", "*"])),
    };
    assert_eq!(access(platform, "url: https://h/o/n").route, common);
    let own = access(
        platform,
        "url: https://h/o/n, ca_file: own.pem, proxy: {url: \"https://q\", username: u, password_env: P}",
    );
    let credentials = Some(Credentials { username: "u".to_owned(), secret: SecretRef::Env("P".into()) });
    assert_eq!(own.route.ca_file, Some("/etc/idp/own.pem".into()));
    assert_eq!(own.route.proxy, Some(Proxy { credentials, ..proxy("https://q", &[]) }));
}

#[test]
fn what_does_not_fit_is_told_with_its_remedy_and_without_what_was_written() {
    let app = "app_id: 1, installation_id: 2, private_key_file: f";
    let key = "private_key_file: f, known_hosts_file: k";
    let cut = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5";
    for (url, fields, part) in [
        ("https://h/o/n", "credentials: {}".to_owned(), "write token_file, token_env"),
        (
            "https://h/o/n",
            "credentials: {token_file: a, bearer_token_file: b}".to_owned(),
            "token_file stands here as well",
        ),
        (
            "https://h/o/n",
            format!("credentials: {{token_file: a, github_app: {{{app}}}}}"),
            "keep one of the two",
        ),
        ("https://h/o/n", format!("credentials: {{ssh: {{{key}}}}}"), "a key is for ssh:// addresses"),
        (
            "https://h/o/n",
            "credentials: {github_app: {app_id: 1, private_key_file: f}}".to_owned(),
            "installation_id",
        ),
        (
            "https://h/o/n",
            "credentials: {github_app: {app_id: 1, installation_id: 2}}".to_owned(),
            "private_key_file",
        ),
        (
            "https://h/o/n",
            "credentials: {github_app: {app_id: a/b, installation_id: 2, private_key_file: f}}".to_owned(),
            "no identifier",
        ),
        (
            "https://h/o/n",
            "credentials: {github_app: {app_id: -1, installation_id: 2, private_key_file: f}}".to_owned(),
            "app_id",
        ),
        (
            "https://h/o/n",
            format!("credentials: {{github_app: {{{app}, api_url: \"http://x\"}}}}"),
            "write https://",
        ),
        ("git@h:o/n", "credentials: {token_file: a}".to_owned(), "over SSH a key is used"),
        ("git@h:o/n", format!("credentials: {{github_app: {{{app}}}}}"), "over SSH a key is used"),
        ("git@h:o/n", "credentials: {ssh: {private_key_file: f}}".to_owned(), "write the server's keys"),
        ("git@h:o/n", "credentials: {ssh: {known_hosts_file: f}}".to_owned(), "ssh-keygen -t ed25519"),
        (
            "git@h:o/n",
            format!("credentials: {{ssh: {{{key}, host_keys: [\"{ED25519}\"]}}}}"),
            "keep one of the two",
        ),
        (
            "git@h:o/n",
            "credentials: {ssh: {private_key_file: f, host_keys: []}}".to_owned(),
            "no server would be accepted",
        ),
        (
            "git@h:o/n",
            "credentials: {ssh: {private_key_file: f, host_keys: [ssh-dss AAAA]}}".to_owned(),
            "no type of host key",
        ),
        (
            "git@h:o/n",
            "credentials: {ssh: {private_key_file: f, host_keys: [x]}}".to_owned(),
            "write TYPE KEY",
        ),
        (
            "git@h:o/n",
            format!("credentials: {{ssh: {{private_key_file: f, host_keys: [{cut}]}}}}"),
            "copy the whole line",
        ),
        (
            "git@h:o/n",
            format!("credentials: {{ssh: {{{key}}}}}, ca_file: x"),
            "ca_file and proxy are for https://",
        ),
        ("/srv/a", "credentials: {token_file: a}".to_owned(), "read where it is"),
        ("/srv/a", "proxy: {url: \"http://p\"}".to_owned(), "ca_file and proxy are for https://"),
        ("https://h/o/n", "proxy: {}".to_owned(), "write for example http://proxy.example.com:3128"),
        ("https://h/o/n", "proxy: {url: \"http://me:canary@p\"}".to_owned(), "may not hold credentials"),
        ("https://h/o/n", "proxy: {url: \"socks5://p\"}".to_owned(), "is not spoken to a proxy"),
        ("https://h/o/n", "proxy: {url: \"http://p/canary\"}".to_owned(), "a host and a port"),
        (
            "https://h/o/n",
            "proxy: {url: \"http://p\", no_proxy: [\"a,b\"]}".to_owned(),
            "each is its own item",
        ),
    ] {
        let found = problems("", &format!("url: \"{url}\", {fields}"));
        assert!(found.contains(part) && !found.contains("canary"), "{fields}: {found}");
    }
}

#[test]
fn credentials_of_the_platform_are_bound_to_an_address() {
    for (credentials, part) in [
        ("{token_file: a}", "they are sent nowhere else"),
        ("{url: /srv, token_file: a}", "write https://HOST/PATH/"),
        ("{url: \"https://h/\"}", "write token_file, token_env"),
        ("{url: \"ssh://git@h/\", token_file: a}", "over SSH a key is used"),
        (
            "{url: \"https://h/\", token_file: a}, {url: \"https://h:443\", token_file: b}",
            "stands here twice",
        ),
    ] {
        let found = problems(&format!("credentials: [{credentials}]"), "url: x");
        assert!(found.contains(part), "{credentials}: {found}");
    }
}

#[test]
fn every_file_that_cannot_be_read_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("idpd.yaml");
    let platform = "ca_file: ca, proxy: {url: \"http://p\", password_file: proxy}, credentials: [{url: \"https://h/\", token_file: shared}]";
    let app = "credentials: {github_app: {app_id: 1, installation_id: 2, private_key_file: app}}";
    let key = "credentials: {ssh: {private_key_file: key, passphrase_file: phrase, known_hosts_file: known}}";
    let source = format!(
        "url: \"https://h/o/n\", {app}}}, {{name: b, url: \"git@h:o/n\", {key}}}, {{name: c, url: \"https://h/o/m\""
    );
    std::fs::write(&path, text(platform, &source)).unwrap();
    let found = load(&path).unwrap_err();
    let mut fields: Vec<_> = found.problems.iter().map(|problem| problem.field.as_str()).collect();
    fields.sort_unstable();
    let wanted = [
        "platform ca_file",
        "platform credentials",
        "platform proxy",
        "sources a credentials.github_app.private_key_file",
        "sources b credentials.ssh",
        "sources b credentials.ssh.known_hosts_file",
        "sources b credentials.ssh.private_key_file",
    ];
    assert_eq!(fields, wanted, "{found}");
    for name in ["ca", "proxy", "shared", "app", "key", "phrase", "known"] {
        std::fs::write(dir.path().join(name), "canary").unwrap();
    }
    let config = load(&path).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    std::fs::remove_file(dir.path().join("ca")).unwrap();
    std::fs::create_dir(dir.path().join("ca")).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("ca cannot be read"), "a folder is no file");
}
