//! What the bed sees between two moves: writes for the checker, Services for the load, offers for the broker, and what was announced.

use std::sync::Arc;

use serde_json::Value;

use super::bed::Bed;
use crate::sandbox::api::LabelSelector;
use crate::sandbox::json as read;

impl Bed {
    /// Shows the checker and the street what changed.
    pub(super) fn observe(&mut self) {
        let time = self.begun.elapsed();
        let requests = self.server.take_requests();
        if requests.is_empty() {
            return;
        }
        self.trace.asked(time, &requests);
        let core = Arc::clone(self.server.core());
        let changes = self.checker.take(&core, &requests);
        let mut services = false;
        for change in &changes {
            services |= change.change.place.1 == "services";
            self.trace.write(time, change);
            let capacity = change.number.and_then(|number| {
                let daemon = self.daemons.iter().find(|daemon| daemon.number == number)?;
                let best = daemon.capacity.get(&self.release).copied().unwrap_or_default();
                let now = daemon.feed.ready(&self.release);
                Some((best.0.max(now.0), best.1.max(now.1)))
            });
            self.checker.saw(time, change, capacity);
        }
        if services {
            let store = core.store();
            let Some(kind) = store.kind("", "v1", "services") else { return };
            // Those of one track get what the team's route sends there.
            let whole = |service: &&Arc<Value>| {
                let name = read::text(service, &["metadata", "name"]);
                !["-stable", "-canary"].iter().any(|track| name.ends_with(track))
            };
            let all = store.list(&kind, "").filter(whole).map(|service| {
                let labels = serde_json::json!({"matchLabels": read::at(service, &["spec", "selector"])});
                let namespace = read::text(service, &["metadata", "namespace"]).to_owned();
                (namespace, LabelSelector::from_object(&labels))
            });
            let all = all.collect();
            drop(store);
            self.street.set_services(all);
        }
    }

    /// Brings offers to the broker and acknowledgements back.
    pub(super) fn deliver(&mut self) {
        let time = self.begun.elapsed();
        for daemon in &mut self.daemons {
            while let Ok(outgoing) = daemon.outgoing.try_recv() {
                self.broker.take(daemon.number, outgoing, &mut self.random);
            }
            while let Ok((_, event)) = daemon.events.try_recv() {
                self.trace.event(time, &event);
            }
        }
        let daemons = &self.daemons;
        self.broker.back(|number| daemons.iter().any(|one| one.number == number), &mut self.random);
        for (number, acked) in self.broker.arrived() {
            let Some(daemon) = self.daemons.iter().find(|daemon| daemon.number == number) else { continue };
            let (driver, bell) = (Arc::clone(&daemon.driver), Arc::clone(&self.bell));
            tokio::spawn(async move {
                driver.acknowledged(acked).await;
                bell.notify_one();
            });
        }
    }

    /// Every object, in an order.
    pub(super) fn objects(&self) -> Vec<Arc<Value>> {
        let mut all = self.server.dump();
        all.sort_by_key(|object| {
            (read::text(object, &["kind"]).to_owned(), read::text(object, &["metadata", "name"]).to_owned())
        });
        all
    }
}
