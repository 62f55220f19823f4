//! `idp pulls [SOURCE]`: the pull requests that the daemon keeps in the cluster, read from there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::Serialize;

use super::connect::Scope;
use super::output::Tone;
use super::table::{Cell, render};
use super::{CliError, Exit, Output, connect};
use crate::cluster::pulls::{ENTRY, KEEPS, PREFIX};
use crate::model::LABEL_KEEPS;
use crate::model::name::SourceName;
use crate::model::pull::{Pull, PullState, Pulls, Stance};

/// Documents in one page of a list: each may have almost a megabyte.
const PAGE: u32 = 10;
/// Digits of a commit that are shown.
const SHORT: usize = 10;

#[derive(Debug, Default, Serialize)]
struct All {
    sources: BTreeMap<String, Pulls>,
}

/// Prints the pull requests of a source, or of all.
pub async fn run(
    scope: &Scope,
    output: &Output,
    home: &str,
    source: Option<&SourceName>,
) -> Result<Exit, CliError> {
    let all = All { sources: read(&scope.client, home, source).await? };
    output.show(&all, |output| text(&all.sources, output.width, output.colour))?;
    Ok(Exit::Good)
}

async fn read(
    client: &Client,
    home: &str,
    source: Option<&SourceName>,
) -> Result<BTreeMap<String, Pulls>, CliError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), home);
    let mut params = ListParams::default().labels(&format!("{LABEL_KEEPS}={KEEPS}")).limit(PAGE);
    if let Some(source) = source {
        params = params.fields(&format!("metadata.name={PREFIX}{source}"));
    }
    let mut all = BTreeMap::new();
    loop {
        let page = connect::call("reading the pull requests", api.list(&params)).await?;
        for map in page.items {
            let Some(name) = map.metadata.name.as_deref().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            let document = map.data.as_ref().and_then(|data| data.get(ENTRY));
            all.insert(name.to_owned(), parse(name, document.map(String::as_str))?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn parse(source: &str, document: Option<&str>) -> Result<Pulls, CliError> {
    let unreadable = |error: serde_json::Error| CliError::Unreadable {
        what: format!("{ENTRY} of the ConfigMap {PREFIX}{source}"),
        message: error.to_string(),
    };
    document.map_or(Ok(Pulls::default()), |text| serde_json::from_str(text).map_err(unreadable))
}

/// Renders the pull requests for people: the open ones of a source first, the newest first.
fn text(sources: &BTreeMap<String, Pulls>, width: u16, colour: bool) -> String {
    let mut rows = Vec::new();
    for (source, pulls) in sources {
        let mut pulls: Vec<(&u64, &Pull)> = pulls.pulls.iter().collect();
        pulls.sort_by_key(|(number, pull)| (pull.state != PullState::Open, std::cmp::Reverse(**number)));
        rows.extend(pulls.into_iter().map(|(number, pull)| row(source, *number, pull)));
    }
    if rows.is_empty() {
        return "no pull requests are known: a source learns of them by its webhook alone".to_owned();
    }
    let header = ["SOURCE", "NUMBER", "STATE", "INTO", "FROM", "COMMIT", "APPROVED BY", "LABELS", "TITLE"];
    render(&header, rows, width, colour)
}

fn row(source: &str, number: u64, pull: &Pull) -> Vec<Cell> {
    let tone = match pull.state {
        PullState::Open => Tone::Good,
        PullState::Closed | PullState::Merged => Tone::Faint,
    };
    let commit: String = pull.commit.iter().flat_map(|commit| commit.chars()).take(SHORT).collect();
    vec![
        Cell::new(source),
        Cell::new(number.to_string()),
        Cell::new(pull.state.name()).tone(tone),
        Cell::new(&pull.base),
        Cell::new(pull.head.as_deref().unwrap_or_default()),
        Cell::new(commit),
        Cell::new(approvals(pull)),
        Cell::new(pull.labels.join(", ")),
        Cell::new(pull.title.as_deref().unwrap_or_default()),
    ]
}

fn approvals(pull: &Pull) -> String {
    let word = |(who, approval): (&String, &crate::model::pull::Approval)| match approval.stance {
        Stance::Approved if approval.stale => Some(format!("{who} (an older commit)")),
        Stance::Approved => Some(who.clone()),
        Stance::Rejected => Some(format!("not {who}")),
        Stance::Unapproved => None,
    };
    pull.approvals.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"schema":1,"pulls":{
        "6":{"state":"merged","state_at":"2026-01-01T12:00:00Z","updated_at":"2026-01-01T12:00:00Z","base":"main"},
        "7":{"state":"open","state_at":"2026-01-01T12:00:00Z","updated_at":"2026-01-01T12:00:00Z","title":"More\u001b",
            "base":"main","head":"topic","commit":"0123456789012345","labels":["preview"],"approvals":{
            "ann":{"stance":"approved","at":"2026-01-01T12:00:00Z","commit":"0123456789012345"},
            "bob":{"stance":"approved","at":"2026-01-01T12:00:00Z","commit":"00","stale":true},
            "cat":{"stance":"unapproved","at":"2026-01-01T12:00:00Z"},
            "dan":{"stance":"rejected","at":"2026-01-01T12:00:00Z"}}}}}"#;

    #[test]
    fn each_is_a_line_with_who_approves_of_its_commit() {
        let pulls = BTreeMap::from([("web".to_owned(), parse("web", Some(DOCUMENT)).unwrap())]);
        insta::assert_snapshot!(text(&pulls, 160, false), @r"
        SOURCE  NUMBER  STATE   INTO  FROM   COMMIT      APPROVED BY                          LABELS   TITLE
        web     7       open    main  topic  0123456789  ann, bob (an older commit), not dan  preview  More
        web     6       merged  main  -      -           -                                    -        -
        ");
        assert!(text(&BTreeMap::new(), 80, false).starts_with("no pull requests"));
    }

    #[test]
    fn nonsense_is_said() {
        let error = parse("web", Some("[")).unwrap_err().report();
        assert!(error.contains("pulls.json of the ConfigMap idp-pulls-web"), "{error}");
        assert_eq!(parse("web", None).unwrap(), Pulls::default());
    }
}
