//! Services: only a load balancer has something to wait for.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Assessment;
use super::read::{items, text};

/// How long a load balancer may take; afterwards nothing in this cluster seems to provide them.
const BALANCER: Duration = Duration::from_mins(10);

pub(super) fn assess(object: &Value, now: Timestamp) -> Assessment {
    if text(object, "/spec/type") != "LoadBalancer" {
        return Assessment::healthy("exists");
    }
    if items(object, "/status/loadBalancer/ingress").next().is_some() {
        return Assessment::healthy("has a load balancer");
    }
    let created: Option<Timestamp> = text(object, "/metadata/creationTimestamp").parse().ok();
    match created.map(|created| now.duration_since(created).unsigned_abs()) {
        Some(age) if age >= BALANCER => {
            Assessment::degraded("no load balancer within 10m: does this cluster provide them?")
        }
        _ => Assessment::progressing("waits for a load balancer"),
    }
}
