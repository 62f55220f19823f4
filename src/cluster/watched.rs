//! The kinds that are watched, each with its selector, and how each watch fares.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kube::core::ApiResource;
use tokio::sync::watch;
use tokio::time::Instant;

use super::view::lock;
use super::{crd, revision};
use crate::model::autoscale;
use crate::model::object::ObjectKey;
use crate::model::{LABEL_MANAGED_BY, LABEL_RELEASE, LABEL_SERVICE, MANAGER};

/// Objects that could not be read, kept by name, at most.
const SKIPPED: usize = 20;

/// A watch. Each is one connection (HTTP/1.1), so they are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// All namespaces, metadata only.
    Namespace,
    /// All `Release` objects, metadata only: their status is ours, and long.
    Release,
    /// Our Deployments.
    Deployment,
    /// Our StatefulSets.
    StatefulSet,
    /// Our DaemonSets.
    DaemonSet,
    /// Our Services.
    Service,
    /// Our ConfigMaps.
    ConfigMap,
    /// Our Jobs.
    Job,
    /// Revision Secrets.
    Revision,
    /// ReplicaSets of releases.
    ReplicaSet,
    /// Pods of releases, those of their Jobs among them.
    Pod,
    /// All routes of the Gateway API, where the server has them.
    HttpRoute,
    /// All routes of Istio, where the server has them.
    VirtualService,
    /// All rules for destinations of Istio, where the server has them.
    DestinationRule,
    /// All autoscalers, ours among them: whose they are is told by what they target.
    Autoscaler,
}

/// What is filed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Namespaces, which belong to no release.
    Namespaces,
    /// Other people's routes and autoscalers, by what they point at.
    Routes,
    /// Releases.
    Releases,
    /// Whole objects of a release.
    Objects,
    /// Revision Secrets.
    Revisions,
    /// ReplicaSets.
    ReplicaSets,
    /// Pods.
    Pods,
}

const GATEWAY: [&str; 1] = ["gateway.networking.k8s.io/v1"];
const AUTOSCALING: [&str; 1] = [autoscale::AUTOSCALING];
const ISTIO: [&str; 2] = ["networking.istio.io/v1", "networking.istio.io/v1beta1"];
/// The versions and kinds of routes that can have weights.
pub const ROUTES: [(&str, &str); 3] =
    [(GATEWAY[0], "HTTPRoute"), (ISTIO[0], "VirtualService"), (ISTIO[1], "VirtualService")];

impl Watched {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Namespace,
        Self::Release,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Service,
        Self::ConfigMap,
        Self::Job,
        Self::Revision,
        Self::ReplicaSet,
        Self::Pod,
        Self::HttpRoute,
        Self::VirtualService,
        Self::DestinationRule,
        Self::Autoscaler,
    ];

    /// Returns the kind as it stands in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Release => "Release",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Job => "Job",
            Self::Revision => "Secret",
            Self::ReplicaSet => "ReplicaSet",
            Self::Pod => "Pod",
            Self::HttpRoute => "HTTPRoute",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Autoscaler => autoscale::AUTOSCALER,
        }
    }

    /// Returns where what it shows is filed.
    pub(super) fn shelf(self) -> Shelf {
        match self {
            Self::Namespace => Shelf::Namespaces,
            Self::HttpRoute | Self::VirtualService | Self::DestinationRule | Self::Autoscaler => {
                Shelf::Routes
            }
            Self::Release => Shelf::Releases,
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::Service
            | Self::ConfigMap
            | Self::Job => Shelf::Objects,
            Self::Revision => Shelf::Revisions,
            Self::ReplicaSet => Shelf::ReplicaSets,
            Self::Pod => Shelf::Pods,
        }
    }

    /// Returns whether it shows other people's routes, or autoscalers; their kinds need not be there.
    pub fn is_route(self) -> bool {
        self.shelf() == Shelf::Routes
    }

    /// Returns the versions of a kind that need not be there, the wanted one first; none for the kinds that have to.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::HttpRoute => &GATEWAY,
            Self::Autoscaler => &AUTOSCALING,
            Self::VirtualService | Self::DestinationRule => &ISTIO,
            _ => &[],
        }
    }

    /// Returns the resource; of a kind that need not be there, in the wanted version.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Release => crd::resource(),
            Self::Revision => revision::resource(),
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => {
                super::raw::resource("apps/v1", self.name())
            }
            Self::Job => super::raw::resource("batch/v1", self.name()),
            Self::Namespace | Self::Service | Self::ConfigMap | Self::Pod => {
                super::raw::resource("v1", self.name())
            }
            Self::HttpRoute => super::raw::resource(GATEWAY[0], self.name()),
            Self::VirtualService | Self::DestinationRule => super::raw::resource(ISTIO[0], self.name()),
            Self::Autoscaler => super::raw::resource(AUTOSCALING[0], self.name()),
        }
    }

    /// Returns the label selector; `None`: everything.
    pub fn selector(self) -> Option<String> {
        match self.shelf() {
            Shelf::Namespaces | Shelf::Releases | Shelf::Routes => None,
            Shelf::Objects => Some(format!("{LABEL_MANAGED_BY}={MANAGER},{LABEL_SERVICE}")),
            Shelf::Revisions => Some(format!("{LABEL_MANAGED_BY}={MANAGER},{}", revision::LABEL_MARK)),
            Shelf::ReplicaSets => Some(LABEL_RELEASE.to_owned()),
            // Pods of Jobs carry no label that the Service selects by.
            Shelf::Pods => Some(LABEL_SERVICE.to_owned()),
        }
    }

    /// Returns whether only metadata are asked for.
    pub fn is_metadata(self) -> bool {
        matches!(self, Self::Namespace | Self::Release)
    }

    /// Returns the watch that shows other people's objects of this kind.
    pub fn of_route(kind: &str) -> Option<Self> {
        [Self::HttpRoute, Self::VirtualService, Self::DestinationRule, Self::Autoscaler]
            .into_iter()
            .find(|watched| watched.name() == kind)
    }

    /// Returns the watch that shows our objects of this key's kind.
    pub fn of(key: &ObjectKey) -> Option<Self> {
        match (key.api_version.as_str(), key.kind.as_str()) {
            ("apps/v1", "Deployment") => Some(Self::Deployment),
            ("apps/v1", "StatefulSet") => Some(Self::StatefulSet),
            ("apps/v1", "DaemonSet") => Some(Self::DaemonSet),
            ("v1", "Service") => Some(Self::Service),
            ("v1", "ConfigMap") => Some(Self::ConfigMap),
            ("batch/v1", "Job") => Some(Self::Job),
            _ => None,
        }
    }
}

