//! `idp report RELEASE`: what happened in a rollout, as Markdown for whoever writes the postmortem.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use serde::Serialize;

use super::connect::Scope;
use super::fleet::ReleaseView;
use super::output::clean;
use super::{CliError, Exit, Output, connect};
use crate::cluster::raw::Raw;
use crate::cluster::revision::{self, Sealed};
use crate::model::change::{Changes, Revision};
use crate::model::duration::rough;
use crate::model::image::Image;
use crate::model::object::Manifest;
use crate::model::record::Record;
use crate::model::rollout::{Happened, Outcome};
use crate::plan::{self, Difference};
use crate::rollout::gates::elapsed;

/// A rollout's story.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The release.
    pub release: String,
    /// The owning team.
    pub team: String,
    /// The rollout's number.
    pub rollout: u64,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// Why, the verdict's sentence.
    pub verdict: String,
    /// The commit.
    pub revision: Revision,
    /// The commits that it brought, as far as they are known.
    pub changes: Changes,
    /// The image, where it was resolved.
    pub image: Option<Image>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What happened, in order.
    pub timeline: Vec<Happened>,
    /// What differs between its objects and those of the version before.
    pub differences: Differences,
}

/// What differs between two versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Differences {
    /// Object by object.
    Known(Vec<Changed>),
    /// They could not be compared; why.
    Unknown(String),
}

/// An object that differs.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// As `Deployment/web`.
    pub object: String,
    /// What became of it: its fields, or that it came or went.
    pub fields: Vec<Difference>,
    /// It is in one version only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<&'static str>,
}

/// Prints the report of a rollout; of the newest one if none is named.
pub async fn run(scope: &Scope, output: &Output, asked: &str, number: Option<u64>) -> Result<Exit, CliError> {
    let view = connect::find(scope, asked).await?;
    let record = view.record();
    let number = number.or(record.map(|record| record.rollouts)).unwrap_or_default();
    let Some(mut report) = record.and_then(|record| report(&view.release, record, number)) else {
        let known = record.map_or_else(Vec::new, |record| record.history.keys().copied().collect());
        return Err(CliError::NoSuchRollout { release: view.release, rollout: number, known });
    };
    report.differences = differences(&scope.client, &view, record, number).await;
    output.show(&report, |_| markdown(&report))?;
    Ok(Exit::Good)
}

/// Reads a rollout's story out of the record; `None` if it does not know that rollout.
pub fn report(release: &str, record: &Record, number: u64) -> Option<Report> {
    let running = record.rollout.as_ref().filter(|rollout| rollout.number == number);
    let unread = Differences::Unknown("the kept versions were not read".to_owned());
    let (release, team) = (release.to_owned(), record.team.to_string());
    if let Some(rollout) = running {
        return Some(Report {
            release,
            team,
            rollout: number,
            outcome: None,
            verdict: record.message.clone(),
            revision: rollout.candidate.revision().clone(),
            changes: rollout.changes.clone(),
            image: rollout.candidate.version().map(|version| version.image.clone()),
            started_at: rollout.started_at,
            ended_at: None,
            timeline: rollout.log.to_vec(),
            differences: unread,
        });
    }
    let summary = record.history.get(&number)?;
    let stable = record.stable.as_ref().filter(|stable| stable.rollout == number);
    Some(Report {
        release,
        team,
        rollout: number,
        outcome: Some(summary.outcome),
        verdict: summary.verdict.clone(),
        revision: summary.revision.clone(),
        changes: stable.map(|stable| stable.changes.clone()).unwrap_or_default(),
        image: summary.image.clone(),
        started_at: summary.started_at,
        ended_at: Some(summary.ended_at),
        timeline: summary.log.to_vec(),
        differences: unread,
    })
}

/// Returns the rollout whose version was stable before this one.
fn before(record: &Record, number: u64) -> Option<u64> {
    let promoted = record.history.range(..number).rev();
    let mut promoted =
        promoted.filter(|(_, summary)| matches!(summary.outcome, Outcome::Promoted | Outcome::Undone));
    promoted.next().map(|(number, _)| *number)
}

