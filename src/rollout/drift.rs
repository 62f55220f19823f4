//! Foreign edits of our objects, and direct changes of the head: noted before they are written, announced once they are seen done.

use super::effects::is_ours;
use super::machine::Machine;
use super::objects;
use crate::model::desired::Head;
use crate::model::object::ObjectKey;
use crate::model::observed::Known;
use crate::model::record::Ownership;
use crate::model::transition::Kind;

impl Machine<'_> {
    /// Compares what may stand with what stands, while nothing runs.
    pub fn note_drift(&mut self) {
        if self.record.rollout.is_some() || self.record.stable.is_none() || !self.acts() {
            return;
        }
        let bodies = objects::objects(&self.record, self.input);
        let stable = self.target_key();
        let (mut corrected, mut applied) = (Vec::new(), false);
        for body in &bodies {
            let key = &body.manifest.key;
            let entry = self.record.inventory.get(key);
            let changed = entry.is_none_or(|entry| entry.hash != body.manifest.hash);
            let differs = match self.input.observed.object(key) {
                Known::Unknown => continue,
                Known::Absent => true,
                Known::Present(live) if !is_ours(&self.record, self.input.release, key, live) => continue,
                Known::Present(live) => {
                    let resized = *key == stable && self.resized();
                    resized || !crate::plan::differs(&body.manifest.body, live.object.as_ref()).is_empty()
                }
            };
            let owned = entry.is_some_and(|entry| matches!(entry.ownership, Ownership::Owned { .. }));
            if differs && (changed || !owned) {
                self.record.applying.insert(key.clone());
            } else if differs && !self.record.applying.contains(key) {
                self.record.drifted.insert(key.clone());
            } else if !differs {
                applied |= self.record.applying.remove(key);
                if self.record.drifted.remove(key) {
                    corrected.push(short(key));
                }
            }
        }
        if !corrected.is_empty() {
            let sentence = format!("put back what somebody else changed: {}", corrected.join(", "));
            self.say(Kind::DriftCorrected { objects: corrected }, sentence);
        }
        if let (true, Head::Known(desired)) = (applied, self.input.head) {
            let revision = desired.revision.clone();
            let sentence = format!("commit {} applied without a rollout", revision.commit.short());
            self.say(Kind::Applied { revision }, sentence);
        }
    }

    fn resized(&self) -> bool {
        self.view.stable.present().is_some_and(|workload| workload.replicas != self.record.replicas)
    }
}

fn short(key: &ObjectKey) -> String {
    format!("{}/{}", key.kind, key.name)
}
