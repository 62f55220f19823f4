//! Reads `prometheus` of an environment: where its metrics are asked for, and by what labels pods are known there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::platform::{credentials, not_empty, secret};
use super::reader::{At, Section};
use super::secret::SecretRef;
use super::types::Credentials;
use crate::model::samples::Dialect;

/// What a header may not be set to: these are set otherwise.
const OWN_HEADERS: [&str; 5] = ["authorization", "host", "content-length", "content-type", "connection"];

/// A server that speaks Prometheus' HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// Its address, `http` or `https`; `/api/v1/query` comes below it.
    pub url: Url,
    /// Who asks; `None`: anybody.
    pub login: Option<Login>,
    /// Certificates in PEM that are trusted beside those of the system; read at start.
    pub ca_file: Option<PathBuf>,
    /// Headers that each request carries, a tenant for example.
    pub headers: BTreeMap<String, String>,
    /// Longest wait for one answer, 100ms to 1m.
    pub timeout: Duration,
    /// How often it scrapes pods, 1s to 5m: a sample that is older than two and a half of these is stale.
    pub scrape_interval: Duration,
    /// The names of requests that are looked for, in this order.
    pub presets: Vec<Dialect>,
    /// The label that holds a pod's name.
    pub pod_label: String,
    /// The label that holds a pod's namespace; empty: none does.
    pub namespace_label: String,
}

/// How the daemon proves itself to Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Bearer`; read anew for each request.
    Bearer(SecretRef),
    /// `Authorization: Basic`; read anew for each request.
    Basic(Credentials),
}

impl Login {
    /// Returns the secret.
    pub fn secret(&self) -> &SecretRef {
        match self {
            Self::Bearer(secret) => secret,
            Self::Basic(credentials) => &credentials.secret,
        }
    }
}

/// Reads `prometheus`.
pub(super) fn prometheus(mut section: Section<'_>, base: &Path) -> Option<Prometheus> {
    let url = section.required("url", "write for example url: http://prometheus.monitoring:9090", address);
    let login = login(&mut section, base);
    let insecure = section.flag("insecure", false);
    if let (Some(url), Some(_), false) = (&url, &login, insecure)
        && url.value.scheme() == "http"
        && !loopback(&url.value)
    {
        let why = "a secret would go over plain http: write https://, or insecure: true where nobody listens on the way";
        section.problem(url.at, "url", why);
    }
    let ca_file = section.parsed("ca_file", not_empty).map(|found| base.join(found.value));
    let headers = headers(&mut section);
    let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
    let timeout = section.duration("timeout", ms(100)..=60 * second, 5 * second);
    let scrape_interval = section.duration("scrape_interval", second..=300 * second, 30 * second);
    let presets = section.parsed("preset", preset).map_or_else(every, |found| found.value);
    let pod_label = section.parsed("pod_label", label).map_or_else(|| "pod".to_owned(), |found| found.value);
    let none_or_label = |text: &str| if text.is_empty() { Ok(String::new()) } else { label(text) };
    let namespace_label = section.parsed("namespace_label", none_or_label);
    section.finish();
    Some(Prometheus {
        url: url?.value,
        login,
        ca_file,
        headers,
        timeout,
        scrape_interval,
        presets,
        pod_label,
        namespace_label: namespace_label.map_or_else(|| "namespace".to_owned(), |found| found.value),
    })
}

fn login(section: &mut Section<'_>, base: &Path) -> Option<Login> {
    let bearer = secret(section, base, "bearer_token_file", "bearer_token_env");
    let basic = credentials(section, base, "password_file", "password_env");
    match (bearer, basic) {
        (Some(_), Some(_)) => {
            section.problem(
                section.at,
                "bearer_token_file",
                "a password is given as well: keep one of the two",
            );
            None
        }
        (Some(bearer), None) => Some(Login::Bearer(bearer)),
        (None, basic) => basic.map(Login::Basic),
    }
}

fn address(text: &str) -> Result<Url, String> {
    let wrong = || format!("{text:?} is not an address: write for example http://prometheus.monitoring:9090");
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "no credentials belong into the address: name them in bearer_token_file or password_file"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address of Prometheus ends with its path: remove what follows ? or #".to_owned());
    }
    // What comes below is joined to it.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn headers(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, At { at, value }) in section.scalars("headers") {
        let field = format!("headers.{name}");
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) {
            let why = "this is not yours to set here: name a token in bearer_token_file";
            section.problem(at, &field, why);
        } else if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(&value).is_err() {
            section.problem(at, &field, "this is not a header: write a name and visible characters");
        } else {
            found.insert(name, value);
        }
    }
    found
}

