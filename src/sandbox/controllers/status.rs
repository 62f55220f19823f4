//! What a Deployment says of itself: counts, Available, Progressing and its deadline, failures of replica sets.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{api::ApiError, clock, json},
    Outcome, conditions,
    revision::{Rollout, replicas_of},
    rolling::Limits,
};

impl Rollout<'_> {
    /// Writes the status with progress and failures, and says when to look again.
    pub(super) fn report(&mut self) -> Result<Outcome, ApiError> {
        let mut status = self.counted();
        self.judge_progress(&mut status);
        match self.failure() {
            Some(condition) => conditions::set(&mut status, condition),
            None => conditions::remove(&mut status, "ReplicaFailure"),
        }
        self.store_status(status)?;
        Ok(self.next_look())
    }

    /// Writes the counts alone, as while scaling, paused or going.
    pub(super) fn report_counts(&mut self) -> Result<Outcome, ApiError> {
        let status = self.counted();
        self.store_status(status)?;
        Ok(Outcome::Done)
    }

    fn sum(&self, name: &str) -> i64 {
        self.all().map(|set| json::int(set, &["status", name]).unwrap_or(0)).sum()
    }

    fn counted(&self) -> Value {
        let limits = Limits::of(&self.deployment);
        let available = self.sum("availableReplicas");
        let wanted: i64 = self.all().map(replicas_of).sum();
        let updated = self.new.as_ref().and_then(|set| json::int(set, &["status", "replicas"])).unwrap_or(0);
        let generation = json::int(&self.deployment, &["metadata", "generation"]).unwrap_or(0);
        let mut status = self.deployment.get("status").cloned().unwrap_or_default();
        let map = json::as_map(&mut status);
        conditions::count(map, "observedGeneration", generation);
        conditions::count(map, "replicas", self.sum("replicas"));
        conditions::count(map, "updatedReplicas", updated);
        conditions::count(map, "readyReplicas", self.sum("readyReplicas"));
        conditions::count(map, "availableReplicas", available);
        conditions::count(map, "unavailableReplicas", (wanted - available).max(0));
        map.insert("terminatingReplicas".to_owned(), self.sum("terminatingReplicas").into());
        let now = self.hands.now_text();
        let condition = if available >= limits.least() {
            let message = "Deployment has minimum availability.";
            conditions::new("Available", "True", "MinimumReplicasAvailable", message, &now)
        } else {
            let message = "Deployment does not have minimum availability.";
            conditions::new("Available", "False", "MinimumReplicasUnavailable", message, &now)
        };
        conditions::set(&mut status, condition);
        status
    }

    fn deadline(&self) -> Option<Duration> {
        let seconds = json::int(&self.deployment, &["spec", "progressDeadlineSeconds"])?;
        // The largest value stands for none.
        let none = i64::from(i32::MAX);
        (seconds != none).then(|| self.hands.scaled(Duration::from_secs(seconds.unsigned_abs())))
    }

    fn judge_progress(&self, status: &mut Value) {
        let Some(deadline) = self.deadline() else {
            conditions::remove(status, "Progressing");
            return;
        };
        let old = self.deployment.get("status").unwrap_or(&Value::Null);
        let count = |status: &Value, name: &str| json::int(status, &[name]).unwrap_or(0);
        let settled = count(status, "replicas") == count(status, "updatedReplicas")
            && conditions::reason(old, "Progressing") == "NewReplicaSetAvailable";
        if settled {
            return;
        }
        let now = self.hands.now_text();
        let about = match &self.new {
            Some(set) => format!("ReplicaSet {:?}", json::text(set, &["metadata", "name"])),
            None => format!("Deployment {:?}", json::text(&self.deployment, &["metadata", "name"])),
        };
        let outdated = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
        let more = |name: &str| count(status, name) > count(old, name);
        let progressed = more("updatedReplicas")
            || more("readyReplicas")
            || more("availableReplicas")
            || outdated(status) < outdated(old);
        if self.is_complete(status) {
            let message = format!("{about} has successfully progressed.");
            conditions::set(
                status,
                conditions::new("Progressing", "True", "NewReplicaSetAvailable", &message, &now),
            );
        } else if progressed {
            let message = format!("{about} is progressing.");
            conditions::refresh(
                status,
                conditions::new("Progressing", "True", "ReplicaSetUpdated", &message, &now),
            );
        } else if self.is_late(status, deadline) {
            let message = format!("{about} has timed out progressing.");
            let condition =
                conditions::new("Progressing", "False", "ProgressDeadlineExceeded", &message, &now);
            conditions::set(status, condition);
        }
    }

    /// All pods are of the new template and available.
    pub(super) fn is_complete(&self, status: &Value) -> bool {
        let desired = Limits::of(&self.deployment).desired;
        let count = |name: &str| json::int(status, &[name]).unwrap_or(0);
        ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|name| count(name) == desired)
            && count("observedGeneration")
                >= json::int(&self.deployment, &["metadata", "generation"]).unwrap_or(0)
    }

    fn is_late(&self, status: &Value, deadline: Duration) -> bool {
        match conditions::reason(status, "Progressing") {
            "" | "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => self.left(status, deadline).is_some_and(|left| left.is_zero()),
        }
    }

    /// How long until the deadline, counted from the last sign of progress.
    fn left(&self, status: &Value, deadline: Duration) -> Option<Duration> {
        let condition = conditions::find(status, "Progressing")?;
        let since = clock::parse_time(json::text(condition, &["lastUpdateTime"]))?;
        Some(deadline.saturating_sub(clock::elapsed(since, self.hands.now())))
    }

    fn next_look(&self) -> Outcome {
        let status = self.deployment.get("status").unwrap_or(&Value::Null);
        let over = matches!(
            conditions::reason(status, "Progressing"),
            "" | "NewReplicaSetAvailable" | "ProgressDeadlineExceeded"
        );
        match self.deadline().and_then(|deadline| self.left(status, deadline)) {
            Some(left) if !over => Outcome::Later(left + Duration::from_millis(1)),
            _ => Outcome::Done,
        }
    }

    /// The failure of the new replica set, else of any.
    fn failure(&self) -> Option<Value> {
        let mut sets = self.new.iter().chain(&self.old);
        let found = sets.find_map(|set| conditions::find(set.get("status")?, "ReplicaFailure"))?;
        let mut condition = found.clone();
        let at = found.get("lastTransitionTime").cloned().unwrap_or(json!(null));
        json::set(&mut condition, &["lastUpdateTime"], at);
        Some(condition)
    }
}
