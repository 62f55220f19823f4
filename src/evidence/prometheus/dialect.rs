//! What the requests of pods are called at Prometheus, and the queries for them.
//!
//! Totals are asked for, not rates: what a pod counted since the stage began is a difference of two totals, exact and without an
//! extrapolation, and a counter that appears with its first request began at zero. A target that two jobs scrape is counted once.

use std::net::{IpAddr, SocketAddr};

use super::Options;
use super::promql::{Expr, Fold, Matcher};
use crate::evidence::exposition::{COUNTERS, Counter, Status};
use crate::model::samples::{Dialect, Target};

/// Labels that tell two scrapes of one target apart. `service` and `endpoint`, which do so too in places, are programs' own in others.
const SCRAPE: [&str; 3] = ["job", "prometheus", "prometheus_replica"];
/// What Envoy calls the address of an endpoint.
pub(super) const ADDRESS: &str = "envoy_endpoint_address";

static ISTIO: Counter = Counter {
    name: "istio_requests_total",
    families: ["istio_requests_total", "istio_requests"],
    labels: ["response_code", "response_code"],
    unanswered: true,
};
static ENVOY: Counter = Counter {
    name: "envoy_cluster_endpoint_rq_total",
    families: ["envoy_cluster_endpoint_rq_total", "envoy_cluster_endpoint_rq"],
    labels: ["", ""],
    unanswered: true,
};

/// Returns the counter of a dialect.
pub(super) fn counter(dialect: Dialect) -> &'static Counter {
    let [open_telemetry, plain] = &COUNTERS;
    match dialect {
        Dialect::OpenTelemetry => open_telemetry,
        Dialect::Plain => plain,
        Dialect::Istio => &ISTIO,
        Dialect::EnvoyGateway => &ENVOY,
    }
}

/// Asks when each pod was last scraped with success; a pod that was not has no series.
pub(super) fn scraped(options: &Options, pods: &[Target]) -> Expr {
    let up = || Box::new(Expr::Select("up", of_pods(options, pods)));
    let seen = Expr::And(Box::new(Expr::Call("timestamp", up())), Box::new(Expr::Equals(up(), 1.0)));
    Expr::By(Fold::Max, vec![options.pod_label.clone()], Box::new(seen))
}

/// Asks when a proxy of Envoy Gateway was last scraped.
pub(super) fn gateways() -> Expr {
    let live = Expr::Call("timestamp", Box::new(Expr::Select("envoy_server_live", Vec::new())));
    Expr::By(Fold::Max, Vec::new(), Box::new(live))
}

fn of_pods(options: &Options, pods: &[Target]) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    if let Some(pod) = pods.first().filter(|_| !options.namespace_label.is_empty()) {
        matchers.push(Matcher::Is(options.namespace_label.clone(), pod.namespace.clone()));
    }
    let names = pods.iter().map(|pod| pod.name.clone()).collect();
    matchers.push(Matcher::OneOf(options.pod_label.clone(), names));
    matchers
}

/// Istio counts at both ends; the pods' own end is the one that knows them.
fn matchers(options: &Options, dialect: Dialect, pods: &[Target]) -> Vec<Matcher> {
    let mut matchers = of_pods(options, pods);
    if dialect == Dialect::Istio {
        matchers.push(Matcher::Is("reporter".to_owned(), "destination".to_owned()));
    }
    matchers
}

/// Asks for the totals of a counter by pod and status.
pub(super) fn totals(options: &Options, dialect: Dialect, pods: &[Target]) -> Expr {
    let counter = counter(dialect);
    let mut labels = vec![options.pod_label.clone()];
    labels.extend(counter.labels.iter().map(|label| (*label).to_owned()));
    labels.dedup();
    summed(labels, Expr::Select(counter.name, matchers(options, dialect, pods)))
}

/// Asks for the durations of requests by pod and bound, and gives what turns a bound into seconds. `None`: nobody measures them.
pub(super) fn durations(options: &Options, dialect: Dialect, pods: &[Target]) -> Option<(Expr, f64)> {
    let (name, scale) = match dialect {
        Dialect::OpenTelemetry => ("http_server_request_duration_seconds_bucket", 1.0),
        Dialect::Plain => ("http_request_duration_seconds_bucket", 1.0),
        Dialect::Istio => ("istio_request_duration_milliseconds_bucket", 0.001),
        Dialect::EnvoyGateway => return None,
    };
    let select = Expr::Select(name, matchers(options, dialect, pods));
    Some((summed(vec![options.pod_label.clone(), "le".to_owned()], select), scale))
}

fn summed(labels: Vec<String>, select: Expr) -> Expr {
    Expr::By(Fold::Sum, labels, Box::new(Expr::Without(Fold::Max, &SCRAPE, Box::new(select))))
}

/// Asks for the totals of Envoy's endpoints by address and proxy: all requests, or those that failed.
pub(super) fn endpoints(options: &Options, pods: &[Target], failed: bool) -> Expr {
    let name = if failed { "envoy_cluster_endpoint_rq_error" } else { ENVOY.name };
    let addresses = pods.iter().map(|pod| pod.ip.clone()).collect::<Vec<_>>();
    let select = Expr::Select(name, vec![Matcher::Addresses(ADDRESS.to_owned(), addresses)]);
    summed(vec![ADDRESS.to_owned(), options.pod_label.clone()], select)
}

/// Returns the address of a pod that an endpoint is; any port of the pod is the pod.
pub(super) fn address_of(endpoint: &str) -> Option<IpAddr> {
    endpoint.parse::<SocketAddr>().ok().map(|address| address.ip())
}

/// Returns what a status says of a series of a counter.
pub(super) fn status(counter: &Counter, labels: &std::collections::BTreeMap<String, String>) -> Status {
    let of = |label: &&str| labels.get(*label).map(|value| crate::evidence::exposition::status(value));
    let mut found = counter.labels.iter().filter_map(of);
    found.find(|status| *status != Status::Missing).unwrap_or(Status::Missing)
}
