//! What the server refuses of a CronJob. Source: `pkg/apis/batch/validation`.

use serde_json::{Value, json};

use super::super::json;
use super::error::FieldError;
use super::validate::containers;
use crate::model::schedule::Schedule;

/// Checks `new`.
pub(super) fn check(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = |name: &str| json::text(new, &["spec", name]).to_owned();
    if let Err(error) = spec("schedule").parse::<Schedule>() {
        errors.push(FieldError::invalid("spec.schedule", &json!(spec("schedule")), &error.to_string()));
    }
    let policies = ["Allow", "Forbid", "Replace"];
    if !policies.contains(&spec("concurrencyPolicy").as_str()) {
        let given = json!(spec("concurrencyPolicy"));
        errors.push(FieldError::not_supported("spec.concurrencyPolicy", &given, &policies));
    }
    if let Some(zone) = json::text_opt(new, &["spec", "timeZone"])
        && (zone.eq_ignore_ascii_case("local") || jiff::tz::TimeZone::get(zone).is_err())
    {
        errors.push(FieldError::invalid("spec.timeZone", &json!(zone), &format!("unknown time zone {zone}")));
    }
    let pods = ["spec", "jobTemplate", "spec", "template", "spec"];
    containers(json::at(new, &pods), &pods.join("."), errors);
    let restart = json::text(new, &["spec", "jobTemplate", "spec", "template", "spec", "restartPolicy"]);
    if !matches!(restart, "Never" | "OnFailure") {
        let path = format!("{}.restartPolicy", pods.join("."));
        errors.push(FieldError::not_supported(path, &json!(restart), &["OnFailure", "Never"]));
    }
}
