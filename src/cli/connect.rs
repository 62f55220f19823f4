//! The door to the cluster: a client from the options, calls with deadlines, and releases by the names that people type.

use std::future::Future;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::fleet::ReleaseView;
use super::{CliError, Global};
use crate::model::name::{ReleaseKey, ServiceName};
use crate::model::{GROUP, LABEL_ENVIRONMENT};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(15);
/// How long the connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Objects in one page of a list; records can be large.
const PAGE: u32 = 100;
/// Names that an error lists.
const NAMED: usize = 8;

/// Makes a client from the options, the environment or the pod's own account. Nothing is called yet.
pub async fn client(global: &Global) -> Result<Client, CliError> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let unusable = |error| CliError::Kubeconfig(Box::new(error));
    let mut config = match (&global.kubeconfig, &global.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(unusable)?,
        (None, None) => Config::infer().await.map_err(|error| CliError::NoConfig(Box::new(error)))?,
    };
    config.connect_timeout = Some(CONNECT);
    // A person waits: an answer that says no is an answer.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| CliError::Client(Box::new(error)))
}

/// Makes a call with a deadline; `what` says what we are doing, as in `reading the releases`.
pub async fn call<T>(what: &str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CliError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map_err(|error| CliError::of(what, error)),
        Err(_) => Err(CliError::Late { what: what.to_owned(), after: CALL }),
    }
}

/// What a Release is to the API.
pub fn release_resource() -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "Release".to_owned(),
        plural: "releases".to_owned(),
    }
}

/// The releases of one namespace.
pub fn releases_in(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &release_resource())
}

/// Where releases are looked for.
#[derive(Clone)]
pub struct Scope {
    /// The cluster.
    pub client: Client,
    /// The one namespace; absent: all of them, which not everybody may list.
    pub namespace: Option<String>,
}

impl Scope {
    /// Makes one from the options.
    pub async fn of(global: &Global) -> Result<Self, CliError> {
        Ok(Self { client: client(global).await?, namespace: global.namespace.clone() })
    }
}

/// Reads every release that the parameters select, page by page, ordered by name.
pub async fn releases(scope: &Scope, params: ListParams) -> Result<Vec<ReleaseView>, CliError> {
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => releases_in(&scope.client, namespace),
        None => Api::all_with(scope.client.clone(), &release_resource()),
    };
    let mut params = params.limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = call("reading the releases", api.list(&params)).await?;
        all.extend(page.items.iter().map(ReleaseView::of));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    all.sort_by(|a, b| (&a.release, &a.namespace).cmp(&(&b.release, &b.namespace)));
    Ok(all)
}

/// Finds the release that a person means: `<service>.<environment>`, or `<service>` where that is enough.
pub async fn find(scope: &Scope, asked: &str) -> Result<ReleaseView, CliError> {
    let all = ListParams::default();
    let (service, params) = if asked.contains('.') {
        let ReleaseKey { service, environment } = asked.parse().map_err(CliError::Name)?;
        (service, all.labels(&format!("{LABEL_ENVIRONMENT}={environment}")))
    } else {
        (asked.parse::<ServiceName>().map_err(CliError::Name)?, all)
    };
    let found = releases(scope, params.fields(&format!("metadata.name={service}"))).await?;
    // The server is asked to select; a server that does not is survived.
    let mut found: Vec<_> = found.into_iter().filter(|view| view.is(asked)).collect();
    if found.len() > 1 {
        let found = found.into_iter().map(|view| view.release).collect();
        return Err(CliError::Ambiguous { asked: asked.to_owned(), found });
    }
    match found.pop() {
        Some(view) => Ok(view),
        None => Err(CliError::NoSuchRelease { asked: asked.to_owned(), known: known(scope).await? }),
    }
}

async fn known(scope: &Scope) -> Result<Vec<String>, CliError> {
    let all = releases(scope, ListParams::default()).await?;
    let more = all.len().saturating_sub(NAMED);
    let mut names: Vec<String> = all.into_iter().take(NAMED).map(|view| view.release).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    Ok(names)
}
