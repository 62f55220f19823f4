//! What the pods of a node answered, and a version that turns bad while it serves.

use std::{collections::BTreeMap, sync::Arc, sync::PoisonError};

use tokio::time::Instant;

use super::{Node, Place, Shared, app::App, container::Container};

/// The servers of a pod, for counting what they answered.
#[derive(Default, Clone)]
pub(super) struct Traffic {
    past: BTreeMap<u16, u64>,
    apps: Vec<Arc<App>>,
}

impl Shared {
    pub(super) fn note_traffic(&self, place: &Place, containers: &[Container]) {
        let mut traffic = Traffic::default();
        for container in containers {
            for (code, count) in &container.past {
                *traffic.past.entry(*code).or_default() += count;
            }
            traffic.apps.extend(container.app.clone());
        }
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), traffic);
    }
}

impl Node {
    fn traffic(&self, namespace: &str, name: &str) -> Option<Traffic> {
        let all = self.handle.shared.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// How many requests a pod answered with each code, probes and the metrics page apart.
    pub fn answered(&self, namespace: &str, name: &str) -> BTreeMap<u16, u64> {
        let Some(traffic) = self.traffic(namespace, name) else { return BTreeMap::new() };
        let mut out = traffic.past.clone();
        for (code, count) in traffic.apps.iter().flat_map(|app| app.answered()) {
            *out.entry(code).or_default() += count;
        }
        out
    }

    /// From now on so many of a hundred answers of a pod are 500, until its containers start again. False if the pod does not run here.
    pub fn turn_bad(&self, namespace: &str, name: &str, error_percent: f64) -> bool {
        let apps = self.traffic(namespace, name).map(|traffic| traffic.apps).unwrap_or_default();
        for app in &apps {
            app.turn_bad(error_percent);
        }
        !apps.is_empty()
    }

    /// How often the metrics pages of a pod were asked for since its containers started, and when the last time was.
    pub fn scraped(&self, namespace: &str, name: &str) -> Option<(u64, Instant)> {
        let apps = self.traffic(namespace, name)?.apps;
        let all: Vec<(u64, Instant)> = apps.iter().filter_map(|app| app.scraped()).collect();
        let last = all.iter().map(|(_, at)| *at).max()?;
        Some((all.iter().map(|(count, _)| count).sum(), last))
    }
}
