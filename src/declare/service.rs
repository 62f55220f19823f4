//! Reads `service`: who it is, whose it is, what belongs to it, and what its objects say about it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::diagnostic::Code;
use super::section::{At, Complaint, Section, cut};
use super::tree::Value;
use crate::model::declaration::{Lifecycle, ServiceInfo, Tier};

/// What makes a new version of a service, as globs from the repository's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The folder that holds `.idp`, empty for the root: everything below it counts.
    pub folder: String,
    /// What counts beside it.
    pub paths: Vec<String>,
    /// What does not count: `.idp/**` of the folder, `**/*.md`, and what the file ignores.
    pub ignore: Vec<String>,
}

/// Reads everything of `service` but its sections that belong to `deploy`. `None` if name or team are missing or wrong.
pub(super) fn service(section: &Section<'_>) -> Option<ServiceInfo> {
    let name = name_of(section, "name", "write for example name: payments-api");
    let team = name_of(section, "team", "write for example team: payments");
    section.choice("type", &[("service", ()), ("job", ()), ("cron", ())], &["worker", "static"]);
    let lifecycles = [Lifecycle::Experimental, Lifecycle::Production, Lifecycle::Deprecated];
    let lifecycle = section.choice("lifecycle", &lifecycles.map(|value| (value.name(), value)), &[]);
    let tiers = [Tier::Critical, Tier::Standard, Tier::BestEffort];
    let tier = section.choice("tier", &tiers.map(|value| (value.name(), value)), &[]);
    let mut labels = own(section, "labels", label_value);
    if let Some(system) = section.parsed("system", label_value) {
        labels.insert("app.kubernetes.io/part-of".to_owned(), system.value);
    }
    let mut annotations = own(section, "annotations", |text| Ok(text.to_owned()));
    annotations.extend(told(section));
    Some(ServiceInfo {
        name: name?,
        team: team?,
        lifecycle: lifecycle.unwrap_or(Lifecycle::Production),
        tier: tier.unwrap_or(Tier::Standard),
        labels,
        annotations,
    })
}

fn name_of<T: FromStr<Err: fmt::Display>>(section: &Section<'_>, key: &str, fix: &str) -> Option<T> {
    if section.node(key).is_none() {
        section.missing(key, fix);
        return None;
    }
    let parse = |text: &str| {
        text.parse::<T>().map_err(|error| Complaint(Code::Name, error.to_string(), fix.to_owned()))
    };
    section.parsed(key, parse).map(|found| found.value)
}

/// What the file tells people about the service: annotations, since they are free text.
fn told(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    if let Some(found) = section.text("description") {
        told.insert("idp.dev/description".to_owned(), found.value.to_owned());
    }
    if let Some(found) = section.parsed("runbook", address) {
        told.insert("idp.dev/runbook".to_owned(), found.value);
    }
    let links: Vec<String> = links(section);
    if !links.is_empty() {
        told.insert("idp.dev/links".to_owned(), links.join("\n"));
    }
    told
}

/// Reads `links`, each as one line: its title, if any, and its address.
fn links(section: &Section<'_>) -> Vec<String> {
    let path = section.full("links");
    let line = |node| {
        if let Some(Value::Map(_)) = Some(node).map(|node: &super::tree::Node| &node.value) {
            let link = section.inner(node, path.clone());
            let url = link.parsed("url", address);
            if link.node("url").is_none() {
                link.missing("url", "write url: https://…");
            }
            let title = link.text("title").map(|found| format!("{} ", found.value));
            return Some(format!("{}{}", title.unwrap_or_default(), url?.value));
        }
        let At { value, at } = section.scalar(node, &path)?;
        section.accept(&path, at, address(value))
    };
    section.list("links").unwrap_or_default().iter().filter_map(line).collect()
}

fn address(text: &str) -> Result<String, Complaint> {
    let good = text.starts_with("https://") || text.starts_with("http://");
    if good && text.len() <= 2_000 && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(text.to_owned());
    }
    let what = format!("{:?} is not an address of http or https", cut(text));
    Err(Complaint(Code::Value, what, "write for example https://runbooks.example.com/my-service".into()))
}

/// Reads labels or annotations of the team's own.
fn own(
    section: &Section<'_>,
    key: &str,
    check: impl Fn(&str) -> Result<String, Complaint>,
) -> BTreeMap<String, String> {
    let path = section.full(key);
    let mut own = BTreeMap::new();
    for (entry, found) in section.texts(key) {
        let name = section.accept(&path, entry.at, own_key(&entry.key));
        let value = section.accept(&format!("{path}.{}", cut(&entry.key)), found.at, check(found.value));
        if let (Some(name), Some(value)) = (name, value) {
            own.insert(name, value);
        }
    }
    own
}

/// Checks the key of a label or annotation as Kubernetes does, and that it is not one of the platform's.
fn own_key(key: &str) -> Result<String, Complaint> {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let domain = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|part| {
                !part.is_empty()
                    && !part.starts_with('-')
                    && !part.ends_with('-')
                    && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    };
    let ours = ["idp.dev", "kubernetes.io", "k8s.io"];
    if ours.iter().any(|domain| prefix == *domain || prefix.ends_with(&format!(".{domain}"))) {
        let what = format!("{:?} is set by the platform", cut(key));
        return Err(Complaint(
            Code::Platform,
            what,
            "use a prefix of your own, as in example.com/name".into(),
        ));
    }
    if !name.is_empty() && is_label_word(name) && (!key.contains('/') || domain(prefix)) {
        return Ok(key.to_owned());
    }
    let what = format!("{:?} is not the key of a label", cut(key));
    let fix =
        "write at most 63 letters, digits, '-', '_' and '.', with a domain and '/' before them if you like";
    Err(Complaint(Code::Name, what, fix.into()))
}

