//! Reads `sources`: addresses, branches, globs, credentials, webhooks and commit statuses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use http::HeaderName;
use url::Url;

use super::access::{self, address, api_url, github_api};
use super::error::Place;
use super::follow::{Follow, follow};
use super::platform::{not_empty, secret};
use super::reader::{At, Section};
use super::types::{
    Claim, Environment, Forge, Platform, RepoUrl, Signatures, Source, StatusForge, StatusTarget, Webhook,
};
use crate::model::name::{EnvironmentName, ServiceName, SourceName};

/// A webhook body's default cap.
const DEFAULT_BODY: usize = 3 << 20;
/// A webhook body's highest cap: what GitHub sends at most.
const HIGHEST_BODY: usize = 25 << 20;
/// The declaration of a repository with one service.
const DEFAULT_PATH: &str = ".idp/deploy.yaml";

/// Reads every source; two of one name are refused.
pub(super) fn sources(
    sections: Vec<Section<'_>>,
    environments: &BTreeMap<EnvironmentName, Environment>,
    platform: &Platform,
    base: &Path,
) -> BTreeMap<SourceName, Arc<Source>> {
    let mut found = BTreeMap::new();
    for section in sections {
        let problems = section.problems;
        let Some((at, source)) = one(section, environments, platform, base) else { continue };
        let name = source.name.clone();
        if found.insert(name.clone(), Arc::new(source)).is_some() {
            problems.add(at, "sources", format!("there is another source {name}: names are unique"));
        }
    }
    found
}

fn one(
    mut section: Section<'_>,
    environments: &BTreeMap<EnvironmentName, Environment>,
    platform: &Platform,
    base: &Path,
) -> Option<(Place, Source)> {
    let name = section.required("name", "write for example name: payments", str::parse::<SourceName>);
    let insecure = section.flag("insecure", false);
    let suspend = section.flag("suspend", false);
    let url =
        section.required("url", "write https://HOST/OWNER/NAME.git, or a path on this machine", |text| {
            address(text, insecure, base)
        });
    let follow = follow(&mut section, "ref").unwrap_or_else(|| Follow::Branch("main".to_owned()));
    let mut paths: Vec<String> =
        section.texts("paths", path_glob).into_iter().map(|found| found.value).collect();
    if paths.is_empty() {
        paths.push(DEFAULT_PATH.to_owned());
    }
    let common = (platform.credentials.as_slice(), &platform.route);
    let access = access::access(&mut section, url.as_ref().map(|url| &url.value), common, base);
    let poll =
        section.duration("poll", Duration::from_secs(1)..=Duration::from_hours(24), Duration::from_mins(1));
    let webhook = section.section("webhook").and_then(|inner| webhook(inner, base));
    let signatures = section.section("signatures").map(|inner| signatures(inner, base));
    let services = services(&mut section);
    let claimed = claimed(&mut section, environments);
    let forge = webhook.as_ref().map(|webhook| webhook.forge);
    let status = section.section("status").and_then(|inner| status(inner, forge, url.as_ref(), base));
    let at = section.at;
    section.finish();
    let source = Source {
        name: name?.value,
        url: url?.value,
        follow,
        paths,
        access,
        poll,
        webhook,
        signatures,
        services,
        environments: claimed,
        status,
        suspend,
    };
    Some((at, source))
}

fn path_glob(text: &str) -> Result<String, String> {
    let bad = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if text.split('/').any(bad) || text.contains(['\\', '\0']) {
        return Err(format!("{text:?} is not a path in the repository: no leading '/', no '.' or '..'"));
    }
    if text.split('/').any(|segment| segment.contains("**") && segment != "**") {
        return Err(format!("{text:?}: '**' stands alone between two slashes"));
    }
    if text.ends_with("**") {
        return Err(format!(
            "{text:?} names folders; a declaration is a file: write {text}/.idp/deploy.yaml"
        ));
    }
    glob(text).map(|_| text.to_owned())
}

fn glob(text: &str) -> Result<globset::Glob, String> {
    GlobBuilder::new(text).literal_separator(true).build().map_err(|error| error.kind().to_string())
}

fn services(section: &mut Section<'_>) -> Claim<ServiceName> {
    let globs = section.texts("services", |text| glob(text).map(|glob| (glob, text.to_owned())));
    let mut set = GlobSetBuilder::new();
    let mut written = Vec::new();
    for found in globs {
        set.add(found.value.0);
        written.push(found.value.1);
    }
    let set = set.build().unwrap_or_else(|error| {
        section.problem(section.at, "services", error.to_string());
        GlobSet::empty()
    });
    Claim::new(set, written)
}

