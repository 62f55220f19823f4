//! What of a repository is followed: a branch, the highest tag in a range of versions, or one commit.

use std::fmt;

use semver::{Version, VersionReq};

use super::node::{Node, Value};
use super::reader::Section;
use crate::model::change::CommitId;

/// What of a repository is followed. Its `Display` is its name: two that are equal have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// A branch, without `refs/heads/`.
    Branch(String),
    /// The tag with the highest version in a range.
    Tags(TagRange),
    /// One commit; it never moves.
    Commit(CommitId),
}

impl Follow {
    /// Returns the branch, where it is one.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch(name) => Some(name),
            Self::Tags(_) | Self::Commit(_) => None,
        }
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => f.write_str(name),
            Self::Tags(range) => range.fmt(f),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// Tags of one form whose version is in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRange {
    prefix: String,
    suffix: String,
    written: String,
    any: Vec<VersionReq>,
}

impl fmt::Display for TagRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tags {} {}", self.pattern(), self.written)
    }
}

impl TagRange {
    /// Returns what stands before the version in each of the tags; a `v` may follow.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the form of the tags, with `*` where the version stands.
    pub fn pattern(&self) -> String {
        format!("{}*{}", self.prefix, self.suffix)
    }

    /// Returns the version of a tag of this form, whether it is in the range or not: three numbers, as Semantic Versioning 2.0.0
    /// has it, with an optional `v` in front.
    pub fn version(&self, tag: &str) -> Option<Version> {
        let version = tag.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?;
        Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()
    }

    /// Tells whether a version is in the range. A pre-release is only where the range names one of the same three numbers.
    pub fn contains(&self, version: &Version) -> bool {
        self.any.iter().any(|range| range.matches(version))
    }

    /// Picks the tag with the highest version in the range; of equal ones the name that sorts last.
    pub fn highest<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let versions = tags.into_iter().filter_map(|tag| Some((self.version(tag)?, tag)));
        versions.filter(|(version, _)| self.contains(version)).max().map(|(_, tag)| tag)
    }
}

/// Reads a field that is the name of a branch or a map that says what is followed.
pub(super) fn follow(section: &mut Section<'_>, name: &'static str) -> Option<Follow> {
    if !matches!(section.node(name), Some(Node { value: Value::Map(_), .. })) {
        return section.parsed(name, branch).map(|found| Follow::Branch(found.value));
    }
    let mut inner = section.section(name)?;
    let given = ["branch", "semver", "commit"].map(|field| inner.node(field).is_some());
    let at = inner.node("tags").map(|node| node.at);
    match given.into_iter().filter(|given| *given).count() {
        0 => inner.missing("branch", "or write semver: \">=1.2 <2\" for tags, or commit: ID"),
        1 => {}
        _ => inner.problem(inner.at, "branch", "branch, semver and commit exclude one another: keep one"),
    }
    if let Some(at) = at.filter(|_| inner.node("semver").is_none()) {
        inner.problem(at, "tags", "which of these tags? Write semver as well, for example semver: \"*\"");
    }
    let branch = inner.parsed("branch", branch).map(|found| Follow::Branch(found.value));
    let pattern = inner.parsed("tags", pattern).map(|found| found.value);
    let range = inner.parsed("semver", |text| range(text).map(|any| (text.trim().to_owned(), any)));
    let commit = inner.parsed("commit", str::parse::<CommitId>).map(|found| Follow::Commit(found.value));
    inner.finish();
    let tags = range.map(|found| {
        let ((written, any), (prefix, suffix)) = (found.value, pattern.unwrap_or_default());
        Follow::Tags(TagRange { prefix, suffix, written, any })
    });
    branch.or(tags).or(commit)
}

/// Checks the name of a branch as Git does and returns it without `refs/heads/`.
pub(super) fn branch(text: &str) -> Result<String, String> {
    let short = text.strip_prefix("refs/heads/").unwrap_or(text);
    if text.starts_with("refs/") && !text.starts_with("refs/heads/") {
        return Err(format!("{text:?} is not a branch: for tags write ref: {{semver: \"=1.2.3\"}}"));
    }
    if is_ref(&format!("refs/heads/{short}")) && !short.starts_with('-') {
        return Ok(short.to_owned());
    }
    Err(format!("{text:?} is not the name of a branch"))
}

fn is_ref(full: &str) -> bool {
    gix::refs::FullName::try_from(full).is_ok()
}