fn is_label_word(text: &str) -> bool {
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn label_value(text: &str) -> Result<String, Complaint> {
    if text.is_empty() || is_label_word(text) {
        return Ok(text.to_owned());
    }
    let what = format!("{:?} cannot be the value of a label", cut(text));
    let fix = "write at most 63 letters, digits, '-', '_' and '.'; free text belongs in annotations";
    Err(Complaint(Code::Limit, what, fix.into()))
}

/// Reads `paths` and `ignore`, for the file at `path`.
pub(super) fn watched(section: &Section<'_>, path: &str) -> Watched {
    let folder = folder(path);
    let own = if folder.is_empty() { ".idp/**".to_owned() } else { format!("{folder}/.idp/**") };
    let mut ignore = vec![own, "**/*.md".to_owned()];
    ignore.extend(globs(section, "ignore", &folder));
    Watched { paths: globs(section, "paths", &folder), folder, ignore }
}

/// Returns the folder that holds `.idp`.
fn folder(path: &str) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    match parent.strip_suffix(".idp") {
        Some(folder) => folder.trim_end_matches('/').to_owned(),
        None => parent.to_owned(),
    }
}

fn globs(section: &Section<'_>, key: &str, folder: &str) -> Vec<String> {
    let path = section.full(key);
    let found = section.text_list(key).unwrap_or_default().into_iter();
    found.filter_map(|At { value, at }| section.accept(&path, at, glob(value, folder))).collect()
}

/// Returns a glob from the repository's root: one that begins with `./` or `../` is relative to the folder.
pub(super) fn glob(text: &str, folder: &str) -> Result<String, Complaint> {
    let complain = |why: &str, fix: &str| {
        let what = format!("{:?} is not a glob of a path: {why}", cut(text));
        Complaint(Code::Value, what, fix.into())
    };
    let bad = |why: &str| {
        complain(why, "write a path from the repository's root, as in libs/shared/**, or ../shared")
    };
    let mut above: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let mut parts = text.trim_end_matches('/').split('/').peekable();
    if matches!(parts.peek(), Some(&("." | ".."))) {
        while let Some(part) = parts.next_if(|part| matches!(*part, "." | "..")) {
            if part == ".." && above.pop().is_none() {
                return Err(complain(
                    "it leaves the repository",
                    "write fewer .., or a path from the repository's root",
                ));
            }
        }
    } else {
        above.clear();
    }
    above.extend(parts);
    let glob = above.join("/");
    if glob.is_empty() {
        return Err(complain(
            "it is the whole repository",
            "write **, if each commit shall be a new version",
        ));
    }
    if text.starts_with('/') || above.iter().any(|part| matches!(*part, "" | "." | "..")) || text.len() > 500
    {
        return Err(bad("no part of it is empty, and . and .. stand at its begin only"));
    }
    globset::Glob::new(&glob).map_err(|error| bad(&error.kind().to_string()))?;
    Ok(glob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_holds_the_hidden_one() {
        for (path, expected) in [
            (".idp/deploy.yaml", ""),
            ("services/api/.idp/deploy.yaml", "services/api"),
            ("deploy.yaml", ""),
            ("a/deploy.yaml", "a"),
        ] {
            assert_eq!(folder(path), expected, "{path}");
        }
    }

    #[test]
    fn a_glob_is_from_the_root_or_from_the_folder_that_its_dots_say() {
        for (folder, written, from_root) in [
            ("services/api", "libs/**", Some("libs/**")),
            ("services/api", "../../base", Some("base")),
            ("services/api", "../charts/", Some("services/charts")),
            ("services/api", "./proto/*.proto", Some("services/api/proto/*.proto")),
            ("services/api", ".././../x", Some("x")),
            ("services/api", "**", Some("**")),
            ("", "./x", Some("x")),
            ("services/api", "../../../base", None),
            ("", "../base", None),
            ("services/api", "../..", None),
            ("a", "", None),
            ("a", "/x", None),
            ("a", "x/../y", None),
            ("a", "../x/../y", None),
            ("a", "x//y", None),
            ("a", "[", None),
        ] {
            assert_eq!(glob(written, folder).ok().as_deref(), from_root, "{written} in {folder}");
        }
        let Err(Complaint(_, what, fix)) = glob("../../x", "a") else { panic!("it leaves the repository") };
        assert!(what.contains("leaves the repository") && fix.contains("fewer .."), "{what}: {fix}");
    }

    #[test]
    fn keys_of_labels_are_the_teams_own() {
        for good in ["a", "example.com/a", "cost_center", "A.b-c"] {
            assert!(own_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "idp.dev/x", "app.kubernetes.io/x", "a b", "-a", "a/b/c", &"a".repeat(64)]
        {
            assert!(own_key(bad).is_err(), "{bad}");
        }
    }
}
