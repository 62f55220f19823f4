//! Label and field selectors, as list, watch and controllers use them.

use serde_json::Value;

use super::{super::json, error::ApiError, kinds::KindSpec};

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// Requirements on labels, all of which must hold. The default holds for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads the text form: `a=b,c!=d,e in (f,g),!h,i`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        split_outside_parentheses(text)
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads `metav1.LabelSelector`; a missing or empty one holds for everything.
    pub(crate) fn from_object(selector: &Value) -> Self {
        let mut out: Vec<Requirement> = json::pairs(selector, &["matchLabels"])
            .map(|(key, value)| Requirement::In(key.to_owned(), vec![value.to_owned()]))
            .collect();
        for one in json::list(selector, &["matchExpressions"]) {
            let key = json::text(one, &["key"]).to_owned();
            let values: Vec<String> =
                json::list(one, &["values"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            out.push(match json::text(one, &["operator"]) {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Missing(key),
            });
        }
        Self(out)
    }

    /// Whether the labels of `object` satisfy every requirement.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| json::text_opt(object, &["metadata", "labels", key]);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|v| values.iter().any(|one| one == v)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|one| one != v)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, ApiError> {
    let unreadable = || ApiError::bad_request(format!("unable to parse requirement: {part}"));
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((key, value)) = part.split_once("!=") {
        let (key, values) = one(key, value);
        return Ok(Requirement::NotIn(key, values));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let (key, values) = one(key, value);
        return Ok(Requirement::In(key, values));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Missing(key.trim().to_owned()));
    }
    if let Some((head, list)) = part.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(unreadable)?;
        let values = list.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next()) {
            (Some(key), Some("in")) => Ok(Requirement::In(key.to_owned(), values)),
            (Some(key), Some("notin")) => Ok(Requirement::NotIn(key.to_owned(), values)),
            _ => Err(unreadable()),
        };
    }
    if part.contains(char::is_whitespace) {
        return Err(unreadable());
    }
    Ok(Requirement::Exists(part.to_owned()))
}

/// Requirements on fields, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(String, String, bool)>);

/// Fields beside `metadata.name` and `metadata.namespace` that can be selected by, a kind.
const SELECTABLE: &[(&str, &[&str])] = &[
    (
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ],
    ),
    (
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    ("Namespace", &["status.phase"]),
    ("Secret", &["type"]),
    ("Node", &["spec.unschedulable"]),
    ("ReplicaSet", &["status.replicas"]),
    ("Service", &["spec.clusterIP", "spec.type"]),
];

impl FieldSelector {
    /// Reads `a=b,c!=d`, refusing the fields that the kind cannot be selected by.
    pub(crate) fn parse(kind: &KindSpec, text: &str) -> Result<Self, ApiError> {
        let mut out = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value, equal) = if let Some((key, value)) = part.split_once("!=") {
                (key, value, false)
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (key, value, true)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let known = matches!(key, "metadata.name" | "metadata.namespace")
                || SELECTABLE.iter().any(|(name, fields)| *name == kind.kind && fields.contains(&key));
            if !known {
                return Err(ApiError::bad_request(format!("field label not supported: {key}")));
            }
            out.push((key.to_owned(), value.to_owned(), equal));
        }
        Ok(Self(out))
    }

    /// Whether the fields of `object` satisfy every requirement. A missing field reads as the empty string.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(key, wanted, equal)| {
            let path: Vec<&str> = key.split('.').collect();
            let found = match json::at(object, &path) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equal
        })
    }

    /// The single name that is asked for, if there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _, equal)| key == "metadata.name" && *equal)
            .map(|(_, value, _)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn set_based_requirements() {
        let pod = json!({"metadata": {"labels": {"app": "web", "track": "canary"}}});
        for (text, holds) in [
            ("app=web", true),
            ("app==web,track in (stable, canary)", true),
            ("track notin (canary)", false),
            ("!missing,app", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&pod), holds, "{text}");
        }
        assert!(LabelSelector::parse("a b c").is_err());
    }
}