fn claimed(
    section: &mut Section<'_>,
    environments: &BTreeMap<EnvironmentName, Environment>,
) -> Option<Vec<EnvironmentName>> {
    section.node("environments")?;
    let names = section.texts("environments", |text| {
        let name: EnvironmentName = text.parse().map_err(|error| format!("{error}"))?;
        if environments.contains_key(&name) {
            return Ok(name);
        }
        let known: Vec<&str> = environments.keys().map(EnvironmentName::as_str).collect();
        Err(format!("there is no environment {name}; there are {}", known.join(", ")))
    });
    Some(names.into_iter().map(|found| found.value).collect())
}

fn forge(text: &str) -> Result<Forge, String> {
    let known = Forge::ALL.into_iter().find(|forge| forge.name() == text);
    // The same under another name, in its requests as well.
    let known = known.or((text == "forgejo").then_some(Forge::Gitea));
    known.ok_or_else(|| {
        let names: Vec<&str> = Forge::ALL.into_iter().map(Forge::name).collect();
        format!("{text:?} is not known: write one of {}, forgejo", names.join(", "))
    })
}

fn webhook(mut section: Section<'_>, base: &Path) -> Option<Webhook> {
    let forge = section.required("forge", "write for example github, gitlab or gitea", forge);
    let first = secret(&mut section, base, "secret_file", "secret_env");
    if first.is_none() {
        section.missing("secret_file", "a hook without a secret could come from anyone");
    }
    let second_secret = secret(&mut section, base, "second_secret_file", "second_secret_env");
    let header = section.parsed("signature_header", |text| {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not the name of a header"))
    });
    if let (Some(header), Some(forge)) = (&header, &forge)
        && forge.value != Forge::Generic
    {
        let why = format!("{} has its own header: remove this, or write forge: generic", forge.value.name());
        section.problem(header.at, "signature_header", why);
    }
    let max_body = section.parsed("max_body", size).map_or(DEFAULT_BODY, |found| found.value);
    section.finish();
    let signature_header = header.map(|found| found.value);
    Some(Webhook { forge: forge?.value, secret: first?, second_secret, signature_header, max_body })
}

fn signatures(mut section: Section<'_>, base: &Path) -> Signatures {
    let files = section.texts("allowed", |text| not_empty(text).map(|path| base.join(path)));
    if files.is_empty() {
        section.missing("allowed", "without a file of keys no commit would be accepted");
    }
    section.finish();
    Signatures { allowed: files.into_iter().map(|found| found.value).collect() }
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = super::size::bytes(text, &(1 << 10..=HIGHEST_BODY as u64))?;
    usize::try_from(bytes).map_err(|error| error.to_string())
}

fn status(
    mut section: Section<'_>,
    hook: Option<Forge>,
    url: Option<&At<RepoUrl>>,
    base: &Path,
) -> Option<StatusTarget> {
    let hook = hook.and_then(|forge| status_forge(forge.name()).ok());
    let forge = section.parsed("forge", status_forge).map(|found| found.value).or(hook);
    if forge.is_none() {
        section.missing(
            "forge",
            "write github or gitea (a webhook's forge would do): others are not told statuses",
        );
    }
    let given = section.parsed("api_url", api_url).map(|found| found.value);
    let repository = section.parsed("repository", owner_and_name).map(|found| found.value);
    let token = secret(&mut section, base, "token_file", "token_env");
    if token.is_none() {
        section.missing("token_file", "a token that may write commit statuses");
    }
    let url = url.map(|found| &found.value);
    let target = repository.or_else(|| url?.owner_and_name());
    if target.is_none() && url.is_some() {
        section.missing("repository", "write OWNER/NAME as the forge knows it");
    }
    let api = given.or_else(|| default_api(forge?, url?));
    if api.is_none() && url.is_some() && forge.is_some() {
        section.missing("api_url", "write for example https://git.example.com/api/v1");
    }
    section.finish();
    let (owner, repository) = target?;
    Some(StatusTarget { forge: forge?, api_url: api?, owner, repository, token: token? })
}

fn status_forge(text: &str) -> Result<StatusForge, String> {
    match text {
        "github" => Ok(StatusForge::GitHub),
        "gitea" | "forgejo" => Ok(StatusForge::Gitea),
        _ => Err(format!("{text:?} is told no commit statuses: write github or gitea, or remove status")),
    }
}

fn owner_and_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((owner, name)) if !owner.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((owner.to_owned(), name.to_owned()))
        }
        _ => Err(format!("{text:?} is not OWNER/NAME")),
    }
}

/// Returns where the API of a forge is for a repository there, as the forges document it.
fn default_api(forge: StatusForge, repository: &RepoUrl) -> Option<Url> {
    let RepoUrl::Http(url) = repository else { return None };
    match forge {
        StatusForge::GitHub => github_api(url),
        StatusForge::Gitea => url.join("/api/v1").ok(),
    }
}
