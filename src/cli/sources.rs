//! What the daemon says of its sources: one ConfigMap `idp-source-<name>` each in the home namespace, with a JSON document under the
//! key `status` or `status.json`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::output::{Tone, clean, paint};
use super::{CliError, connect};
use crate::cluster::{pulls, suspensions};
use crate::model::LABEL_KEEPS;
use crate::model::desired::SourceProblem;
use crate::model::suspension::Suspended;

/// What the names of these ConfigMaps begin with.
pub const PREFIX: &str = "idp-source-";
/// The keys that the document may have.
pub const KEYS: [&str; 2] = ["status", "status.json"];
/// Problems of one source that are printed.
const SHOWN: usize = 10;

/// A source as the daemon last saw it. Fields that are not there are not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    /// Its name, from the ConfigMap's.
    #[serde(default)]
    pub name: String,
    /// The commit that was last looked at.
    #[serde(default, alias = "last_id", alias = "revision", skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why the last look failed.
    #[serde(default, alias = "last_error", skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is wrong with it or its files.
    #[serde(default)]
    pub problems: Vec<SourceProblem>,
    /// Who suspended it, if it is, by command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
}

impl SourceView {
    /// Tells whether anything is wrong with it.
    pub fn ill(&self) -> bool {
        self.error.is_some() || !self.problems.is_empty()
    }
}

/// Reads one ConfigMap; `None` if it is not a source's.
pub fn read(name: &str, document: Option<&str>) -> Option<SourceView> {
    let source = name.strip_prefix(PREFIX)?;
    let mut view = match document.map(serde_json::from_str::<SourceView>) {
        None => SourceView::default(),
        Some(Ok(view)) => view,
        Some(Err(error)) => {
            SourceView { error: Some(format!("its status cannot be read: {error}")), ..SourceView::default() }
        }
    };
    source.clone_into(&mut view.name);
    Some(view)
}

/// Reads all sources. A home namespace that is not there or not ours to read is one sentence, not an error of the fleet.
pub async fn all(client: &Client, home: &str) -> (Vec<SourceView>, Option<String>) {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), home);
    // Pull requests are many, and none are shown.
    let params = ListParams::default().labels(&format!("{LABEL_KEEPS}!={}", pulls::KEEPS));
    match connect::call("reading the sources", api.list(&params)).await {
        Ok(list) => {
            let view = |map: &ConfigMap| {
                let document = map.data.as_ref().and_then(|data| KEYS.iter().find_map(|key| data.get(*key)));
                read(map.metadata.name.as_deref().unwrap_or_default(), document.map(String::as_str))
            };
            let mut views: Vec<SourceView> = list.items.iter().filter_map(view).collect();
            for (name, suspended) in list.items.iter().filter_map(suspension) {
                match views.iter_mut().find(|view| view.name == name) {
                    Some(view) => view.suspended = Some(suspended),
                    None => {
                        views.push(SourceView { name, suspended: Some(suspended), ..SourceView::default() });
                    }
                }
            }
            (views, None)
        }
        Err(CliError::Answered { code: 404, .. }) => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(format!("the sources in {home} could not be read: {error}"))),
    }
}

fn suspension(map: &ConfigMap) -> Option<(String, Suspended)> {
    let name = map.metadata.name.as_deref()?.strip_prefix(suspensions::PREFIX)?;
    let asked = serde_json::from_str(map.data.as_ref()?.get(suspensions::ENTRY)?).ok()?;
    Some((name.to_owned(), Suspended::by(&asked)?))
}

/// The line over what is wrong with a source.
pub fn heading(name: &str, colour: bool) -> String {
    format!("{} {}", paint("source", Tone::Bad, colour), clean(name))
}

/// Renders problems of a source, a line each, and how many of `all` are not among them.
pub fn listed(problems: &[SourceProblem], all: usize) -> Vec<String> {
    let line = |problem: &SourceProblem| {
        let path = problem.path.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
        format!("  {}{}", clean(&path), clean(&problem.message))
    };
    let mut lines: Vec<String> = problems.iter().map(line).collect();
    let more = all.saturating_sub(problems.len());
    lines.extend((more > 0).then(|| format!("  and {more} more")));
    lines
}

/// Renders what is wrong with the sources; empty if all is well.
pub fn text(sources: &[SourceView], trouble: Option<&str>, colour: bool) -> String {
    let mut lines = Vec::new();
    for source in sources.iter().filter(|source| source.ill()) {
        lines.push(heading(&source.name, colour));
        lines.extend(source.error.iter().map(|error| format!("  {}", clean(error))));
        let shown = source.problems.get(..SHOWN).unwrap_or(&source.problems);
        lines.extend(listed(shown, source.problems.len()));
    }
    let suspended = sources.iter().filter_map(|source| Some((&source.name, source.suspended.as_ref()?)));
    lines.extend(suspended.map(|(name, by)| {
        format!(
            "{} source {} is {}",
            paint("note", Tone::Busy, colour),
            clean(name),
            clean(&by.sentence(name))
        )
    }));
    lines.extend(trouble.map(|text| format!("{} {}", paint("note", Tone::Busy, colour), clean(text))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_shows_what_is_wrong_with_it() {
        let document = r#"{"last_id": "abc", "more": 1, "problems":
            [{"path": "a/.idp/deploy.yaml", "commit": null, "message": "line 1: no service"}]}"#;
        let ill = read("idp-source-shop", Some(document)).unwrap();
        assert_eq!((ill.name.as_str(), ill.commit.as_deref()), ("shop", Some("abc")));
        let well = read("idp-source-other", Some("{}")).unwrap();
        assert!(!well.ill());
        assert_eq!(text(&[ill, well], None, false), "source shop\n  a/.idp/deploy.yaml: line 1: no service");
    }

    #[test]
    fn a_suspended_source_is_a_note() {
        let asked = r#"{"suspended":true,"who":"ann","why":"audit","at":"2026-01-01T12:00:00Z"}"#;
        let map = |name: &str, text: &str| {
            serde_json::from_value::<ConfigMap>(
                serde_json::json!({"metadata": {"name": name}, "data": {"suspension.json": text}}),
            )
            .unwrap()
        };
        let (name, suspended) = suspension(&map("idp-suspension-web", asked)).unwrap();
        let view = SourceView { name, suspended: Some(suspended), ..SourceView::default() };
        assert!(!view.ill());
        assert_eq!(
            text(&[view], None, false),
            "note source web is suspended by ann: audit; idp sources resume web resumes it"
        );
        assert_eq!(suspension(&map("idp-suspension-web", &asked.replace("true", "false"))), None);
        assert_eq!(suspension(&map("idp-suspension-web", "?")), None);
        assert_eq!(suspension(&map("other", asked)), None);
    }

    #[test]
    fn absence_and_nonsense_are_survived() {
        assert_eq!(read("something-else", None), None);
        assert!(!read("idp-source-a", None).unwrap().ill());
        assert!(read("idp-source-a", Some("[")).unwrap().error.unwrap().contains("cannot be read"));
        assert_eq!(text(&[], Some("no rights"), false), "note no rights");
    }
}
