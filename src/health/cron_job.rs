//! CronJobs: whether they run at all, and how the last run ended.

use jiff::Timestamp;
use serde_json::Value;

use super::Assessment;
use super::read::{items, text};
use crate::model::record::Health;

pub(super) fn assess(object: &Value) -> Assessment {
    if object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        return Assessment::new(Health::Suspended, "is suspended");
    }
    let time = |name: &str| text(object, &format!("/status/{name}")).parse::<Timestamp>().ok();
    let running = items(object, "/status/active").count();
    match (time("lastScheduleTime"), time("lastSuccessfulTime")) {
        _ if running > 0 => Assessment::healthy(format!("{running} under way")),
        (None, _) => Assessment::healthy("no run was due yet"),
        (Some(due), Some(well)) if well >= due => Assessment::healthy(format!("the run of {due} succeeded")),
        (Some(due), _) => Assessment::degraded(format!("the run of {due} did not succeed")),
    }
}
