//! The program in a container: a real HTTP server that answers as its image's behaviour says, and counts.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    super::{
        grpc,
        http::{Ending, serve, text},
    },
    behaviour::{Behaviour, MetricsPage},
};

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Paths that are a health check whether a probe names them or not.
const HEALTH: [&str; 5] = ["/healthz", "/readyz", "/livez", "/health", "/ready"];

/// What the program does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It never answers.
    Hangs,
    /// A page of its own.
    Says(u16, &'static str),
    /// The answer to a check over gRPC: whether it serves.
    Grpc(bool),
    /// The page of its counters.
    Metrics(String),
    /// It serves, as its image does, and counts.
    Serves,
}

/// One run of a container's program.
pub(crate) struct App {
    behaviour: Behaviour,
    health_paths: Vec<String>,
    unready: AtomicBool,
    random: Mutex<StdRng>,
    counts: Mutex<BTreeMap<(u16, String), Series>>,
    /// Of a hundred answers so many are errors.
    error_percent: Mutex<f64>,
    /// How often the metrics page was asked for, and when the last time was.
    scraped: Mutex<Option<(u64, Instant)>>,
}

/// What was counted of one code and method.
#[derive(Debug, Clone, Default)]
struct Series {
    count: u64,
    sum: f64,
    buckets: [u64; BUCKETS.len()],
}

impl App {
    pub(crate) fn new(behaviour: Behaviour, health_paths: Vec<String>, seed: u64) -> Self {
        Self {
            error_percent: Mutex::new(behaviour.error_percent),
            behaviour,
            health_paths,
            unready: AtomicBool::new(false),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            counts: Mutex::default(),
            scraped: Mutex::default(),
        }
    }

    /// From now on the health paths answer 503.
    pub(crate) fn turn_unready(&self) {
        self.unready.store(true, Ordering::Relaxed);
    }

    /// From now on so many of a hundred answers are errors.
    pub(crate) fn turn_bad(&self, error_percent: f64) {
        *lock(&self.error_percent) = error_percent.clamp(0.0, 100.0);
    }

    /// How often the metrics page was asked for, and when the last time was.
    pub(super) fn scraped(&self) -> Option<(u64, Instant)> {
        *lock(&self.scraped)
    }

    /// The requests that were answered with each code, health paths and the metrics page apart.
    pub(super) fn answered(&self) -> BTreeMap<u16, u64> {
        let mut out = BTreeMap::new();
        for ((code, _), series) in lock(&self.counts).iter() {
            *out.entry(*code).or_default() += series.count;
        }
        out
    }

