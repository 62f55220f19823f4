//! Reading live objects: numbers, texts and conditions that may be absent, and what holds for every kind.

use jiff::Timestamp;
use serde_json::Value;

use super::Assessment;

/// Characters of a foreign message that are passed on.
const MESSAGE: usize = 200;

/// Returns a number, 0 where it is absent: the API omits zeros.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Returns a text, empty where it is absent.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a foreign message in one line, cut.
pub(super) fn message(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Returns `a: b`, or the one that is there.
pub(super) fn both(reason: &str, text: &str) -> String {
    match (message(reason), message(text)) {
        (reason, text) if text.is_empty() => reason,
        (reason, text) if reason.is_empty() => text,
        (reason, text) => format!("{reason}: {text}"),
    }
}

/// A condition of `status.conditions`.
pub(super) struct Condition<'a>(&'a Value);

impl Condition<'_> {
    pub(super) fn is(&self, status: &str) -> bool {
        text(self.0, "/status") == status
    }

    pub(super) fn reason(&self) -> &str {
        text(self.0, "/reason")
    }

    pub(super) fn says(&self) -> String {
        both(self.reason(), text(self.0, "/message"))
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        text(self.0, "/lastTransitionTime").parse().ok()
    }
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == kind).map(Condition)
}

pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// What holds for every kind before its own rules are asked: being deleted, not yet seen by its controller, or said so by the
/// conditions of kstatus.
pub(super) fn unsettled(object: &Value) -> Option<Assessment> {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Some(Assessment::progressing("is being deleted"));
    }
    let generation = number(object, "/metadata/generation");
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if let Some(observed) = observed.filter(|observed| *observed < generation) {
        return Some(Assessment::progressing(format!(
            "its controller has seen generation {observed} of {generation}"
        )));
    }
    if let Some(stalled) = condition(object, "Stalled").filter(|condition| condition.is("True")) {
        return Some(Assessment::degraded(both("stalled", &stalled.says())));
    }
    let reconciling = condition(object, "Reconciling").filter(|condition| condition.is("True"))?;
    Some(Assessment::progressing(both("reconciling", &reconciling.says())))
}

/// Deployments and ReplicaSets always have `observedGeneration` once their controller has seen them at all.
pub(super) fn unseen(object: &Value) -> Option<Assessment> {
    let observed = number(object, "/status/observedGeneration");
    (observed == 0 && number(object, "/metadata/generation") > 0)
        .then(|| Assessment::progressing("its controller has not seen it yet"))
}
