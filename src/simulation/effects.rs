//! The named effects of the design, each a group of writes: which of them a write of the daemon belongs to.
//!
//! A write is named by what is asked for, not by what came of it, so that the simulated and a genuine API server, and whatever stands
//! before it, see the same names.

use serde_json::Value;

/// The named effects, in order, each with what is written.
pub const EFFECTS: [(&str, &str); 19] = [
    ("E1", "the `Release` and its status, until a rollout starts"),
    ("E2", "the candidate's revision Secret and Deployment"),
    ("E3", "`web-stable`, `web-canary`, the split of the route at 0 %"),
    ("E4", "the record that its pods are ready"),
    ("E5", "sizes and weights, each with the record that allows it"),
    ("E6", "stable's template"),
    ("E7", "the record that stable is ready"),
    ("E8", "all traffic to stable"),
    ("E9", "the candidate to 0"),
    ("E10", "what the rollout made is deleted"),
    ("E11", "the terminal record, the Secret marked stable"),
    ("E12", "the record without what the broker acknowledged"),
    ("A1", "the record of the verdict"),
    ("A2", "the route's weight to 0"),
    ("A3", "the Secret marked held"),
    ("A4", "the record that no traffic is left there"),
    ("A5", "the candidate to 0"),
    ("A6", "what stands again as before, and what is deleted"),
    ("A7", "the terminal record"),
];

/// Those of a first deploy.
pub const FIRST: &[&str] = &["E1", "E2", "E6", "E7", "E11", "E12"];
/// Those of a canary by pods that is promoted.
pub const BY_PODS: &[&str] = &["E1", "E2", "E4", "E5", "E6", "E7", "E9", "E10", "E11", "E12"];
/// Those of a canary by a route that is promoted.
pub const BY_ROUTE: &[&str] = &["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "E11", "E12"];
/// Those of a canary by pods that is taken back before a pod of it is ready.
pub const BACK_BY_PODS: &[&str] = &["E1", "E2", "E5", "A1", "A3", "A5", "A6", "A7", "E12"];
/// Those of a canary by a route that is taken back.
pub const BACK_BY_ROUTE: &[&str] =
    &["E1", "E2", "E3", "E4", "E5", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "E12"];

/// A request that changes something.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// The object's kind, such as `Deployment`.
    pub kind: &'a str,
    /// Its name; empty where only the body has it.
    pub name: &'a str,
    /// The subresource, or empty.
    pub door: &'a str,
    /// The object is deleted.
    pub deletes: bool,
    /// What is asked for: the object, or a patch of it.
    pub body: &'a Value,
}

/// Where a release stands while the writes to its objects are named, in order.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    phase: String,
    back: bool,
    split: bool,
}

impl Effects {
    /// Of a release at rest: its next rollout has yet to begin. (The default is a release that is not there yet.)
    pub fn resting() -> Self {
        Self { phase: "Stable".to_owned(), ..Self::default() }
    }

    /// Names the effect that a write belongs to. `service` is also the name of stable's workload.
    pub fn name(&mut self, service: &str, deed: &Deed<'_>) -> &'static str {
        let before = self.phase.clone();
        let text = |pointer| deed.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if (deed.kind, deed.door) == ("Release", "status") {
            let phase = text("/status/phase");
            if !phase.is_empty() {
                phase.clone_into(&mut self.phase);
            }
            let begins = self.phase == "Preparing";
            self.back = !begins && (self.back || self.phase == "RollingBack");
            self.split &= !begins;
            let message = text("/status/message");
            if message.is_empty() && !self.phase.is_empty() && only_trims(deed.body) {
                return "E12";
            }
            return self.recorded(&before, message.contains("observing"));
        }
        self.done(service, deed)
    }

    /// The name of a stored record.
    fn recorded(&self, before: &str, observing: bool) -> &'static str {
        match self.phase.as_str() {
            "Preparing" | "" => "E1",
            "Progressing" if observing => "E4",
            "Progressing" => "E5",
            "Promoting" | "Baking" => "E7",
            "RollingBack" if before != "RollingBack" => "A1",
            "RollingBack" => "A4",
            _ if before.is_empty() => "E1",
            _ if before == "Stable" => "E1",
            _ if self.back => "A7",
            _ => "E11",
        }
    }

    /// The name of a write to anything else.
    fn done(&mut self, service: &str, deed: &Deed<'_>) -> &'static str {
        let (back, phase) = (self.back, self.phase.as_str());
        let named = deed.body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let candidate = (if deed.name.is_empty() { named } else { deed.name }) != service;
        let creates = deed.body.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0);
        match (deed.kind, phase) {
            ("Namespace" | "Release", _) => "E1",
            ("HTTPRoute", "Progressing") if !std::mem::replace(&mut self.split, true) => "E3",
            ("HTTPRoute", "Progressing") => "E5",
            ("HTTPRoute", "RollingBack") => "A2",
            ("HTTPRoute", _) => "E8",
            _ if deed.deletes && back => "A6",
            _ if deed.deletes => "E10",
            ("Secret", "Preparing") => "E2",
            ("Secret", "RollingBack") => "A3",
            ("Secret", _) if back => "A7",
            ("Secret", _) => "E11",
            ("Service", "Progressing") => "E3",
            ("Deployment", "Progressing") if candidate && creates => "E2",
            ("Deployment", "RollingBack") if candidate => "A5",
            ("Deployment", "Promoting" | "Baking" | "Stable") if candidate => "E9",
            (_, "Progressing") => "E5",
            (_, "RollingBack") => "A6",
            _ => "E6",
        }
    }
}

/// Tells whether a patch of a record drops events that were acknowledged, and adds none.
fn only_trims(body: &Value) -> bool {
    let outbox = body.pointer("/status/outbox").and_then(Value::as_object);
    outbox.is_some_and(|outbox| outbox.values().all(Value::is_null))
}
