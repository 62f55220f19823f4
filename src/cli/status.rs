//! `idp status [RELEASE]`: the fleet as a table, or one release on one screen.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use serde::Serialize;

use super::connect::Scope;
use super::fleet::{Row, tone};
use super::screen::{self, Screen};
use super::sources::{self, SourceView};
use super::table::{Cell, render};
use super::{CliError, Exit, Output, connect};
use crate::model::duration;

#[derive(Serialize)]
struct Fleet {
    releases: Vec<Row>,
    sources: Vec<SourceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Prints the fleet and what is wrong with the sources.
pub async fn fleet(scope: &Scope, output: &Output, home: &str) -> Result<Exit, CliError> {
    let releases = connect::releases(scope, ListParams::default()).await?;
    let (sources, note) = sources::all(&scope.client, home).await;
    let now = super::now();
    let fleet = Fleet { releases: releases.iter().map(|view| view.row(now)).collect(), sources, note };
    output.show(&fleet, |output| {
        let table = table(&fleet.releases, output.width, output.colour);
        let ill = sources::text(&fleet.sources, fleet.note.as_deref(), output.colour);
        if ill.is_empty() { table } else { format!("{table}\n\n{ill}") }
    })?;
    Ok(Exit::Good)
}

/// Prints one release.
pub async fn one(scope: &Scope, output: &Output, asked: &str) -> Result<Exit, CliError> {
    let view = connect::find(scope, asked).await?;
    let parts = screen::parts(&scope.client, &view).await;
    let now: Timestamp = super::now();
    let screen = Screen::new(&view, parts, now);
    output.show(&screen, |output| screen::text(&screen, &view, now, output.width, output.colour))?;
    Ok(Exit::Good)
}

/// Renders the fleet's table; a narrow one leaves columns out.
pub fn table(rows: &[Row], width: u16, colour: bool) -> String {
    if rows.is_empty() {
        return "no releases yet: the daemon makes one for every service that a source declares".to_owned();
    }
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| width >= column.from_width).collect();
    let header: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let line = |row: &Row| columns.iter().map(|column| (column.cell)(row)).collect();
    render(&header, rows.iter().map(line).collect(), width, colour)
}

struct Column {
    title: &'static str,
    /// A narrower terminal has more use for the message.
    from_width: u16,
    cell: fn(&Row) -> Cell,
}

const COLUMNS: [Column; 9] = [
    Column { title: "RELEASE", from_width: 0, cell: |row| Cell::new(&row.release) },
    Column { title: "PHASE", from_width: 0, cell: |row| word(&row.phase) },
    Column { title: "WEIGHT", from_width: 0, cell: weight },
    Column { title: "REVISION", from_width: 100, cell: |row| Cell::new(&row.revision) },
    Column { title: "IMAGE", from_width: 140, cell: |row| Cell::new(&row.image) },
    Column { title: "SYNC", from_width: 0, cell: |row| word(&row.sync) },
    Column { title: "HEALTH", from_width: 0, cell: |row| word(&row.health) },
    Column { title: "AGE", from_width: 100, cell: age },
    Column { title: "MESSAGE", from_width: 0, cell: |row| Cell::new(&row.message) },
];

fn word(text: &str) -> Cell {
    match tone(text) {
        Some(tone) => Cell::new(text).tone(tone),
        None => Cell::new(text),
    }
}

fn weight(row: &Row) -> Cell {
    match (row.weight, row.real_weight) {
        (Some(asked), Some(real)) => Cell::new(format!("{asked}/{real}%")),
        _ => Cell::new(""),
    }
}

fn age(row: &Row) -> Cell {
    Cell::new(row.age_seconds.map(|s| duration::rough(Duration::from_secs(s))).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{self as at, noon, view};
    use super::*;

    fn rendered(statuses: &[Value], width: u16) -> String {
        let rows: Vec<Row> = statuses.iter().map(|status| view(status).row(noon())).collect();
        table(&rows, width, false)
    }

    #[test]
    fn every_phase_has_its_line() {
        let mut invalid = at::stable();
        (invalid["sync"], invalid["message"]) = (json!("Invalid"), json!("line 3: unknown key"));
        let mut failed = at::not_again("parked", 1, None);
        failed.as_object_mut().unwrap().remove("stable");
        (failed["phase"], failed["health"]) = (json!("Failed"), json!("Degraded"));
        let all = [
            at::stable(),
            at::waiting_for_image(),
            at::unknown_gate(),
            at::rolling("Baking"),
            at::going_back(),
            at::not_again("held", 1, None),
            failed,
            invalid,
        ];
        insta::assert_snapshot!(rendered(&all, 140), @r#"
    RELEASE           PHASE        WEIGHT  REVISION    IMAGE          SYNC       HEALTH       AGE  MESSAGE
    hello.production  Stable       -       aaaaaaaaaa  hello:aaaaaaa  Synced     Healthy      1d   all is as declared
    hello.production  Preparing    0/0%    aaaaaaaaaa  hello:aaaaaaa  OutOfSync  Progressing  1d   rollout #7 (bbbbbbbbbb) waits for its image:…
    hello.production  Progressing  10/25%  aaaaaaaaaa  hello:aaaaaaa  OutOfSync  Progressing  1d   rollout #7 (bbbbbbbbbb) is at step 1 of 3 (a…
    hello.production  Baking       10/25%  aaaaaaaaaa  hello:aaaaaaa  OutOfSync  Progressing  1d   rollout #7 (bbbbbbbbbb) has all pods and is …
    hello.production  RollingBack  0/25%   aaaaaaaaaa  hello:aaaaaaa  OutOfSync  Progressing  1d   rollout #7 (bbbbbbbbbb) is being taken back …
    hello.production  Stable       -       aaaaaaaaaa  hello:aaaaaaa  OutOfSync  Healthy      1d   bbbbbbbbbb is held and does not start again,…
    hello.production  Failed       -       aaaaaaaaaa  -              OutOfSync  Degraded     1d   bbbbbbbbbb is parked, because nothing was pr…
    hello.production  Stable       -       aaaaaaaaaa  hello:aaaaaaa  Invalid    Healthy      1d   line 3: unknown key
"#);
    }

    #[test]
    fn an_unreadable_record_is_a_line_and_no_error() {
        let newer = json!({"schema": 7, "phase": "Stable"});
        let broken = json!({"schema": 1, "phase": "Levitating", "health": "Splendid", "revision": "abc"});
        insta::assert_snapshot!(rendered(&[json!(null), newer, broken, at::stable()], 120), @r#"
    RELEASE           PHASE       WEIGHT  REVISION    SYNC    HEALTH    AGE  MESSAGE
    hello.production  -           -       -           -       -         1d   no record yet: the daemon has not looked at it
    hello.production  Stable      -       -           -       -         1d   its record cannot be read here: schema 7 of a …
    hello.production  Levitating  -       abc         -       Splendid  1d   its record cannot be read here: unknown varian…
    hello.production  Stable      -       aaaaaaaaaa  Synced  Healthy   1d   all is as declared
"#);
        assert!(rendered(&[], 80).starts_with("no releases yet"));
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        let mut long = at::stable();
        long["message"] = json!("word ".repeat(200));
        for width in [80, 100, 140] {
            let widest = rendered(&[long.clone()], width).lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(usize::from(width)), "{widest:?}");
        }
    }
}