/// How a watch fares.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Whether the initial list was seen whole, ever.
    pub synced: bool,
    /// When the server was last heard on it.
    pub heard: Option<Instant>,
    /// Since when it fails without a break, and with what. What it showed before stays in the view.
    pub failing: Option<(Instant, String)>,
    /// Objects that could not be read, by name, with the reason; the newest at most 20.
    pub skipped: BTreeMap<String, String>,
    round: u64,
}

/// The watches' states.
pub(super) struct Watches {
    states: Mutex<BTreeMap<Watched, Health>>,
    synced: watch::Sender<bool>,
}

impl Watches {
    pub fn new() -> Self {
        let states = Watched::ALL.into_iter().map(|watched| (watched, Health::default())).collect();
        Self { states: Mutex::new(states), synced: watch::Sender::new(false) }
    }

    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    pub fn health(&self) -> BTreeMap<Watched, Health> {
        lock(&self.states).clone()
    }

    pub fn is_synced(&self, watched: Watched) -> bool {
        lock(&self.states).get(&watched).is_some_and(|health| health.synced)
    }

    /// Returns the watches that have not seen their initial list.
    pub fn waiting(&self) -> Vec<Watched> {
        lock(&self.states).iter().filter(|(_, health)| !health.synced).map(|(watched, _)| *watched).collect()
    }

    /// Returns how many initial lists have begun.
    pub fn round(&self, watched: Watched) -> u64 {
        lock(&self.states).get(&watched).map_or(0, |health| health.round)
    }

    fn change<T: Default>(&self, watched: Watched, change: impl FnOnce(&mut Health) -> T) -> T {
        lock(&self.states).get_mut(&watched).map(change).unwrap_or_default()
    }

    /// An initial list begins.
    pub fn begin(&self, watched: Watched) {
        self.change(watched, |health| health.round += 1);
    }

    /// The server was heard.
    pub fn heard(&self, watched: Watched) {
        self.change(watched, |health| {
            health.heard = Some(Instant::now());
            health.failing = None;
        });
    }

    /// The initial list is done.
    pub fn done(&self, watched: Watched) {
        self.change(watched, |health| health.synced = true);
        if self.waiting().is_empty() {
            self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
        }
    }

    /// The watch failed. Returns whether it went well before.
    pub fn failed(&self, watched: Watched, error: String) -> bool {
        self.change(watched, |health| {
            let since = health.failing.as_ref().map(|(since, _)| *since);
            health.failing = Some((since.unwrap_or_else(Instant::now), error));
            since.is_none()
        })
    }

    /// An object could not be read, or can be again. Returns whether that is news.
    pub fn skipped(&self, watched: Watched, name: &str, reason: Option<String>) -> bool {
        self.change(watched, |health| match reason {
            None => health.skipped.remove(name).is_some(),
            Some(reason) => {
                if health.skipped.len() >= SKIPPED && !health.skipped.contains_key(name) {
                    health.skipped.pop_first();
                }
                health.skipped.insert(name.to_owned(), reason.clone()) != Some(reason)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_once_every_list_was_seen() {
        let watches = Watches::new();
        let signal = watches.synced();
        for watched in Watched::ALL {
            assert!(!*signal.borrow());
            watches.begin(watched);
            watches.done(watched);
        }
        assert!(*signal.borrow());
    }

    #[test]
    fn skipped_objects_are_bounded_and_reported_once() {
        let watches = Watches::new();
        assert!(watches.skipped(Watched::Pod, "a/0", Some("bad".into())));
        assert!(!watches.skipped(Watched::Pod, "a/0", Some("bad".into())));
        for number in 0..100 {
            watches.skipped(Watched::Pod, &format!("a/{number}"), Some("bad".into()));
        }
        assert_eq!(watches.health()[&Watched::Pod].skipped.len(), SKIPPED);
        assert!(watches.skipped(Watched::Pod, "a/99", None));
    }
}
