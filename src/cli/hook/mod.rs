//! `idp sources hook NAME --create`: makes the forge call the daemon. The hook is found by its address, so that a second time changes
//! nothing. The token is the person's: it is sent to the forge of the repository alone and kept nowhere.

mod shape;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::output::{clean, cut};
use super::sources_live::find;
use super::{CliError, Exit, Output};
use crate::config::{self, Forge, RepoUrl, Secret, SecretRef};
use crate::model::name::SourceName;

use shape::{PAGE, Shape};

/// Longest wait for an answer of the forge.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pages of hooks that are looked through.
const PAGES: usize = 20;
/// What a secret of Standard Webhooks begins with.
const SIGNING: &str = "whsec_";

/// What the forge has to be told.
#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    /// Create the hook in the forge, or mend the one that has this address
    #[arg(long, requires = "url")]
    pub create: bool,
    /// Where the forge reaches the daemon: its address, without /hooks/
    #[arg(long, value_name = "URL")]
    pub url: Option<Url>,
    /// The file with your token for the forge; otherwise the variable `IDP_FORGE_TOKEN` has it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The file with the hook's secret, as the daemon has it; otherwise what --config names
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The daemon's configuration: repository, forge and secret are read from it, and no daemon is asked
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the hook even if it looks right, as after a new secret, which no forge shows
    #[arg(long)]
    pub rewrite: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Created,
    Changed,
    Unchanged,
}

#[derive(Serialize)]
struct Said {
    source: SourceName,
    address: String,
    hook: Done,
}

/// The source as the hook needs it.
struct Target {
    forge: Forge,
    repository: Url,
    secret: SecretRef,
}

/// Creates the hook of a source, or mends it.
pub async fn create(
    daemon: &Url,
    source: &SourceName,
    asked: &HookArgs,
    output: &Output,
) -> Result<Exit, CliError> {
    let Some(url) = &asked.url else {
        return Err(CliError::NotConfigured("write --url: where the forge reaches the daemon".to_owned()));
    };
    let address = address(url, source)?;
    let target = target(daemon, source, asked).await?;
    let secret = read(&target.secret)?;
    let token = read(&match &asked.token_file {
        Some(path) => SecretRef::File(path.clone()),
        None => SecretRef::Env("IDP_FORGE_TOKEN".to_owned()),
    })?;
    if target.forge == Forge::GitLab && secret.expose().starts_with(SIGNING) {
        return Err(CliError::NotConfigured(
            "a signing token (whsec_…) is made by GitLab itself: create the hook on its page and copy the token from there".to_owned(),
        ));
    }
    let shape = Shape::new(target.forge, &target.repository).ok_or_else(|| {
        CliError::NotConfigured(format!(
            "{} is no address of a repository at {}, or hooks cannot be created there",
            target.repository,
            target.forge.name()
        ))
    })?;
    let caller = Caller::new(shape, token, secret)?;
    let hook = caller.ensure(&address, asked.rewrite).await?;
    let said = Said { source: source.clone(), address, hook };
    output.show(&said, |_| text(&said))?;
    Ok(Exit::Good)
}

fn text(Said { source, address, hook }: &Said) -> String {
    let what = match hook {
        Done::Created => "the hook was created",
        Done::Changed => "the hook was there and was changed",
        Done::Unchanged => "the hook is there already; --rewrite writes it anew, as after a new secret",
    };
    format!("{what}: {address}\n  next: push something, then idp deliveries --source {source}")
}

/// The address that the forge calls. Plain http is for this machine only: GitLab sends its secret along.
fn address(url: &Url, source: &SourceName) -> Result<String, CliError> {
    if !is_safe(url) {
        return Err(CliError::NotConfigured(format!(
            "write {url} with https://: what is sent there is not for everyone"
        )));
    }
    Ok(format!("{}/hooks/{source}", url.as_str().trim_end_matches('/')))
}

fn is_safe(url: &Url) -> bool {
    let near = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && near)
}

