//! Files what watches say into the view, and wakes the releases that a pass would now see differently.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::pod::{pod_view, replica_set_view};
use super::raw::{Raw, key_of};
use super::revision::{Sealed, rollout_of};
use super::shard::{ObjectRow, ReleaseSeen, Shard};
use super::table::News;
use super::view::{Home, View};
use super::watched::{Shelf, Watched};
use crate::model::name::ReleaseKey;
use crate::model::object::ObjectKey;

impl View {
    /// Takes an object that a watch or its initial list shows. `resource` is the watch's.
    pub(super) fn take<const META: bool>(&self, watched: Watched, resource: &ApiResource, raw: Raw<META>) {
        if watched == Watched::Namespace {
            return self.take_namespace(&raw);
        }
        if watched.is_route() {
            return self.take_route(watched, resource, raw);
        }
        let name = format!("{}/{}", raw.namespace(), raw.name());
        let release = release_of(watched, &raw);
        self.rehome(watched, &raw, release.as_ref().ok());
        let filed = release.and_then(|release| {
            let namespace = raw.namespace().to_owned();
            let changed = self.file(watched, resource, &release, raw)?;
            if changed {
                self.wake_in(&release, &namespace);
            }
            Ok(())
        });
        let reason = filed.err();
        if self.watches().skipped(watched, &name, reason.clone())
            && let Some(reason) = reason
        {
            tracing::warn!(kind = watched.name(), object = %name, %reason, "an object cannot be read and is left out");
        }
    }

    fn file<const META: bool>(
        &self,
        watched: Watched,
        resource: &ApiResource,
        release: &ReleaseKey,
        raw: Raw<META>,
    ) -> Result<bool, String> {
        let round = self.watches().round(watched);
        let (uid, version) = (raw.uid().to_owned(), raw.resource_version().to_owned());
        let place = (raw.namespace().to_owned(), raw.name().to_owned());
        macro_rules! heard {
            ($table:ident, $key:expr, $item:expr) => {{
                let (key, item) = ($key, $item);
                let news = News { uid: &uid, version: &version, round, item };
                Ok(self.change(release, |shard| shard.$table.heard(key, news)))
            }};
        }
        match watched.shelf() {
            Shelf::Namespaces | Shelf::Routes => Ok(false),
            Shelf::Releases => heard!(releases, place.0.clone(), release_seen(&raw)),
            Shelf::Objects => {
                let key = key_of(resource, &raw);
                heard!(objects, key, ObjectRow::new(&raw.into_live(resource), false, Instant::now()))
            }
            Shelf::Revisions => {
                let sealed = Sealed::read(&raw).map_err(|error| error.to_string())?;
                heard!(revisions, (place.0.clone(), sealed.rollout), sealed)
            }
            Shelf::ReplicaSets => {
                heard!(replica_sets, place, replica_set_view(&typed::<ReplicaSet>(raw.into_value())?))
            }
            Shelf::Pods => heard!(pods, place, pod_view(&typed::<Pod>(raw.into_value())?)),
        }
    }

    /// Takes a deletion, or the loss of the labels that the watch selects by.
    pub(super) fn lose<const META: bool>(&self, watched: Watched, resource: &ApiResource, raw: &Raw<META>) {
        if watched == Watched::Namespace {
            if self.namespaces().removed(&raw.name().to_owned(), raw.uid()) {
                self.wake_namespace(raw.name());
            }
            return;
        }
        if watched.is_route() {
            let names = self.routes().removed(&key_of(resource, raw), raw.uid());
            return self.wake_services(raw.namespace(), &names);
        }
        self.watches().skipped(watched, &format!("{}/{}", raw.namespace(), raw.name()), None);
        let filed = self.homes().remove(&home(watched, raw));
        let Some(release) = filed.or_else(|| raw.release()) else { return };
        let (key, place) = (key_of(resource, raw), (raw.namespace().to_owned(), raw.name().to_owned()));
        let uid = raw.uid();
        let changed = self.change(&release, |shard| match watched.shelf() {
            Shelf::Namespaces | Shelf::Routes => false,
            Shelf::Releases => shard.releases.removed(&place.0, uid),
            Shelf::Objects => shard.objects.removed(&key, uid),
            Shelf::Revisions => rollout_of(&place.1)
                .is_some_and(|rollout| shard.revisions.removed(&(place.0.clone(), rollout), uid)),
            Shelf::ReplicaSets => shard.replica_sets.removed(&place, uid),
            Shelf::Pods => shard.pods.removed(&place, uid),
        });
        if changed {
            self.wake_in(&release, raw.namespace());
        }
        self.tidy(&release);
    }

    /// Ends an initial list: what it did not show is gone.
    pub(super) fn listed(&self, watched: Watched) {
        let round = self.watches().round(watched);
        if watched == Watched::Namespace {
            self.namespaces().sweep(round, |_| true);
        }
        if watched.is_route() {
            let gone = self.routes().sweep(watched, round);
            for namespace in &gone {
                self.wake_namespace(namespace);
            }
        }
        let mut changed = Vec::new();
        self.each(|release, shard| {
            if sweep(shard, watched, round) {
                changed.push(release.clone());
            }
        });
        self.watches().done(watched);
        for release in &changed {
            self.wake(release);
            self.tidy(release);
        }
    }

