//! What a webhook costs in CPU time: proven, read and routed, with its secret read from a file as the daemon does.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderValue};
use idp::config;
use idp::source::webhook::Hooks;
use idp::source::{Hints, Suspensions};
use serde_json::json;
use sha2::Sha256;
use tokio::time::Instant;

use super::table::{Figure, Goal, Sheet, Times};

const SECRET: &[u8] = b"correct horse battery staple";
/// A batch's mean is one time.
const BATCH: u32 = 100;

/// A push of a few commits as forges write it, of so many bytes or a few more.
pub fn push(size: usize) -> String {
    let commit = |number: usize| {
        let id = format!("{number:040x}");
        json!({
            "id": id, "message": "Fix the thing that was broken\n\nIt was broken since the other thing was fixed.",
            "url": format!("https://git.example.com/shop/checkout/commit/{id}"), "timestamp": "2026-01-01T12:00:00Z",
            "author": {"name": "Ann Example", "email": "ann@example.com", "username": "ann"},
            "committer": {"name": "Ann Example", "email": "ann@example.com", "username": "ann"},
            "verification": null, "added": [], "removed": [], "modified": ["services/checkout/main.go", "README.md"]
        })
    };
    let mut commits = Vec::new();
    loop {
        commits.push(commit(commits.len()));
        let body = json!({
            "ref": "refs/heads/main", "before": "0".repeat(40), "after": "1".repeat(40), "commits": commits,
            "repository": {"id": 1, "name": "checkout", "full_name": "shop/checkout", "private": true},
            "pusher": {"id": 1, "login": "ann"}, "sender": {"id": 1, "login": "ann"}
        })
        .to_string();
        if body.len() >= size {
            return body;
        }
    }
}

/// One signed push of 15 KB, from its bytes to the hint.
pub fn received(sheet: &mut Sheet, batches: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("hook"), SECRET)?;
    let text = "cluster: {in_cluster: true}\nenvironments: [{name: production, namespace: p}]\n\
        sources: [{name: checkout, url: /r, webhook: {forge: gitea, secret_file: hook}}]\n";
    let config = config::parse(text, folder.path()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let hints = Hints::new(config.sources.keys().cloned());
    let hooks = Hooks::new(&config, &hints, &Suspensions::new(config.sources.values()));
    let source = "checkout".parse()?;
    let body = push(15_000);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).context("any key will do")?;
    mac.update(body.as_bytes());
    let mut headers = HeaderMap::new();
    headers.insert("x-gitea-event", HeaderValue::from_static("push"));
    headers.insert("x-gitea-signature", hex::encode(mac.clone().finalize().into_bytes()).parse()?);

    let mut delivery = 0_u64;
    let whole = timed(batches, || {
        delivery += 1;
        headers.insert("x-gitea-delivery", HeaderValue::from(delivery));
        hooks.receive(&source, &headers, black_box(body.as_bytes()))
    });
    if hooks.log(None, 1).deliveries.first().map(|row| row.outcome.as_str()) != Some("accepted") {
        bail!("the push was not accepted");
    }
    let alone = timed(batches, || {
        let mut mac = mac.clone();
        mac.update(black_box(body.as_bytes()));
        mac.finalize()
    });
    let what = "prove, read and route one signed push";
    let goal = Goal { median: Some(Duration::from_micros(20)), p99: None };
    let figures = [Figure { what, times: Times::new(whole), goal }];
    let against = Figure::plain("against: its HMAC-SHA256 alone", alone);
    sheet.print(&format!("A webhook of {} bytes", body.len()), &against, &figures);
    Ok(())
}

fn timed<T>(batches: usize, mut work: impl FnMut() -> T) -> Vec<Duration> {
    let batch = |_| {
        let begun = Instant::now();
        for _ in 0..BATCH {
            black_box(work());
        }
        begun.elapsed() / BATCH
    };
    (0..batches).map(batch).collect()
}