async fn differences(
    client: &Client,
    view: &ReleaseView,
    record: Option<&Record>,
    number: u64,
) -> Differences {
    let Some(earlier) = record.and_then(|record| before(record, number)) else {
        return Differences::Unknown("no version was stable before it".to_owned());
    };
    let read = async |rollout: u64| -> Result<Vec<Manifest>, String> {
        let name = format!("idp-{}-{rollout}", view.name);
        let api: Api<Raw> = Api::namespaced_with(client.clone(), &view.namespace, &revision::resource());
        let secret = connect::call(&format!("reading Secret {name}"), api.get(&name)).await;
        let secret = secret.map_err(|error| error.to_string())?;
        let sealed = Sealed::read(&secret).map_err(|error| error.to_string())?;
        let body = sealed.open().map_err(|error| error.to_string())?;
        Ok(body.objects.as_ref().clone())
    };
    match (read(number).await, read(earlier).await) {
        (Ok(new), Ok(old)) => Differences::Known(compare(&new, &old)),
        (Err(why), _) | (_, Err(why)) => {
            Differences::Unknown(format!("the kept versions could not be read: {why}"))
        }
    }
}

/// Compares the objects of two versions. Config has its content's hash in its name, so another content is another object.
pub fn compare(new: &[Manifest], old: &[Manifest]) -> Vec<Changed> {
    let name = |manifest: &Manifest| format!("{}/{}", manifest.key.kind, manifest.key.name);
    let find = |all: &[Manifest], one: &Manifest| all.iter().position(|other| other.key == one.key);
    let mut changed = Vec::new();
    for manifest in new {
        let Some(other) = find(old, manifest).and_then(|index| old.get(index)) else {
            changed.push(Changed { object: name(manifest), fields: Vec::new(), only: Some("new") });
            continue;
        };
        let mut fields = plan::differs(&manifest.body, &other.body);
        // What the new body leaves out is seen from the other side.
        let gone =
            plan::differs(&other.body, &manifest.body).into_iter().filter(|field| field.found.is_none());
        fields.extend(gone.map(|field| Difference {
            path: field.path,
            wanted: "nothing".to_owned(),
            found: Some(field.wanted),
        }));
        if !fields.is_empty() {
            changed.push(Changed { object: name(manifest), fields, only: None });
        }
    }
    let gone = old.iter().filter(|manifest| find(new, manifest).is_none());
    changed.extend(gone.map(|manifest| Changed {
        object: name(manifest),
        fields: Vec::new(),
        only: Some("old"),
    }));
    changed
}

/// Writes the report as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let Report { release, rollout, revision, .. } = report;
    let outcome = report.outcome.map_or("running", Outcome::name);
    let _ = writeln!(out, "# {release}, rollout {rollout}: {outcome}\n");
    let _ = writeln!(out, "{}\n", escape(&report.verdict));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "- **{name}**: {value}");
    };
    row("Team", &report.team);
    let commit = match &revision.url {
        Some(url) => format!("[{}]({url})", revision.commit.short()),
        None => revision.commit.short().to_owned(),
    };
    row("Commit", &format!("{commit} by {}: {}", escape(&revision.author), escape(&revision.subject)));
    if let Some(image) = &report.image {
        row("Image", &format!("`{}@{}`", image.repository, image.digest));
    }
    row("Began", &time(report.started_at));
    if let Some(ended) = report.ended_at {
        row("Ended", &format!("{}, after {}", time(ended), rough(elapsed(report.started_at, ended))));
    }
    out.push_str("\n## Timeline\n\n");
    if report.timeline.is_empty() {
        out.push_str("The record does not keep it any more; the events on the topic do.\n");
    }
    for happened in &report.timeline {
        let after = rough(elapsed(report.started_at, happened.at));
        let _ = writeln!(
            out,
            "- {} (+{after}) **{}**: {}",
            happened.at.strftime("%H:%M:%S"),
            happened.kind,
            escape(&happened.sentence)
        );
    }
    out.push_str("\n## What it brought\n\n");
    for change in &report.changes.commits {
        let pull = change.pull_request.as_ref();
        let pull =
            pull.map(|pull| format!(" (#{} {})", pull.number, escape(&pull.title))).unwrap_or_default();
        let _ = writeln!(out, "- {} by {}{pull}", change.commit.short(), escape(&change.author));
    }
    changed(&mut out, &report.differences);
    out.trim_end().to_owned()
}