/// What is looked for where nothing is said: what pods count themselves, then what a mesh counts of them.
fn every() -> Vec<Dialect> {
    vec![Dialect::OpenTelemetry, Dialect::Plain, Dialect::Istio]
}

fn preset(text: &str) -> Result<Vec<Dialect>, String> {
    Ok(match text {
        "auto" => every(),
        "http" => vec![Dialect::OpenTelemetry, Dialect::Plain],
        "istio" => vec![Dialect::Istio],
        "envoy_gateway" => vec![Dialect::EnvoyGateway],
        _ => return Err(format!("{text:?} is not known: write auto, http, istio or envoy_gateway")),
    })
}

fn label(text: &str) -> Result<String, String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if first && text.len() <= 100 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not the name of a label: write for example pod"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigErrors, parse};

    fn with(prometheus: &str) -> Result<Config, ConfigErrors> {
        let text = format!(
            "cluster: {{in_cluster: true}}\nenvironments: [{{name: a, namespace: a, prometheus: {prometheus}}}]"
        );
        parse(&text, Path::new("/etc/idp"))
    }

    #[test]
    fn a_short_entry_has_the_defaults() {
        let config = with("{url: http://p:9090/prom}").unwrap();
        let found = config.environments.values().next().unwrap().prometheus.clone().unwrap();
        assert_eq!(
            found,
            Prometheus {
                url: Url::parse("http://p:9090/prom/").unwrap(),
                login: None,
                ca_file: None,
                headers: BTreeMap::new(),
                timeout: Duration::from_secs(5),
                scrape_interval: Duration::from_secs(30),
                presets: vec![Dialect::OpenTelemetry, Dialect::Plain, Dialect::Istio],
                pod_label: "pod".into(),
                namespace_label: "namespace".into(),
            }
        );
        let config =
            with("{url: https://p, bearer_token_file: t, preset: envoy_gateway, namespace_label: ''}")
                .unwrap();
        let found = config.environments.values().next().unwrap().prometheus.clone().unwrap();
        assert_eq!(found.login, Some(Login::Bearer(SecretRef::File("/etc/idp/t".into()))));
        assert_eq!((found.presets, found.namespace_label), (vec![Dialect::EnvoyGateway], String::new()));
    }

    #[test]
    fn mistakes_are_told_with_their_field() {
        for (entry, part) in [
            ("{}", "environments[0].prometheus.url: this field is required"),
            ("{url: p:9090}", "url: \"p:9090\" is not an address"),
            ("{url: ftp://p}", "is not an address"),
            ("{url: http://a:b@p}", "no credentials belong into the address"),
            ("{url: 'http://p/?a=b'}", "remove what follows ?"),
            ("{url: http://p, bearer_token_file: t}", "a secret would go over plain http"),
            ("{url: https://p, bearer_token_file: t, password_file: t}", "keep one of the two"),
            ("{url: https://p, username: u}", "a username needs password_file"),
            ("{url: https://p, headers: {Authorization: x}}", "headers.Authorization: this is not yours"),
            ("{url: https://p, headers: {'a b': x}}", "headers.a b: this is not a header"),
            ("{url: https://p, timeout: 5}", "5 has no unit"),
            ("{url: https://p, scrape_interval: 10m}", "outside of 1s to 5m"),
            ("{url: https://p, preset: datadog}", "write auto, http, istio or envoy_gateway"),
            ("{url: https://p, pod_label: 'a\"b'}", "is not the name of a label"),
            ("{url: https://p, pod_lable: a}", "did you mean pod_label?"),
        ] {
            let errors = with(entry).unwrap_err().to_string();
            assert!(errors.contains(part), "{entry}: {errors}");
        }
        let text = "cluster: {in_cluster: true}\nenvironments: [{name: a, namespace: a}]\nplatform: {gate_networks: [10.0.0.0/40]}";
        let errors = parse(text, Path::new("/")).unwrap_err().to_string();
        assert!(errors.contains("gate_networks[0]: \"10.0.0.0/40\" is not a network"), "{errors}");
        for fine in [
            "{url: http://127.0.0.1, bearer_token_file: t}",
            "{url: http://p, insecure: true, password_env: P}",
        ] {
            assert!(with(fine).is_ok(), "{fine}");
        }
    }
}