/// Splits the form of tags at its one `*`.
fn pattern(text: &str) -> Result<(String, String), String> {
    let short = text.strip_prefix("refs/tags/").unwrap_or(text);
    match short.split_once('*') {
        Some((prefix, suffix)) if is_ref(&format!("refs/tags/{prefix}1.2.3{suffix}")) => {
            Ok((prefix.to_owned(), suffix.to_owned()))
        }
        _ => Err(format!(
            "{text:?} is not a form of tags: one '*' stands where the version is, as in \"payments/v*\""
        )),
    }
}

/// Parses a range: comparisons that all hold, with blanks or commas between them; `||` between alternatives.
fn range(text: &str) -> Result<Vec<VersionReq>, String> {
    let bad =
        |why: &str| format!("{text:?} is not a range of versions ({why}): write for example \">=1.2 <2\"");
    let alternative = |part: &str| {
        let mut comparisons: Vec<String> = Vec::new();
        let mut operator = String::new();
        for word in part.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            if word.chars().all(|c| "<>=~^".contains(c)) {
                operator.push_str(word);
                continue;
            }
            let plain = operator.is_empty() && word.starts_with(|c: char| c.is_ascii_digit());
            // A version alone is that version, as in every language of ranges but Cargo's.
            let exact = plain && !word.contains(['*', 'x', 'X']);
            comparisons.push(format!("{}{operator}{word}", if exact { "=" } else { "" }));
            operator.clear();
        }
        comparisons.push(operator);
        comparisons.retain(|comparison| !comparison.is_empty());
        if comparisons.is_empty() {
            return Err(bad("it is empty"));
        }
        VersionReq::parse(&comparisons.join(", ")).map_err(|error| bad(&error.to_string()))
    };
    text.split("||").map(alternative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(form: &str, written: &str) -> TagRange {
        let (prefix, suffix) = pattern(form).unwrap();
        TagRange { prefix, suffix, written: written.to_owned(), any: range(written).unwrap() }
    }

    #[test]
    fn ranges_mean_what_users_of_other_tools_expect() {
        for (written, inside, outside) in [
            (">=1.2 <2", &["1.2.0", "1.99.7"][..], &["1.1.9", "2.0.0", "1.3.0-rc.1", "2.0.0-rc.1"][..]),
            (">= 1.2, < 2", &["1.2.0"], &["2.0.0"]),
            ("^1.2", &["1.2.0", "1.9.0"], &["2.0.0", "1.1.0"]),
            ("~1.2", &["1.2.9"], &["1.3.0"]),
            ("1.x", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0"]),
            ("1.2", &["1.2.0", "1.2.7"], &["1.3.0", "1.1.0"]),
            ("1.2.3", &["1.2.3", "1.2.3+build.7"], &["1.2.4", "1.2.3-rc.1"]),
            ("=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("*", &["0.0.1", "99.0.0"], &["1.0.0-alpha"]),
            (">=1.3.0-rc.1 <2", &["1.3.0-rc.2", "1.3.0", "1.4.0"], &["1.4.0-rc.1", "1.3.0-beta"]),
            ("1.2.x || >=3", &["1.2.9", "3.0.0"], &["2.0.0"]),
        ] {
            let range = tags("*", written);
            for version in inside {
                assert!(range.contains(&version.parse().unwrap()), "{version} is in {written}");
            }
            for version in outside {
                assert!(!range.contains(&version.parse().unwrap()), "{version} is not in {written}");
            }
        }
    }

    #[test]
    fn the_highest_tag_of_the_form_wins() {
        for (form, written, listed, highest) in [
            ("*", "*", &["v1.9.0", "v1.10.0", "v1.10", "v2", "main"][..], Some("v1.10.0")),
            ("*", "*", &["1.0.0", "v1.0.0", "x1.0.1", "V9.0.0"], Some("v1.0.0")),
            ("*", "<2", &["v1.0.0", "v2.0.0", "v1.5.0-rc.1"], Some("v1.0.0")),
            ("*", "*", &["v1.0.0-rc.1", "v01.0.0", "vv1.0.0", ""], None),
            ("payments/v*", "*", &["v3.0.0", "payments/v1.0.0", "payments/1.5.0"], Some("payments/v1.0.0")),
            ("payments/*", "*", &["payments/v1.0.0", "payments/1.5.0", "a/v2.0.0"], Some("payments/1.5.0")),
            ("v*-linux", "*", &["v1.0.0-linux", "v2.0.0"], Some("v1.0.0-linux")),
            ("*", "*", &["1.0.0+a", "1.0.0+b"], Some("1.0.0+b")),
        ] {
            assert_eq!(tags(form, written).highest(listed.iter().copied()), highest, "{form} {written}");
        }
    }
}
