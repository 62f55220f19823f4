//! The arithmetic of a rolling update: how far the new replica set may grow and the old ones may shrink.

use serde_json::Value;

use super::super::json;

/// Surge and unavailability of a Deployment, resolved to numbers of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) desired: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
}

impl Limits {
    /// Reads them; with the strategy `Recreate` there is neither.
    pub(super) fn of(deployment: &Value) -> Self {
        let desired = json::int(deployment, &["spec", "replicas"]).unwrap_or(1);
        let rolling = json::text(deployment, &["spec", "strategy", "type"]) == "RollingUpdate";
        let part = |name: &str| json::at(deployment, &["spec", "strategy", "rollingUpdate", name]);
        if !rolling {
            return Self { desired, surge: 0, unavailable: 0 };
        }
        let surge = portion(part("maxSurge"), desired, true);
        let mut unavailable = portion(part("maxUnavailable"), desired, false);
        if surge == 0 && unavailable == 0 {
            // Both round to nothing only for percentages; then one pod is let go, else it would never move.
            unavailable = 1;
        }
        Self { desired, surge, unavailable: unavailable.min(desired) }
    }

    /// How many pods there may be at once.
    pub(super) fn most(self) -> i64 {
        self.desired + self.surge
    }

    /// How many pods must stay available.
    pub(super) fn least(self) -> i64 {
        self.desired - self.unavailable
    }

    /// What the new replica set grows to, from `new`, while all together ask for `total`.
    pub(super) fn grow(self, new: i64, total: i64) -> i64 {
        if total >= self.most() {
            return new;
        }
        new + (self.most() - total).min(self.desired - new)
    }
}

/// A number of pods, or a percentage of `total`, rounded up or down.
fn portion(value: Option<&Value>, total: i64, up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * total;
            if up { (hundredths + 99) / 100 } else { hundredths / 100 }
        }
        Some(number) => number.as_i64().unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(replicas: i64, surge: &Value, unavailable: &Value) -> Limits {
        Limits::of(&json!({"spec": {"replicas": replicas, "strategy": {
            "type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        }}}))
    }

    #[test]
    fn percentages_round_apart() {
        let four = limits(4, &json!("25%"), &json!("25%"));
        assert_eq!((four.surge, four.unavailable), (1, 1));
        let three = limits(3, &json!("25%"), &json!("25%"));
        assert_eq!((three.surge, three.unavailable), (1, 0));
        let none = limits(3, &json!("0%"), &json!("10%"));
        assert_eq!((none.surge, none.unavailable), (0, 1));
    }

    #[test]
    fn growth_stops_at_the_surge_and_at_the_goal() {
        let four = limits(4, &json!(1), &json!(0));
        assert_eq!(four.grow(0, 4), 1);
        assert_eq!(four.grow(1, 5), 1);
        assert_eq!(four.grow(3, 3), 4);
    }
}