fn changed(out: &mut String, differences: &Differences) {
    let changed = match differences {
        Differences::Unknown(why) => {
            let _ = writeln!(out, "What differs in the objects is not known: {}.", escape(why));
            return;
        }
        Differences::Known(changed) => changed,
    };
    if changed.is_empty() {
        out.push_str("No object differs from the version before.\n");
    }
    for Changed { object, fields, only } in changed {
        let what = match only {
            Some("new") => ": new",
            Some(_) => ": gone",
            None => "",
        };
        let _ = writeln!(out, "- `{object}`{what}");
        for Difference { path, wanted, found } in fields {
            let found = found.as_deref().unwrap_or("nothing");
            let _ = writeln!(out, "  - `{path}`: {} → {}", escape(found), escape(wanted));
        }
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Makes a text of others harmless in Markdown: no markup, no links, no control characters.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{self as at, record};
    use super::*;
    use crate::model::object::{ObjectKey, Role};

    fn manifest(kind: &str, name: &str, body: serde_json::Value) -> Manifest {
        let key = ObjectKey {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: "web".into(),
            name: name.into(),
        };
        Manifest { key, role: Role::Shared, hash: crate::render::content_hash(&body), body }
    }

    #[test]
    fn a_report_tells_the_story_and_nothing_in_it_is_markup() {
        let mut status = at::not_again("held", 1, None);
        status["history"]["7"]["log"] = json!([
            {"at": "2026-01-01T11:50:00Z", "kind": "ChangeSeen", "sentence": "commit bbbbbbbbbb by Ann: <b>new</b> [x](http://e)"},
            {"at": "2026-01-01T11:55:00Z", "kind": "GateFailed", "sentence": "error_rate fail: too many requests fail"},
        ]);
        let mut report = report("hello.production", &record(&status), 7).unwrap();
        let container = |image: &str| json!({"kind": "Deployment", "spec": {"containers": [{"name": "app", "image": image}]}});
        report.differences = Differences::Known(compare(
            &[manifest("Deployment", "hello", container("b")), manifest("ConfigMap", "files-2", json!({}))],
            &[manifest("Deployment", "hello", container("a")), manifest("ConfigMap", "files-1", json!({}))],
        ));
        insta::assert_snapshot!(markdown(&report), @r#"
        # hello.production, rollout 7: RolledBack

        error\_rate fail: too many requests fail

        - **Team**: web
        - **Commit**: bbbbbbbbbb by Ann: new
        - **Began**: 2026-01-01 11:50:00 UTC
        - **Ended**: 2026-01-01 11:58:00 UTC, after 8m

        ## Timeline

        - 11:50:00 (+0s) **ChangeSeen**: commit bbbbbbbbbb by Ann: &lt;b>new&lt;/b> \[x\](http://e)
        - 11:55:00 (+5m) **GateFailed**: error\_rate fail: too many requests fail

        ## What it brought

        - `Deployment/hello`
          - `spec.containers[app].image`: "a" → "b"
        - `ConfigMap/files-2`: new
        - `ConfigMap/files-1`: gone
        "#);
        assert!(super::report("hello.production", &record(&status), 3).is_none());
    }

    #[test]
    fn the_version_before_is_the_last_one_that_was_stable() {
        let status = at::not_again("held", 1, None);
        assert_eq!(before(&record(&status), 7), Some(6));
        assert_eq!(before(&record(&status), 6), None);
    }
}
