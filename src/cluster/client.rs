//! The client: where the API server is, who we are to it, and a count of every request.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use kube::client::{Body, ClientBuilder};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the API server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The pod's own service account.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig {
        /// The file; `None`: `$KUBECONFIG`, else the home directory's.
        path: Option<PathBuf>,
        /// The context; `None`: the file's current one.
        context: Option<String>,
    },
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// This is no pod with a service account.
    #[error("the pod's service account could not be used; outside a cluster name a kubeconfig")]
    InCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig does not lead to a cluster.
    #[error("the kubeconfig {path} could not be used{}", .context.as_ref().map(|context| format!(" with context {context:?}")).unwrap_or_default())]
    Kubeconfig {
        /// The file, or what stands for it.
        path: String,
        /// The context that was asked for.
        context: Option<String>,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// Certificates or credentials do not work.
    #[error("no client could be made from the cluster's certificates and credentials")]
    Credentials(#[source] Box<kube::Error>),
}

/// One request, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete`.
    pub verb: &'static str,
    /// The resource's plural, and the subresource after a slash: `deployments`, `releases/status`.
    pub resource: &'a str,
    /// The answer's code; 0 without an answer.
    pub code: u16,
    /// Until the answer's head; of a watch that is until it began.
    pub took: Duration,
}

/// Called after every request; it must not block.
pub type OnCall = Arc<dyn Fn(Call<'_>) + Send + Sync>;

/// Returns a client for the API server. It tries nothing twice: kube's own retry would hide up to 15 tries with pauses of up to
/// 1000 s inside one call, past every deadline of ours. One call's deadline is that of [`super::calls::Calls`]; a watch ends itself.
pub async fn connect(access: &Access, on_call: OnCall) -> Result<Client, ClientError> {
    let mut config = match access {
        Access::InCluster => Config::incluster().map_err(ClientError::InCluster)?,
        Access::Kubeconfig { path, context } => kubeconfig(path.clone(), context.clone()).await?,
    };
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let agent = HeaderValue::from_static(concat!("idpd/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, agent));
    let builder =
        ClientBuilder::try_from(config).map_err(|error| ClientError::Credentials(Box::new(error)))?;
    Ok(builder.with_layer(&Count { on_call }).build())
}

async fn kubeconfig(path: Option<PathBuf>, context: Option<String>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let failed = |source| {
        let path = path.as_ref().map_or("from the environment".to_owned(), |path| path.display().to_string());
        ClientError::Kubeconfig { path, context: context.clone(), source: Box::new(source) }
    };
    match &path {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path).map_err(&failed)?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(&failed)
        }
        None => Config::from_kubeconfig(&options).await.map_err(&failed),
    }
}

/// Returns a client over a service of this process, such as the sandbox, counted like any other.
pub fn over<S, B>(service: S, on_call: OnCall) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    ClientBuilder::new(service, "default").with_layer(&Count { on_call }).build()
}

/// Counts requests.
#[derive(Clone)]
struct Count {
    on_call: OnCall,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, on_call: Arc::clone(&self.on_call) }
    }
}

/// A service whose requests are counted.
struct Counted<S> {
    inner: S,
    on_call: OnCall,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        let resource = resource(request.uri().path());
        let on_call = Arc::clone(&self.on_call);
        let begin = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
            on_call(Call { verb, resource: &resource, code, took: begin.elapsed() });
            answer
        })
    }
}

fn verb(request: &Request<Body>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let named = path_parts(request.uri().path()).1.is_some();
    match request.method().as_str() {
        "GET" if query.split('&').any(|pair| pair == "watch=true") => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => {
            let form = request.headers().get(header::CONTENT_TYPE);
            let apply = form.is_some_and(|form| form.as_bytes().starts_with(b"application/apply-patch"));
            if apply { "apply" } else { "patch" }
        }
        "DELETE" => "delete",
        _ => "other",
    }
}

/// Names come from the team's objects, so a label may hold the kind only.
fn resource(path: &str) -> String {
    let (plural, _, subresource) = path_parts(path);
    subresource.map_or(plural.to_owned(), |subresource| format!("{plural}/{subresource}"))
}

/// Takes plural, name and subresource from `/api/v1/…` and `/apis/<group>/<version>/…`.
fn path_parts(path: &str) -> (&str, Option<&str>, Option<&str>) {
    let mut parts = path.trim_matches('/').split('/');
    match parts.next() {
        Some("api") => drop(parts.next()),
        Some("apis") => drop((parts.next(), parts.next())),
        _ => return ("", None, None),
    }
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        ["namespaces", _, plural, rest @ ..] if !matches!(*plural, "status" | "finalize") => {
            (plural, rest.first().copied(), rest.get(1).copied())
        }
        [plural, rest @ ..] => (plural, rest.first().copied(), rest.get(1).copied()),
        [] => ("", None, None),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn names_never_reach_a_label() {
        let table = [
            ("/api/v1/namespaces/shop", "namespaces"),
            ("/api/v1/namespaces", "namespaces"),
            ("/api/v1/pods", "pods"),
            ("/api/v1/namespaces/shop/pods/web-1", "pods"),
            ("/apis/apps/v1/namespaces/shop/deployments/web", "deployments"),
            ("/apis/idp.dev/v1alpha1/namespaces/shop/releases/web/status", "releases/status"),
            ("/version", ""),
        ];
        for (path, expected) in table {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn every_request_is_counted_once_and_tried_once() {
        let seen: Arc<Mutex<Vec<(String, String, u16)>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let on_call: OnCall = Arc::new(move |call| {
            sink.lock().unwrap().push((call.verb.to_owned(), call.resource.to_owned(), call.code));
        });
        let service = tower::service_fn(|_: Request<Body>| async {
            let status = r#"{"kind":"Status","status":"Failure","code":429,"message":"slow","reason":"TooManyRequests"}"#;
            let body = http_body_util::Full::new(bytes::Bytes::from(status));
            Ok::<_, Infallible>(Response::builder().status(429).body(body).unwrap())
        });
        let calls = super::super::calls::Calls::new(over(service, on_call));
        let resource = super::super::raw::resource("apps/v1", "Deployment");
        let place = super::super::calls::Place { resource: &resource, namespace: "shop", name: "web" };
        let error = calls.get(&place).await.unwrap_err();
        assert_eq!(error.name(), "throttled");
        let body = serde_json::json!({});
        calls.apply(&place, "idp", true, &body).await.unwrap_err();
        let expected = [("get", "deployments", 429), ("apply", "deployments", 429)]
            .map(|(verb, resource, code)| (verb.to_owned(), resource.to_owned(), code));
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
