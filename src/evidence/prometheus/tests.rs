//! A provider that answers as providers do, over real sockets on this machine.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::post;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::evidence::lock;
use crate::evidence::sheet::Scrape;
use crate::evidence::timings::Look;
use crate::model::histogram::Histogram;
use crate::model::samples::{Target, Track};

/// What a query gives: the first entry whose word the query contains.
type Book = Vec<(&'static str, (u16, String))>;

struct Fake {
    book: Mutex<Book>,
    queries: Mutex<Vec<(String, Option<String>)>>,
    asked: AtomicUsize,
}

fn options(url: &str) -> Options {
    Options {
        url: url.parse().unwrap(),
        authorization: Some(Arc::new(|| Ok(HeaderValue::from_static("Bearer open")))),
        ca: None,
        headers: HeaderMap::from_iter([(
            http::HeaderName::from_static("x-scope-orgid"),
            HeaderValue::from_static("shop"),
        )]),
        timeout: Duration::from_millis(500),
        scrape_interval: Duration::from_secs(10),
        dialects: vec![Dialect::OpenTelemetry, Dialect::Plain, Dialect::Istio],
        pod_label: "pod".into(),
        namespace_label: "namespace".into(),
    }
}

async fn serve(book: Book) -> (Arc<Fake>, Arc<Provider>) {
    let fake =
        Arc::new(Fake { book: Mutex::new(book), queries: Mutex::default(), asked: AtomicUsize::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(&fake);
    let answer = move |headers: HeaderMap, body: String| {
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let fake = Arc::clone(&state);
        async move {
            fake.asked.fetch_add(1, Ordering::SeqCst);
            if headers.get("authorization").is_none_or(|value| value != "Bearer open")
                || headers["x-scope-orgid"] != "shop"
            {
                return (StatusCode::UNAUTHORIZED, "who are you?".to_owned());
            }
            let query = form["query"].clone();
            let found = lock(&fake.book)
                .iter()
                .find(|(word, _)| query.contains(word))
                .map(|(_, answer)| answer.clone());
            lock(&fake.queries).push((query, form.get("time").cloned()));
            let (status, body) = found.unwrap_or_else(|| (200, vector(&[])));
            (StatusCode::from_u16(status).unwrap(), body)
        }
    };
    let router = axum::Router::new().route("/prom/api/v1/query", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (fake, Arc::new(Provider::new(options(&format!("http://{address}/prom/"))).unwrap()))
}

const NOW: f64 = 1000.5;

fn vector(series: &[(Value, &str)]) -> String {
    let series: Vec<Value> =
        series.iter().map(|(labels, value)| json!({"metric": labels, "value": [NOW, value]})).collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string()
}

fn pod(name: &str, ip: &str) -> Target {
    Target {
        uid: format!("uid-{name}"),
        namespace: "shop".into(),
        name: name.into(),
        ip: ip.into(),
        track: Track::Candidate,
        ready_since: Timestamp::UNIX_EPOCH,
    }
}

fn pods() -> Vec<Target> {
    ["a", "b", "c"].iter().zip(1..).map(|(name, n)| pod(name, &format!("10.0.0.{n}"))).collect()
}

fn up(of: &[(&str, &str)]) -> (u16, String) {
    let series: Vec<(Value, &str)> = of.iter().map(|(pod, at)| (json!({"pod": pod}), *at)).collect();
    (200, vector(&series))
}

fn tally(scrape: &Scrape) -> Option<(u64, u64)> {
    let Scrape::Counted(reading) = scrape else { return None };
    Some((reading.total.requests, reading.total.errors))
}

#[tokio::test]
async fn pods_are_counted_apart_at_one_time_of_the_providers_clock() {
    let totals = vector(&[
        (json!({"pod": "a", "code": "200"}), "90"),
        (json!({"pod": "a", "code": "503"}), "10"),
        (json!({"pod": "a"}), "7"),
        (json!({"pod": "c", "status": "500"}), "4"),
        (json!({"pod": "stranger", "code": "500"}), "4"),
    ]);
    let book = vec![
        ("up{", up(&[("a", "1000"), ("b", "999"), ("c", "950")])),
        ("http_requests_total", (200, totals)),
    ];
    let (fake, provider) = serve(book).await;
    let mut rounds = Rounds::new(provider);
    let round = rounds.ask(&pods(), None, false).await;
    assert_eq!(round.dialect, Some(Dialect::Plain));
    let [(_, a), (_, b), (_, c)] = round.scrapes.as_slice() else { panic!() };
    assert_eq!(tally(a), Some((100, 10)));
    assert_eq!(*b, Scrape::Nameless, "scraped and without a request");
    assert_eq!(*c, Scrape::Failed("Prometheus scraped it last 50s ago".into()));
    let queries = lock(&fake.queries).clone();
    assert_eq!(
        queries[0].0,
        r#"max by (pod) ((timestamp(up{namespace="shop",pod=~"a|b|c"}) and (up{namespace="shop",pod=~"a|b|c"} == 1)))"#
    );
    let last = queries.iter().find(|(query, _)| query.contains("http_requests_total")).unwrap();
    assert_eq!(
        last.0,
        r#"sum by (pod,code,status) (max without (job,prometheus,prometheus_replica) (http_requests_total{namespace="shop",pod=~"a|b|c"}))"#
    );
    assert_eq!(last.1.as_deref(), Some("1000.500"));
    // Once chosen only pods without that name are asked for by the other.
    let before = fake.asked.load(Ordering::SeqCst);
    rounds.ask(&pods(), round.dialect, false).await;
    assert_eq!(fake.asked.load(Ordering::SeqCst) - before, 3);
}

#[tokio::test]
async fn a_version_may_count_by_another_name_than_the_one_before() {
    let plain = vector(&[(json!({"pod": "a", "code": "200"}), "9")]);
    let otel = vector(&[(json!({"pod": "b", "http_response_status_code": "500"}), "5")]);
    let buckets =
        vector(&[(json!({"pod": "b", "le": "0.5"}), "3"), (json!({"pod": "b", "le": "+Inf"}), "5")]);
    let book = vec![
        ("up{", up(&[("a", "1000"), ("b", "1000"), ("c", "1000")])),
        ("http_requests_total", (200, plain)),
        ("http_request_duration_seconds_bucket", (200, vector(&[]))),
        ("duration_seconds_bucket", (200, buckets)),
        ("duration_seconds_count", (200, otel)),
    ];
    let (_fake, provider) = serve(book).await;
    let mut rounds = Rounds::new(provider);
    let round = rounds.ask(&pods(), Some(Dialect::Plain), true).await;
    let counts: Vec<_> = round.scrapes.iter().map(|(_, scrape)| tally(scrape)).collect();
    assert_eq!((round.dialect, counts), (Some(Dialect::Plain), vec![Some((9, 0)), Some((5, 5)), None]));
    let [(_, a), (_, b), (_, c)] = round.looks.as_slice() else { panic!() };
    let histogram = Histogram { bounds: vec![0.5], counts: vec![3, 2] };
    assert_eq!((a, b, c), (&Look::Bare(true), &Look::Seen(histogram), &Look::Bare(false)));
}

#[tokio::test]
async fn a_mesh_is_asked_at_the_pods_end() {
    let totals = vector(&[
        (json!({"pod": "a", "response_code": "200"}), "5"),
        (json!({"pod": "a", "response_code": "0"}), "2"),
    ]);
    let (fake, provider) =
        serve(vec![("up{", up(&[("a", "1000")])), ("istio_requests_total", (200, totals))]).await;
    let round = Rounds::new(provider).ask(&pods(), None, false).await;
    assert_eq!((round.dialect, tally(&round.scrapes[0].1)), (Some(Dialect::Istio), Some((7, 2))));
    assert_eq!(
        round.scrapes[1].1,
        Scrape::NotServed("Prometheus does not scrape it (no `up` of 1 by the label pod)".into())
    );
    assert!(lock(&fake.queries).last().unwrap().0.contains(r#"reporter="destination""#));
}

#[tokio::test]
async fn the_proxies_of_a_gateway_know_pods_by_address_and_may_start_anew() {
    let endpoint = |proxy: &str, address: &str| json!({"pod": proxy, "envoy_endpoint_address": address});
    let book = |one: &str, two: &str, failed: &str| -> Book {
        vec![
            ("envoy_server_live", (200, vector(&[(json!({}), "1000")]))),
            (
                "rq_total",
                (
                    200,
                    vector(&[
                        (endpoint("g1", "10.0.0.1:80"), one),
                        (endpoint("g2", "10.0.0.1:80"), two),
                        (endpoint("g1", "10.0.0.2:80"), "3"),
                    ]),
                ),
            ),
            ("rq_error", (200, vector(&[(endpoint("g1", "10.0.0.1:80"), failed)]))),
        ]
    };
    let (fake, provider) = serve(book("50", "60", "4")).await;
    let mut rounds = Rounds::new(provider);
    let first = rounds.ask(&pods(), Some(Dialect::EnvoyGateway), false).await;
    assert_eq!(
        first.scrapes.iter().map(|(_, s)| tally(s)).collect::<Vec<_>>(),
        [Some((110, 4)), Some((3, 0)), None]
    );
    *lock(&fake.book) = book("5", "61", "6");
    let second = rounds.ask(&pods(), Some(Dialect::EnvoyGateway), false).await;
    assert_eq!(tally(&second.scrapes[0].1), Some((116, 6)), "one proxy counts from zero again");
    let query = lock(&fake.queries)[1].0.clone();
    assert!(
        query
            .contains(r#"envoy_endpoint_address=~"(10\\.0\\.0\\.1:|10\\.0\\.0\\.2:|10\\.0\\.0\\.3:)[0-9]+""#),
        "{query}"
    );
}

#[tokio::test]
async fn what_is_no_number_of_requests_is_unknown_with_its_clause() {
    let all = || up(&[("a", "1000"), ("b", "1000"), ("c", "1000")]);
    let absurd = |value: &str| vector(&[(json!({"pod": "a", "code": "200"}), value)]);
    for (book, clause) in [
        (
            vec![("", (200, "<html>sign in</html>".to_owned()))],
            "Prometheus: HTTP 200 and not an answer of Prometheus' API",
        ),
        (vec![("", (302, String::new()))], "Prometheus: HTTP 302 and not an answer of Prometheus' API"),
        (
            vec![("", (503, r#"{"status":"error","error":"starting"}"#.to_owned()))],
            "Prometheus: HTTP 503 starting",
        ),
        (
            vec![("up{", all()), ("", (400, r#"{"status":"error","error":"parse error"}"#.to_owned()))],
            "Prometheus: the query was refused: parse error",
        ),
        (
            vec![("up{", all()), ("", (200, "x".repeat(9 << 20)))],
            "Prometheus: the answer is larger than 8 MiB",
        ),
        (
            vec![("up{", all()), ("http_requests_total", (200, absurd("NaN")))],
            "Prometheus: http_requests_total counts NaN",
        ),
        (
            vec![("up{", all()), ("http_requests_total", (200, absurd("+Inf")))],
            "Prometheus: http_requests_total counts inf",
        ),
        (
            vec![("up{", all()), ("http_requests_total", (200, absurd("-3")))],
            "Prometheus: http_requests_total counts -3",
        ),
        (vec![("up{", all()), ("http_requests_total", (200, absurd("1e300")))], "counts 1"),
    ] {
        let (_fake, provider) = serve(book).await;
        let round = Rounds::new(provider).ask(&pods(), None, false).await;
        let (Scrape::Failed(found) | Scrape::Absurd(found)) = &round.scrapes[0].1 else {
            panic!("{:?}", round.scrapes)
        };
        assert!(found.contains(clause), "{found} is not {clause}");
    }
}

#[tokio::test]
async fn the_wait_for_a_turn_is_part_of_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let provider = Arc::new(Provider::new(options(&url)).unwrap());
    let began = Instant::now();
    let all = (0..QUESTIONS * 5).map(|_| provider.ask("up", None));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer.unwrap_err().clause(), "no answer within 500ms");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "forty questions took {:?}", began.elapsed());
    drop(listener);
    let refused = provider.ask("up", None).await.unwrap_err().clause();
    assert!(refused.starts_with("cannot be asked: "), "{refused}");
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_told_without_them() {
    let (_fake, provider) = serve(Vec::new()).await;
    let authorization: Authorization = Arc::new(|| Err("cannot read the secret file token".to_owned()));
    let options = Options { authorization: Some(authorization), ..provider.options.clone() };
    let provider = Provider::new(options).unwrap();
    assert_eq!(clause(&provider).await, "cannot read the secret file token");
    let options = Options { authorization: None, ..provider.options.clone() };
    let provider = Provider::new(options).unwrap();
    assert_eq!(clause(&provider).await, "HTTP 401 and not an answer of Prometheus' API");
}

async fn clause(provider: &Provider) -> String {
    provider.ask("1", None).await.unwrap_err().clause()
}
