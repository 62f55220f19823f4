//! Changing the size of replica sets: one of them, all in proportion, old ones away.

use std::sync::Arc;

use serde_json::Value;

use super::{
    super::{api::ApiError, json},
    revision::{DESIRED, MOST, Rollout, is_sized, replicas_of, revision_of, size_annotations, sort_by_age},
    rolling::Limits,
};

impl Rollout<'_> {
    fn limits(&self) -> Limits {
        Limits::of(&self.deployment)
    }

    /// Gives a replica set its size and the annotations that go with it; true if the size changed.
    fn resize(&self, set: &mut Arc<Value>, size: i64) -> Result<bool, ApiError> {
        let resized = replicas_of(set) != size;
        if resized || !is_sized(set, self.limits()) {
            let mut new = Value::clone(set);
            json::set(&mut new, &["spec", "replicas"], size);
            size_annotations(&mut new, self.limits());
            *set = self.hands.update_replica_set(new, "")?;
        }
        Ok(resized)
    }

    fn resize_new(&mut self, size: i64) -> Result<bool, ApiError> {
        let Some(mut set) = self.new.take() else { return Ok(false) };
        let result = if replicas_of(&set) == size { Ok(false) } else { self.resize(&mut set, size) };
        self.new = Some(set);
        result
    }

    fn resize_old(&mut self, at: usize, size: i64) -> Result<bool, ApiError> {
        let Some(mut set) = self.old.get(at).cloned() else { return Ok(false) };
        let resized = self.resize(&mut set, size)?;
        if let Some(slot) = self.old.get_mut(at) {
            *slot = set;
        }
        Ok(resized)
    }

    /// Whether the Deployment's size changed since a replica set was sized.
    pub(super) fn is_resized(&self) -> bool {
        let desired = self.limits().desired.to_string();
        self.all().filter(|set| replicas_of(set) > 0).any(|set| {
            json::text_opt(set, &["metadata", "annotations", DESIRED]).is_some_and(|noted| noted != desired)
        })
    }

    /// Follows a change of the Deployment's size, or holds still while it is paused.
    pub(super) fn rescale(&mut self) -> Result<(), ApiError> {
        let limits = self.limits();
        let active = self.all().filter(|set| replicas_of(set) > 0).count();
        if active <= 1 {
            return self.rescale_only(limits.desired);
        }
        if self.is_saturated(limits) {
            for at in 0..self.old.len() {
                if self.old.get(at).is_some_and(|set| replicas_of(set) > 0) {
                    self.resize_old(at, 0)?;
                }
            }
            return Ok(());
        }
        if json::text(&self.deployment, &["spec", "strategy", "type"]) == "RollingUpdate" {
            self.rescale_in_proportion(limits)?;
        }
        Ok(())
    }

    /// The one replica set with pods, else the new one, else the newest old one.
    fn rescale_only(&mut self, size: i64) -> Result<(), ApiError> {
        if self.new.as_ref().is_some_and(|set| replicas_of(set) > 0) {
            return self.resize_new(size).map(drop);
        }
        if let Some(at) = self.old.iter().position(|set| replicas_of(set) > 0) {
            return self.resize_old(at, size).map(drop);
        }
        if self.new.is_some() {
            return self.resize_new(size).map(drop);
        }
        match self.old.len().checked_sub(1) {
            Some(newest) => self.resize_old(newest, size).map(drop),
            None => Ok(()),
        }
    }

    fn is_saturated(&self, limits: Limits) -> bool {
        self.new.as_ref().is_some_and(|set| {
            json::text(set, &["metadata", "annotations", DESIRED]) == limits.desired.to_string()
                && replicas_of(set) == limits.desired
                && json::int(set, &["status", "availableReplicas"]).unwrap_or(0) == limits.desired
        })
    }

    fn rescale_in_proportion(&mut self, limits: Limits) -> Result<(), ApiError> {
        let active = self.old.iter().chain(&self.new).filter(|set| replicas_of(set) > 0);
        let mut sets: Vec<Arc<Value>> = active.cloned().collect();
        let total: i64 = sets.iter().map(|set| replicas_of(set)).sum();
        let allowed = if limits.desired > 0 { limits.most() } else { 0 };
        let to_add = allowed - total;
        // The largest get most; of equals the newer grow first and the older shrink first.
        sort_by_age(&mut sets);
        if to_add > 0 {
            sets.reverse();
        }
        sets.sort_by_key(|set| std::cmp::Reverse(replicas_of(set)));
        let mut added = 0;
        let mut sizes = Vec::new();
        for set in &sets {
            let share = self.share(set, limits, to_add, added);
            sizes.push(replicas_of(set) + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            let name = json::text(set, &["metadata", "name"]);
            let at = self.old.iter().position(|old| json::text(old, &["metadata", "name"]) == name);
            match at {
                Some(at) => self.resize_old(at, size)?,
                None => match self.new.take() {
                    Some(mut new) => {
                        let result = self.resize(&mut new, size);
                        self.new = Some(new);
                        result?
                    }
                    None => false,
                },
            };
        }
        Ok(())
    }

    fn share(&self, set: &Value, limits: Limits, to_add: i64, added: i64) -> i64 {
        let size = replicas_of(set);
        if size == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let fraction = if limits.desired == 0 {
            -size
        } else {
            let noted: i64 = json::text(set, &["metadata", "annotations", MOST]).parse().unwrap_or(0);
            let before = if noted > 0 {
                noted
            } else {
                json::int(&self.deployment, &["status", "replicas"]).unwrap_or(0)
            };
            rounded_ratio(size * limits.most(), before) - size
        };
        let left = to_add - added;
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// One step of a rolling update; true if a replica set was resized.
    pub(super) fn roll(&mut self) -> Result<bool, ApiError> {
        let limits = self.limits();
        let size = self.new.as_ref().map_or(0, |set| replicas_of(set));
        let total: i64 = self.all().map(replicas_of).sum();
        let goal = if size > limits.desired { limits.desired } else { limits.grow(size, total) };
        if self.resize_new(goal)? {
            return Ok(true);
        }
        self.shrink_old(limits, total)
    }

    fn shrink_old(&mut self, limits: Limits, total: i64) -> Result<bool, ApiError> {
        if self.old.iter().map(|set| replicas_of(set)).sum::<i64>() == 0 {
            return Ok(false);
        }
        let available = |set: &Value| json::int(set, &["status", "availableReplicas"]).unwrap_or(0);
        let new_unavailable = self.new.as_ref().map_or(0, |set| replicas_of(set) - available(set));
        let most = total - limits.least() - new_unavailable;
        if most <= 0 {
            return Ok(false);
        }
        // Pods that do not serve go first: they cost no capacity.
        let mut cleaned = 0;
        for at in 0..self.old.len() {
            let Some(set) = self.old.get(at) else { break };
            let spare = (replicas_of(set) - available(set)).min(most - cleaned);
            if cleaned < most && replicas_of(set) > 0 && spare > 0 {
                let size = replicas_of(set) - spare;
                cleaned += spare;
                self.resize_old(at, size)?;
            }
        }
        let serving: i64 = self.all().map(available).sum();
        let mut left = serving - limits.least();
        let mut shrunk = 0;
        for at in 0..self.old.len() {
            let Some(set) = self.old.get(at) else { break };
            let step = replicas_of(set).min(left);
            if step > 0 {
                let size = replicas_of(set) - step;
                left -= step;
                shrunk += step;
                self.resize_old(at, size)?;
            }
        }
        Ok(cleaned + shrunk > 0)
    }

    /// With `Recreate`: all old replica sets to nothing; true if one was not there yet.
    pub(super) fn empty_old(&mut self) -> Result<bool, ApiError> {
        let mut any = false;
        for at in 0..self.old.len() {
            if self.old.get(at).is_some_and(|set| replicas_of(set) > 0) {
                any |= self.resize_old(at, 0)?;
            }
        }
        Ok(any)
    }

    /// With `Recreate`: the new replica set to its whole size.
    pub(super) fn fill_new(&mut self) -> Result<bool, ApiError> {
        let desired = self.limits().desired;
        self.resize_new(desired)
    }

    /// Deletes the oldest empty replica sets beyond the history that is kept.
    pub(super) fn clean_up(&mut self) -> Result<(), ApiError> {
        let limit = json::int(&self.deployment, &["spec", "revisionHistoryLimit"]).unwrap_or(10);
        let kept = usize::try_from(limit).unwrap_or(0);
        let mut old: Vec<&Arc<Value>> = self.old.iter().filter(|set| !super::hands::is_going(set)).collect();
        old.sort_by_key(|set| revision_of(set));
        let surplus = old.len().saturating_sub(kept);
        for set in old.into_iter().take(surplus) {
            let observed = json::int(set, &["status", "observedGeneration"]).unwrap_or(0);
            let behind = json::int(set, &["metadata", "generation"]).unwrap_or(0) > observed;
            let empty = replicas_of(set) == 0 && json::int(set, &["status", "replicas"]).unwrap_or(0) == 0;
            if empty && !behind {
                self.hands.delete_replica_set(set)?;
            }
        }
        Ok(())
    }
}

/// `part / whole`, rounded to the nearest, halves away from zero.
fn rounded_ratio(part: i64, whole: i64) -> i64 {
    if whole == 0 { part } else { (2 * part + whole) / (2 * whole) }
}