async fn target(daemon: &Url, source: &SourceName, asked: &HookArgs) -> Result<Target, CliError> {
    let given = asked.secret_file.clone().map(SecretRef::File);
    let no_webhook = || CliError::NotConfigured(format!("source {source} takes no webhooks"));
    let (forge, repository, secret) = if let Some(path) = &asked.config {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::NotConfigured(format!("{}: {error}", path.display())))?;
        let base = path.parent().unwrap_or(std::path::Path::new("."));
        let config =
            config::parse(&text, base).map_err(|errors| CliError::NotConfigured(errors.to_string()))?;
        let found = config
            .sources
            .get(source)
            .ok_or_else(|| CliError::NotConfigured(format!("no source {source} in {}", path.display())))?;
        let webhook = found.webhook.as_ref().ok_or_else(no_webhook)?;
        let RepoUrl::Http(url) = &found.url else {
            return Err(CliError::NotConfigured(format!(
                "source {source} has no https:// address, by which its forge could be asked: create the hook by hand"
            )));
        };
        (webhook.forge, url.clone(), given.or(Some(webhook.secret.clone())))
    } else {
        let seen = find(daemon, source).await?;
        let forge = seen.webhook.as_ref().map(|webhook| webhook.forge.clone()).ok_or_else(no_webhook)?;
        let forge = Forge::ALL.into_iter().find(|known| known.name() == forge).ok_or_else(no_webhook)?;
        let url = seen.status.as_ref().and_then(|status| status.repository.parse().ok());
        let url = url.ok_or_else(|| {
            CliError::NotConfigured(format!("the daemon has not looked at {source} yet: name --config"))
        })?;
        (forge, url, given)
    };
    if !is_safe(&repository) {
        return Err(CliError::NotConfigured(format!(
            "{repository} is not https: your token would be readable by everyone"
        )));
    }
    let secret = secret.ok_or_else(|| {
        CliError::NotConfigured("write --secret-file: the daemon does not hand its secret out".to_owned())
    })?;
    Ok(Target { forge, repository, secret })
}

fn read(secret: &SecretRef) -> Result<Secret, CliError> {
    secret.read().map_err(|error| CliError::NotConfigured(super::chain(&error)))
}

/// Who asks the forge.
struct Caller {
    client: reqwest::Client,
    shape: Shape,
    token: Secret,
    secret: Secret,
}

impl Caller {
    fn new(shape: Shape, token: Secret, secret: Secret) -> Result<Self, CliError> {
        // A redirect could carry the token elsewhere.
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("idp/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|source| failed(&shape, source))?;
        Ok(Self { client, shape, token, secret })
    }

    /// Makes the hook be there and be right.
    async fn ensure(&self, address: &str, rewrite: bool) -> Result<Done, CliError> {
        let mut there = None;
        for number in 0..PAGES {
            let page = self.call(Method::GET, &self.shape.page(number), None).await?;
            let hooks = self.shape.listed(&page);
            there = self.shape.find(hooks, address);
            if there.is_some() || hooks.len() < PAGE {
                break;
            }
        }
        let body = self.shape.body(address, self.secret.expose());
        match there {
            None => {
                self.call(Method::POST, &self.shape.hooks, Some(&body)).await?;
                Ok(Done::Created)
            }
            Some(there) if there.right && !rewrite => Ok(Done::Unchanged),
            Some(there) => {
                let mut url = Url::parse(&self.shape.hooks).map_err(|_| self.shape_error())?;
                url.path_segments_mut().map_err(|()| self.shape_error())?.push(&there.id);
                self.call(self.shape.changes(), url.as_str(), Some(&body)).await?;
                Ok(Done::Changed)
            }
        }
    }

    fn shape_error(&self) -> CliError {
        CliError::NotConfigured(format!("{} is no address", self.shape.hooks))
    }

    async fn call(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let mut request = self.client.request(method, url);
        for (name, value) in self.shape.headers(self.token.expose()) {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|source| failed(&self.shape, source))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|source| failed(&self.shape, source))?;
        if status.is_success() {
            return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
        }
        Err(CliError::Refused(self.explain(status, &text)))
    }

    /// Says what an answer that is no success means, and how to mend it; nothing secret is repeated, whatever the forge repeats.
    fn explain(&self, status: StatusCode, text: &str) -> String {
        let Shape { forge, repository, .. } = &self.shape;
        let (forge, right) = (forge.name(), self.shape.right());
        let said = text.replace(self.secret.expose(), "***").replace(self.token.expose(), "***");
        let said = cut(&clean(said.trim()), 300);
        match status.as_u16() {
            401 => format!("{forge} does not take this token (401): is it of this forge, and not expired?"),
            403 => format!(
                "{forge} does not let this token manage the hooks of {repository} (403): it needs {right}"
            ),
            404 => format!(
                "{forge} shows this token no repository {repository} (404): is the name right? The token needs {right}"
            ),
            400 | 409 | 422 => format!("{forge} refuses the hook ({}): {said}", status.as_u16()),
            300..=399 => format!(
                "{forge} sends us elsewhere ({}): write the repository's new address in the configuration",
                status.as_u16()
            ),
            code => format!("{forge} answers {code}: {said}"),
        }
    }
}

fn failed(shape: &Shape, source: reqwest::Error) -> CliError {
    let what = format!("asking {} for the hooks of {}", shape.forge.name(), shape.repository);
    CliError::Forge { what, source: Box::new(source.without_url()) }
}