    /// Notes by which version the routes of a kind are read; none: the server does not have the kind, or does not let us read it.
    pub(super) fn serve_routes(&self, watched: Watched, version: Option<&'static str>) {
        let gone = self.routes().serve(watched, version);
        for namespace in &gone {
            self.wake_namespace(namespace);
        }
    }

    fn take_route<const META: bool>(&self, watched: Watched, resource: &ApiResource, raw: Raw<META>) {
        let round = self.watches().round(watched);
        let key = key_of(resource, &raw);
        let namespace = raw.namespace().to_owned();
        let live = raw.into_live(resource);
        let row = ObjectRow::new(&live, false, Instant::now());
        let names = self.routes().heard(key, &live, row, round);
        self.wake_services(&namespace, &names);
    }

    /// Wakes the releases of these Services that have their passes in a namespace.
    fn wake_services(&self, namespace: &str, names: &BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        let mut there = Vec::new();
        self.each(|release, shard| {
            if shard.namespace.as_deref() == Some(namespace) && names.contains(release.service.as_str()) {
                there.push(release.clone());
            }
        });
        for release in &there {
            self.wake(release);
        }
    }

    fn take_namespace<const META: bool>(&self, raw: &Raw<META>) {
        let round = self.watches().round(Watched::Namespace);
        let news = News { uid: raw.uid(), version: raw.resource_version(), round, item: raw.is_deleting() };
        let changed = self.namespaces().heard(raw.name().to_owned(), news);
        if changed {
            self.wake_namespace(raw.name());
        }
    }

    /// Takes a thing out of the release that its labels named before.
    fn rehome<const META: bool>(&self, watched: Watched, raw: &Raw<META>, release: Option<&ReleaseKey>) {
        let home = home(watched, raw);
        let before = match release {
            Some(release) => self.homes().insert(home, release.clone()),
            None => self.homes().remove(&home),
        };
        let Some(before) = before.filter(|before| release != Some(before)) else { return };
        let place = (raw.namespace().to_owned(), raw.name().to_owned());
        let changed = self.change(&before, |shard| take_out(shard, watched, &place));
        if changed {
            self.wake_in(&before, raw.namespace());
        }
        self.tidy(&before);
    }

    /// Wakes a release unless what changed is in a namespace that its passes do not look at.
    fn wake_in(&self, release: &ReleaseKey, namespace: &str) {
        let looks = self.change(release, |shard| shard.namespace.as_deref().is_none_or(|at| at == namespace));
        if looks {
            self.wake(release);
        }
    }

    fn wake_namespace(&self, name: &str) {
        let mut there = Vec::new();
        self.each(|release, shard| {
            if shard.namespace.as_deref() == Some(name) {
                there.push(release.clone());
            }
        });
        for release in &there {
            self.wake(release);
        }
    }
}

fn home<const META: bool>(watched: Watched, raw: &Raw<META>) -> Home {
    (watched, raw.namespace().to_owned(), raw.name().to_owned())
}

fn release_of<const META: bool>(watched: Watched, raw: &Raw<META>) -> Result<ReleaseKey, String> {
    let release = raw.release().ok_or("its labels name no release")?;
    if watched == Watched::Release && release.service.as_str() != raw.name() {
        return Err(format!("it is not named after its service {}", release.service));
    }
    Ok(release)
}

fn release_seen<const META: bool>(raw: &Raw<META>) -> ReleaseSeen {
    let generation = raw.value().pointer("/metadata/generation").and_then(Value::as_u64);
    ReleaseSeen {
        namespace: raw.namespace().to_owned(),
        uid: raw.uid().to_owned(),
        resource_version: raw.resource_version().to_owned(),
        generation: generation.unwrap_or_default(),
        deleting: raw.is_deleting(),
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn take_out(shard: &mut Shard, watched: Watched, place: &(String, String)) -> bool {
    match watched.shelf() {
        Shelf::Namespaces | Shelf::Routes => false,
        Shelf::Releases => shard.releases.remove(&place.0),
        Shelf::Objects => {
            let resource = watched.resource();
            shard.objects.remove(&ObjectKey {
                api_version: resource.api_version,
                kind: resource.kind,
                namespace: place.0.clone(),
                name: place.1.clone(),
            })
        }
        Shelf::Revisions => {
            rollout_of(&place.1).is_some_and(|rollout| shard.revisions.remove(&(place.0.clone(), rollout)))
        }
        Shelf::ReplicaSets => shard.replica_sets.remove(place),
        Shelf::Pods => shard.pods.remove(place),
    }
}

fn sweep(shard: &mut Shard, watched: Watched, round: u64) -> bool {
    match watched.shelf() {
        Shelf::Namespaces | Shelf::Routes => false,
        Shelf::Releases => shard.releases.sweep(round, |_| true),
        Shelf::Objects => shard.objects.sweep(round, |key| Watched::of(key) == Some(watched)),
        Shelf::Revisions => shard.revisions.sweep(round, |_| true),
        Shelf::ReplicaSets => shard.replica_sets.sweep(round, |_| true),
        Shelf::Pods => shard.pods.sweep(round, |_| true),
    }
}