    /// Opens the ports; one that cannot be had is the error.
    pub(super) async fn listen(
        self: &Arc<Self>,
        address: IpAddr,
        ports: &[u16],
        ending: &Ending,
        servers: &TaskTracker,
        tasks: &TaskTracker,
    ) -> std::io::Result<()> {
        for port in ports {
            let listener = TcpListener::bind(SocketAddr::new(address, *port)).await?;
            let app = self.clone();
            let handler = move |request| {
                let app = app.clone();
                async move { app.answer(request).await }
            };
            let (all, own) = (tasks.clone(), servers.clone());
            let spawn = move |connection| drop(all.spawn(own.track_future(connection)));
            let server = serve(listener, self.behaviour.grpc, ending.clone(), spawn, handler);
            tasks.spawn(servers.track_future(server));
        }
        Ok(())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.react(request.uri().path()) {
            Reaction::Hangs => std::future::pending().await,
            Reaction::Says(code, page) => text(code, page),
            Reaction::Grpc(serving) => grpc::health(serving),
            Reaction::Metrics(page) => {
                let mut response = text(200, page);
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Reaction::Serves => {
                let start = Instant::now();
                if !self.behaviour.latency.is_zero() {
                    tokio::time::sleep(self.behaviour.latency).await;
                }
                let code = self.draw();
                self.count(code, request.method().as_str(), start.elapsed());
                text(code, if code == 500 { "error\n" } else { "hello\n" })
            }
        }
    }

    /// What the program does with a request for `path`.
    pub(crate) fn react(&self, path: &str) -> Reaction {
        if self.behaviour.hangs {
            return Reaction::Hangs;
        }
        if self.behaviour.grpc && path == grpc::PATH {
            let fails = self.behaviour.health_fails || self.unready.load(Ordering::Relaxed);
            return Reaction::Grpc(!fails);
        }
        if path == "/metrics" {
            let mut scraped = lock(&self.scraped);
            *scraped = Some((scraped.map_or(0, |(count, _)| count) + 1, Instant::now()));
            return match self.behaviour.metrics {
                MetricsPage::Hang => Reaction::Hangs,
                MetricsPage::Missing => Reaction::Says(404, "404 page not found\n"),
                MetricsPage::Plain => Reaction::Metrics(self.plain_page()),
                MetricsPage::OpenTelemetry => Reaction::Metrics(self.open_telemetry_page()),
            };
        }
        if HEALTH.contains(&path) || self.health_paths.iter().any(|one| one == path) {
            let fails = self.behaviour.health_fails || self.unready.load(Ordering::Relaxed);
            return if fails { Reaction::Says(503, "unhealthy\n") } else { Reaction::Says(200, "ok\n") };
        }
        Reaction::Serves
    }

    /// Throws the dice for one answer.
    fn draw(&self) -> u16 {
        let share = *lock(&self.error_percent) / 100.0;
        if share > 0.0 && lock(&self.random).random_bool(share) { 500 } else { 200 }
    }

    /// Answers so many requests at once, each after the time that the image takes.
    pub(crate) fn serve(&self, requests: u64) {
        if self.behaviour.hangs {
            return;
        }
        for _ in 0..requests {
            self.count(self.draw(), "GET", self.behaviour.latency);
        }
    }

    fn count(&self, code: u16, method: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut counts = lock(&self.counts);
        let series = counts.entry((code, method.to_owned())).or_default();
        series.count += 1;
        series.sum += seconds;
        for (bound, bucket) in BUCKETS.iter().zip(&mut series.buckets) {
            if seconds <= *bound {
                *bucket += 1;
            }
        }
    }

    fn plain_page(&self) -> String {
        let counts = lock(&self.counts).clone();
        let mut out = String::from(
            "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n",
        );
        for ((code, method), series) in &counts {
            let _ =
                writeln!(out, "http_requests_total{{code=\"{code}\",method=\"{method}\"}} {}", series.count);
        }
        let name = "http_request_duration_seconds";
        let _ = writeln!(out, "# HELP {name} Time to answer.\n# TYPE {name} histogram");
        for ((code, method), series) in &counts {
            histogram(&mut out, name, &format!("code=\"{code}\",method=\"{method}\""), series);
        }
        out
    }

    fn open_telemetry_page(&self) -> String {
        let counts = lock(&self.counts).clone();
        let name = "http_server_request_duration_seconds";
        let mut out = format!("# HELP {name} Duration of HTTP server requests.\n# TYPE {name} histogram\n");
        for ((code, method), series) in &counts {
            let labels = format!("http_request_method=\"{method}\",http_response_status_code=\"{code}\"");
            histogram(&mut out, name, &labels, series);
        }
        out
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, series: &Series) {
    for (bound, count) in BUCKETS.iter().zip(series.buckets) {
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", series.sum);
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", series.count);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pages_count_the_same() {
        let plain = App::new(Behaviour::default(), Vec::new(), 0);
        plain.count(200, "GET", Duration::from_millis(20));
        plain.count(500, "GET", Duration::from_millis(1));
        let page = plain.plain_page();
        assert!(page.contains("http_requests_total{code=\"200\",method=\"GET\"} 1\n"), "{page}");
        assert!(
            page.contains(
                "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"0.025\"} 1\n"
            )
        );
        assert!(
            page.contains(
                "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"0.01\"} 0\n"
            )
        );
        let page = plain.open_telemetry_page();
        let line = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"500\"} 1\n";
        assert!(page.contains(line), "{page}");
    }
}
