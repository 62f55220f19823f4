//! `idp sources`: how the daemon sees its sources now, how to set up their webhooks, and "look now".

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use super::daemon;
use super::output::{Tone, clean, paint};
use super::sources::{heading, listed};
use super::table::{Cell, render};
use super::{CliError, Exit, Output};
use crate::config::Forge;
use crate::http::sources::{SourceList, SourceSeen, WebhookSeen};
use crate::model::duration;
use crate::model::name::SourceName;
use crate::source::webhook::{Setup, setup};
use crate::source::{Pace, PauseWhy, SourceStatus};

const PAGE: &str = "/api/v1/sources";

/// Prints the sources, and what is wrong with them; bad news if anything is.
pub async fn list(daemon: &Url, output: &Output) -> Result<Exit, CliError> {
    let list: SourceList = daemon::get(daemon, PAGE, &[], "its sources").await?;
    let now = super::now();
    output.show(&list, |output| text(&list.sources, now, output.width, output.colour))?;
    Ok(if list.sources.iter().any(ill) { Exit::Bad } else { Exit::Good })
}

/// Has a source looked at now.
pub async fn look(daemon: &Url, source: &SourceName, output: &Output) -> Result<Exit, CliError> {
    daemon::post(daemon, &format!("{PAGE}/{source}/look"), "a look at a source").await?;
    let said = Asked { source: source.clone(), asked: true };
    output.show(&said, |_| format!("{source} is being looked at; idp sources shows what was found"))?;
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct Asked {
    source: SourceName,
    asked: bool,
}

/// Asks the daemon for one source.
pub(super) async fn find(daemon: &Url, source: &SourceName) -> Result<SourceSeen, CliError> {
    let list: SourceList = daemon::get(daemon, PAGE, &[], "its sources").await?;
    let found = list.sources.into_iter().find(|seen| seen.name == *source);
    found.ok_or_else(|| CliError::NotConfigured(format!("no source {source} in the configuration")))
}

/// Prints what to enter in the forge of a source, so that it calls.
pub async fn hook(daemon: &Url, source: &SourceName, output: &Output) -> Result<Exit, CliError> {
    let seen = find(daemon, source).await?;
    let forge = seen.webhook.as_ref().map(|webhook| webhook.forge.as_str());
    let forge = forge.and_then(|name| Forge::ALL.into_iter().find(|forge| forge.name() == name));
    let (Some(webhook), Some(forge)) = (seen.webhook, forge) else {
        return Err(CliError::NotConfigured(format!(
            "source {source} takes no webhooks: give it `webhook` in the configuration, with `forge` and `secret_file`"
        )));
    };
    let entry = Entry::new(source.clone(), setup(forge), webhook);
    output.show(&entry, |_| entry.text())?;
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct Entry {
    source: SourceName,
    place: &'static str,
    secret: String,
    events: String,
    webhook: WebhookSeen,
}

impl Entry {
    fn new(source: SourceName, setup: Setup, webhook: WebhookSeen) -> Self {
        // The documentation emphasises; a terminal and a program do not.
        let plain = |text: &str| text.replace('*', "");
        let Setup { place, secret, events } = setup;
        Self { source, place, secret: plain(secret), events: plain(events), webhook }
    }

    fn text(&self) -> String {
        let Self { source, place, secret, events, webhook } = self;
        [
            format!("where         {place}"),
            format!("address       https://HOST{}, HOST as the forge reaches the daemon", webhook.path),
            "content type  application/json".to_owned(),
            format!("secret        into {secret}: what webhook.secret_file or secret_env holds"),
            format!("events        {events}"),
            format!("then          idp deliveries --source {source}"),
        ]
        .join("\n")
    }
}

fn ill(seen: &SourceSeen) -> bool {
    seen.up == Some(false) || seen.status.as_ref().is_some_and(|status| status.problem_count > 0)
}

/// Renders the sources for people.
pub fn text(sources: &[SourceSeen], now: Timestamp, width: u16, colour: bool) -> String {
    if sources.is_empty() {
        return "no sources: name repositories under `sources` in the configuration".to_owned();
    }
    let header =
        ["SOURCE", "BRANCH", "COMMIT", "LOOKED", "EVERY", "CHANGED", "FILES", "RELEASES", "WEBHOOK", "STATE"];
    let mut parts = vec![render(&header, sources.iter().map(|seen| row(seen, now)).collect(), width, colour)];
    let told = sources.iter().filter_map(|seen| Some((seen, seen.status.as_ref()?)));
    for (seen, status) in told.filter(|(_, status)| status.problem_count > 0) {
        let mut lines = vec![heading(seen.name.as_str(), colour)];
        lines.extend(listed(&status.problems, status.problem_count));
        parts.push(lines.join("\n"));
    }
    let notes = sources.iter().filter_map(|seen| resting(seen, now)).chain(advice(sources));
    let notes: Vec<String> =
        notes.map(|text| format!("{} {text}", paint("note", Tone::Busy, colour))).collect();
    parts.extend((!notes.is_empty()).then(|| notes.join("\n")));
    parts.join("\n\n")
}

fn row(seen: &SourceSeen, now: Timestamp) -> Vec<Cell> {
    let status = seen.status.as_ref();
    let ago = |at: Timestamp| format!("{} ago", duration::rough(now.duration_since(at).unsigned_abs()));
    let state = match (seen.up, status.map(|status| status.problem_count)) {
        _ if seen.suspended.is_some() => Cell::new("suspended").tone(Tone::Busy),
        _ if seen.paused.is_some() => Cell::new("waits").tone(Tone::Busy),
        (None, _) => Cell::new("not looked at yet").tone(Tone::Busy),
        (Some(false), _) => Cell::new("no answer").tone(Tone::Bad),
        (Some(true), Some(1)) => Cell::new("1 problem").tone(Tone::Bad),
        (Some(true), Some(count)) if count > 0 => Cell::new(format!("{count} problems")).tone(Tone::Bad),
        (Some(true), _) => Cell::new("fine").tone(Tone::Good),
    };
    let webhook = match &seen.webhook {
        None => "none".to_owned(),
        Some(WebhookSeen { last: Some(at), .. }) => ago(*at),
        Some(_) => "never called".to_owned(),
    };
    vec![
        Cell::new(seen.name.as_str()),
        Cell::new(status.map(|status| status.branch.as_str()).unwrap_or_default()),
        Cell::new(status.map(commit).unwrap_or_default()),
        Cell::new(status.map(|status| ago(status.looked_at)).unwrap_or_default()),
        Cell::new(seen.pace.map(every).unwrap_or_default()),
        Cell::new(status.and_then(|status| status.changed_at).map(ago).unwrap_or_default()),
        Cell::new(status.map(|status| status.files.to_string()).unwrap_or_default()),
        Cell::new(status.map(|status| status.releases.to_string()).unwrap_or_default()),
        Cell::new(webhook),
        state,
    ]
}

/// The commit, and the tag that it was taken by.
fn commit(status: &SourceStatus) -> String {
    let commit = status.commit.as_ref().map_or("", |commit| commit.short());
    match &status.tag {
        Some(tag) => format!("{commit} ({})", clean(tag)),
        None => commit.to_owned(),
    }
}

fn every(pace: Pace) -> String {
    duration::rough(Duration::from_secs(pace.interval_seconds))
}

/// Why a source is not looked at now.
fn resting(seen: &SourceSeen, now: Timestamp) -> Option<String> {
    let name = &seen.name;
    if let Some(suspended) = &seen.suspended {
        return Some(format!("{name} is {}", clean(&suspended.sentence(name.as_str()))));
    }
    seen.paused.as_ref().map(|paused| {
        let left = duration::rough(paused.until.duration_since(now).unsigned_abs());
        let why = match paused.why {
            PauseWhy::Asked => "asked to be left alone",
            PauseWhy::Budget => "had its requests of a minute",
        };
        format!("{} {why}: {name} is not looked at for {left}", clean(&paused.host))
    })
}

/// What would make the sources quicker: a webhook that never called, or whose calls are turned away.
fn advice(sources: &[SourceSeen]) -> impl Iterator<Item = String> {
    sources.iter().filter_map(|seen| {
        let webhook = seen.webhook.as_ref().filter(|webhook| webhook.last.is_none())?;
        let name = &seen.name;
        Some(match &webhook.turned_away {
            Some(why) => format!("the calls of {name}'s forge are turned away: {}", clean(why)),
            None => format!(
                "the forge of {name} never called since the daemon started: idp sources hook {name} says what to enter there"
            ),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(value: serde_json::Value) -> SourceSeen {
        serde_json::from_value(value).unwrap()
    }

    fn all() -> Vec<SourceSeen> {
        let status = |problems: serde_json::Value| {
            json!({
                "source": "web", "repository": "https://git.example.com/shop/web.git", "branch": "main",
                "commit": "0123456789012345678901234567890123456789", "looked_at": "2026-01-01T11:59:50Z",
                "changed_at": "2026-01-01T10:00:00Z", "files": 1, "releases": 2,
                "problem_count": problems.as_array().unwrap().len(), "problems": problems,
            })
        };
        let problem =
            json!([{"path": "a/.idp/deploy.yaml", "commit": null, "message": "line 1: no service"}]);
        let mut tagged = status(json!([]));
        (tagged["branch"], tagged["tag"]) = ("tags ^1".into(), "v1.4.2".into());
        vec![
            seen(json!({"name": "api", "up": true, "status": status(json!([])),
                "pace": {"interval_seconds": 600, "slowed": true, "next": "2026-01-01T12:09:50Z"}, "webhook": {"forge": "gitea", "path": "/hooks/api", "last": "2026-01-01T11:00:00Z"}})),
            seen(json!({"name": "new", "webhook": {"forge": "github", "path": "/hooks/new"}})),
            seen(json!({"name": "shut", "up": false, "status": status(json!([])),
                "webhook": {"forge": "github", "path": "/hooks/shut", "turned_away": "the signature does not match"}})),
            seen(json!({"name": "slow", "up": false, "status": status(json!([])),
                "paused": {"host": "git.example.com:443", "until": "2026-01-01T12:30:00Z", "why": "asked"}})),
            seen(json!({"name": "stop", "up": true, "status": status(json!([])),
                "suspended": {"who": "ann", "why": "audit", "at": "2026-01-01T11:00:00Z"}})),
            seen(json!({"name": "tagged", "up": true, "status": tagged})),
            seen(json!({"name": "web", "up": true, "status": status(problem)})),
        ]
    }

    #[test]
    fn each_source_is_a_line_and_what_is_wrong_is_said() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(text(&all(), now, 140, false), @r"
        SOURCE  BRANCH   COMMIT               LOOKED   EVERY  CHANGED  FILES  RELEASES  WEBHOOK       STATE
        api     main     0123456789           10s ago  10m    2h ago   1      2         1h ago        fine
        new     -        -                    -        -      -        -      -         never called  not looked at yet
        shut    main     0123456789           10s ago  -      2h ago   1      2         never called  no answer
        slow    main     0123456789           10s ago  -      2h ago   1      2         none          waits
        stop    main     0123456789           10s ago  -      2h ago   1      2         none          suspended
        tagged  tags ^1  0123456789 (v1.4.2)  10s ago  -      2h ago   1      2         none          fine
        web     main     0123456789           10s ago  -      2h ago   1      2         none          1 problem

        source web
          a/.idp/deploy.yaml: line 1: no service

        note git.example.com:443 asked to be left alone: slow is not looked at for 30m
        note stop is suspended by ann: audit; idp sources resume stop resumes it
        note the forge of new never called since the daemon started: idp sources hook new says what to enter there
        note the calls of shut's forge are turned away: the signature does not match
        ");
        assert!(text(&[], now, 80, false).starts_with("no sources"));
    }

    #[test]
    fn a_webhook_is_set_up_by_what_is_printed() {
        let webhook = all()[0].webhook.clone().unwrap();
        let entry = Entry::new("api".parse().unwrap(), setup(Forge::Gitea), webhook);
        insta::assert_snapshot!(entry.text(), @r"
        where         repository → Settings → Webhooks → Add webhook → Gitea or Forgejo
        address       https://HOST/hooks/api, HOST as the forge reaches the daemon
        content type  application/json
        secret        into Secret: what webhook.secret_file or secret_env holds
        events        Custom events: Push, Pull Request, Pull Request Synchronized, Pull Request Labeled, Pull Request Reviewed
        then          idp deliveries --source api
        ");
    }
}
