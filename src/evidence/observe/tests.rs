//! The loop against pods in process: real sockets on loopback addresses, one address a pod, one port for all.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::evidence::prometheus;
use crate::evidence::wake::{self, Woken};
use crate::model::policy::HealthCheck;
use crate::model::samples::{CheckTally, Dialect, Tally, Track, Traffic, TrafficSource};

const SOON: Duration = Duration::from_secs(20);

/// How a pod behaves.
struct Pod {
    status: AtomicU16,
    hangs: AtomicBool,
    metrics: Mutex<Option<String>>,
    checked: AtomicUsize,
}

async fn answer(pod: &Pod, metrics: bool) -> Response {
    if !metrics {
        pod.checked.fetch_add(1, Ordering::SeqCst);
    }
    if pod.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if !metrics {
        return StatusCode::from_u16(pod.status.load(Ordering::SeqCst)).unwrap().into_response();
    }
    let text = lock(&pod.metrics).clone();
    text.map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

struct World {
    port: u16,
    pods: Vec<Arc<Pod>>,
    targets: Vec<Target>,
    evidence: Evidence,
    woken: Woken,
    release: ReleaseKey,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl World {
    /// Starts pods; the first is the candidate's.
    async fn new(count: u8) -> Self {
        let (waker, woken) = wake::pair();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let evidence = Evidence::start(Options::new(1), waker, tracker.clone(), stop.clone()).unwrap();
        let release = "app.test".parse().unwrap();
        let (pods, targets) = (Vec::new(), Vec::new());
        let mut world = Self { port: 0, pods, targets, evidence, woken, release, stop, tracker };
        for number in 1..=count {
            world.serve(number).await;
        }
        world
    }

    async fn serve(&mut self, number: u8) {
        let ip = format!("127.0.77.{number}");
        let listener = TcpListener::bind((ip.as_str(), self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let pod = Arc::new(Pod {
            status: AtomicU16::new(200),
            hangs: AtomicBool::new(false),
            metrics: Mutex::new(None),
            checked: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&pod);
        let router = Router::new().fallback(move |request: Request| {
            let pod = Arc::clone(&serving);
            let metrics = request.uri().path() == "/metrics";
            async move { answer(&pod, metrics).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        self.pods.push(pod);
        self.targets.push(target(number, &ip));
    }

    fn assignment(&self) -> Assignment {
        Assignment {
            rollout: 1,
            stage: 1,
            health: HealthCheck {
                kind: CheckKind::Http { path: "/healthz".into(), tls: false, status: vec![(200, 299)] },
                port: self.port,
                interval: Duration::from_millis(100),
                timeout: Duration::from_millis(400),
                threshold: 3,
                success_threshold: 2,
                initial_delay: Duration::ZERO,
            },
            traffic: true,
            latency: None,
            questions: Vec::new(),
            source: None,
            metrics_port: self.port,
            pods: self.targets.clone(),
        }
    }

    fn assign(&self, assignment: Assignment) {
        self.evidence.assign(&self.release, Some(assignment));
    }

    /// Waits for a state, looking only when woken.
    async fn until(&mut self, what: impl Fn(&Samples) -> bool) -> Samples {
        self.until_of(&self.release.clone(), what).await
    }

    async fn until_of(&mut self, release: &ReleaseKey, what: impl Fn(&Samples) -> bool) -> Samples {
        let seen = timeout(SOON, async {
            loop {
                if let Some(samples) = self.evidence.samples(release).filter(&what) {
                    return samples;
                }
                self.woken.next().await;
            }
        });
        seen.await.unwrap_or_else(|_| panic!("still {:#?}", self.evidence.samples(release)))
    }

    async fn ended(&self) {
        self.tracker.close();
        timeout(SOON, self.tracker.wait()).await.expect("all tasks end");
    }
}

fn target(number: u8, ip: &str) -> Target {
    Target {
        uid: number.to_string(),
        namespace: "test".into(),
        name: format!("pod-{number}"),
        ip: ip.into(),
        track: if number == 1 { Track::Candidate } else { Track::Stable },
        ready_since: Timestamp::UNIX_EPOCH,
    }
}

fn counts(requests: u64, errors: u64) -> String {
    let fine = requests - errors;
    format!("http_requests_total{{code=\"200\"}} {fine}\nhttp_requests_total{{code=\"500\"}} {errors}\n")
}

fn requests(traffic: &Traffic) -> Option<Tally> {
    match traffic {
        Traffic::Seen(tally) => Some(*tally),
        Traffic::Unknown { .. } => None,
    }
}

fn of<'a>(samples: &'a Samples, uid: &str) -> Option<&'a CheckTally> {
    samples.checks.get(uid)
}

#[tokio::test]
async fn checks_pass_fail_and_tell_why() {
    let mut world = World::new(2).await;
    world.assign(world.assignment());
    world.until(|samples| of(samples, "1").is_some_and(|tally| tally.passed_in_row >= 2)).await;
    world.pods[0].status.store(503, Ordering::SeqCst);
    let samples = world.until(|samples| of(samples, "1").is_some_and(|tally| tally.failed_in_row >= 3)).await;
    assert_eq!(of(&samples, "1").unwrap().last_failure.as_deref(), Some("HTTP 503"));
    assert_eq!(of(&samples, "2").unwrap().failed, 0);
    world.pods[0].hangs.store(true, Ordering::SeqCst);
    let late = |samples: &Samples| of(samples, "1").and_then(|tally| tally.last_failure.clone());
    world.until(|samples| late(samples).as_deref() == Some("no answer within 400ms")).await;
    // One that hangs delays nobody else.
    let before = world.pods[1].checked.load(Ordering::SeqCst);
    world.until(|samples| of(samples, "2").is_some_and(|tally| tally.asked > before as u64 + 3)).await;
    world.stop.cancel();
    world.ended().await;
}

#[tokio::test]
async fn nobody_listens() {
    let mut world = World::new(2).await;
    let mut assignment = world.assignment();
    assignment.pods = vec![target(1, "127.0.77.99"), target(2, "no address")];
    for kind in [CheckKind::Tcp, assignment.health.kind.clone()] {
        assignment.health.kind = kind;
        assignment.stage += 1;
        world.assign(assignment.clone());
        let stage = assignment.stage;
        let samples = world.until(|samples| samples.stage == stage && samples.checks.len() == 2).await;
        assert_eq!(of(&samples, "1").unwrap().last_failure.as_deref(), Some("connection refused"));
        let clause = of(&samples, "2").unwrap().last_failure.clone().unwrap();
        assert_eq!(clause, "\"no address\" cannot be asked for");
    }
    assignment.health.kind = CheckKind::Tcp;
    assignment.pods.clone_from(&world.targets);
    assignment.stage += 1;
    world.assign(assignment);
    world.until(|samples| samples.checks.values().any(|tally| tally.passed_in_row >= 2)).await;
}

#[tokio::test]
async fn requests_are_counted_by_the_pods_themselves() {
    let mut world = World::new(2).await;
    *lock(&world.pods[0].metrics) = Some(counts(100, 0));
    *lock(&world.pods[1].metrics) = Some(counts(1_000, 1));
    world.assign(world.assignment());
    let samples = world.until(|samples| requests(&samples.candidate).is_some()).await;
    assert_eq!(samples.source, Some(TrafficSource::PodMetrics));
    *lock(&world.pods[0].metrics) = Some(counts(150, 10));
    *lock(&world.pods[1].metrics) = Some(counts(1_450, 1));
    let expected = (Some(Tally { requests: 50, errors: 10 }), Some(Tally { requests: 450, errors: 0 }));
    world.until(|samples| (requests(&samples.candidate), requests(&samples.stable)) == expected).await;
    // The candidate's process starts anew.
    *lock(&world.pods[0].metrics) = Some(counts(5, 5));
    let more = Some(Tally { requests: 55, errors: 15 });
    world.until(|samples| requests(&samples.candidate) == more).await;
    // Another stage begins from zero, with the source pinned.
    let mut next = world.assignment();
    next.stage = 2;
    next.source = Some(TrafficSource::PodMetrics);
    world.assign(next);
    let zero = Some(Tally::default());
    world.until(|samples| samples.stage == 2 && requests(&samples.candidate) == zero).await;
    *lock(&world.pods[0].metrics) = Some("http_requests_total{code=\"200\"} NaN\n".into());
    let absurd = |traffic: &Traffic| matches!(traffic, Traffic::Unknown { reason } if reason.contains("NaN"));
    world.until(|samples| absurd(&samples.candidate)).await;
    // A pod of ours that vanished is not zero requests.
    world.pods[0].hangs.store(true, Ordering::SeqCst);
    let unseen = |traffic: &Traffic| matches!(traffic, Traffic::Unknown { reason } if reason == "not scraped: pod pod-1: no answer within 400ms");
    world.until(|samples| unseen(&samples.candidate)).await;
}

#[tokio::test]
async fn garbage_is_no_source_and_checks_count_instead() {
    let mut world = World::new(2).await;
    *lock(&world.pods[0].metrics) = Some("<html>welcome</html>".into());
    world.assign(world.assignment());
    world.until(|samples| samples.source == Some(TrafficSource::Probes)).await;
    world.pods[0].status.store(500, Ordering::SeqCst);
    world.until(|samples| requests(&samples.candidate).is_some_and(|tally| tally.errors >= 2)).await;
    let samples = world.evidence.samples(&world.release).unwrap();
    assert_eq!(requests(&samples.stable).map(|tally| tally.errors), Some(0));
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_withdrawn_ends() {
    let mut world = World::new(1).await;
    world.assign(world.assignment());
    world.until(|samples| of(samples, "1").is_some_and(|tally| tally.asked >= 2)).await;
    world.assign(world.assignment());
    world.until(|samples| of(samples, "1").is_some_and(|tally| tally.asked >= 2)).await;
    // A pod joins: what the others did stays.
    world.serve(2).await;
    world.assign(world.assignment());
    let samples = world.until(|samples| samples.checks.len() == 2).await;
    assert!(of(&samples, "1").unwrap().asked >= 2);
    world.evidence.assign(&world.release, None);
    assert_eq!(world.evidence.samples(&world.release), None);
    world.ended().await;
}

/// A provider that takes connections and never answers.
async fn hanging() -> (TcpListener, Arc<prometheus::Provider>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = prometheus::Options {
        url: format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap(),
        authorization: None,
        ca: None,
        headers: axum::http::HeaderMap::new(),
        timeout: Duration::from_millis(300),
        scrape_interval: Duration::from_secs(1),
        dialects: vec![Dialect::Plain],
        pod_label: "pod".into(),
        namespace_label: String::new(),
    };
    (listener, Arc::new(prometheus::Provider::new(options).unwrap()))
}

#[tokio::test]
async fn a_provider_that_hangs_delays_nobody() {
    let (_listener, provider) = hanging().await;
    let mut world = World::new(1).await;
    let shared = Options { prometheus: [("slow".parse().unwrap(), provider)].into(), ..Options::new(1) };
    let (waker, woken) = wake::pair();
    world.evidence = Evidence::start(shared, waker, world.tracker.clone(), world.stop.clone()).unwrap();
    world.woken = woken;
    *lock(&world.pods[0].metrics) = Some("http_requests_total{code=\"200\"} 5\n".into());
    for number in 0..50 {
        let release = format!("app{number}.slow").parse().unwrap();
        world.evidence.assign(&release, Some(world.assignment()));
    }
    world.assign(world.assignment());
    let samples = world.until(|samples| samples.source.is_some()).await;
    assert_eq!(samples.source, Some(TrafficSource::PodMetrics), "the release beside it is not touched");
    let slow: ReleaseKey = "app7.slow".parse().unwrap();
    let samples = world.until_of(&slow, |samples| {
        let told =
            matches!(&samples.candidate, Traffic::Unknown { reason } if reason.contains("no answer within"));
        told && samples.checks.values().all(|tally| tally.passed_in_row >= 3)
    });
    let samples = samples.await;
    assert_eq!(samples.source, None);
    world.stop.cancel();
    world.ended().await;
}
