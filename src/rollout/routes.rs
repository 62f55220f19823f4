//! The objects and writes that a router needs: a Service or a subset for each track, and the patches of the team's own route. Derived
//! from the record that is stored; what has landed is not asked for again.

use serde_json::Value;

use super::input::Inputs;
use super::objects::{Body, kept};
use super::route;
use super::traffic::{Standing, Want, names, patch, sent, standing, track, wanted};
use super::view::{View, service_key};
use crate::model::LABEL_TRACK;
use crate::model::name::ReleaseKey;
use crate::model::object::{Fence, Manifest, ObjectKey, Role};
use crate::model::observed::{Known, Live};
use crate::model::record::Record;
use crate::model::traffic::{CANARY, ISTIO, Router, STABLE};
use crate::model::write::Write;
use crate::render;

/// Returns the keys of the objects that stand only while a router needs them.
pub fn track_keys(release: &ReleaseKey, namespace: &str, record: &Record) -> Vec<ObjectKey> {
    let whole = service_key(release, namespace);
    let mut keys: Vec<ObjectKey> = [STABLE, CANARY]
        .iter()
        .map(|track| ObjectKey { name: format!("{}-{track}", whole.name), ..whole.clone() })
        .collect();
    if let Some((Router::Istio { route, .. }, _)) = wanted(record) {
        keys.push(render::subsets_key(&whole, &route.api_version));
    }
    keys.extend(record.inventory.keys().filter(|key| is_subsets(key)).cloned());
    keys
}

fn is_subsets(key: &ObjectKey) -> bool {
    key.kind == "DestinationRule" && key.api_version.split_once('/').is_some_and(|(group, _)| group == ISTIO)
}

/// Tells whether an object stands only while a router needs it.
pub fn is_track(release: &ReleaseKey, key: &ObjectKey) -> bool {
    let own = |track: &str| {
        key.name
            .strip_prefix(release.service.as_str())
            .is_some_and(|rest| rest.strip_prefix('-') == Some(track))
    };
    is_subsets(key) || key.kind == "Service" && (own(STABLE) || own(CANARY))
}

/// Adds a Service or the subsets for each track where a route needs them, and narrows the team's Service where its selector is the
/// router.
pub fn add(record: &Record, input: &Inputs<'_>, bodies: &mut Vec<Body>) {
    if let Some((Router::Selector, want)) = wanted(record) {
        narrow(input, bodies, want);
        return;
    }
    let whole = service_key(input.release, input.namespace.as_str());
    let Some(stable) = bodies.iter().find(|body| body.manifest.key == whole).cloned() else { return };
    if needs_services(record, input) {
        let candidate = candidates_service(record, input, &whole).unwrap_or_else(|| stable.manifest.clone());
        for (manifest, track) in [(&stable.manifest, STABLE), (&candidate, CANARY)] {
            bodies.push(Body { manifest: render::track_of(manifest, track), ..stable.clone() });
        }
    }
    if let Some(version) = needs_subsets(record, input) {
        bodies.push(Body { manifest: render::subsets_of(&stable.manifest, &version), ..stable });
    }
}

fn candidates_service(record: &Record, input: &Inputs<'_>, whole: &ObjectKey) -> Option<Manifest> {
    let number = record.rollout.as_ref().or(record.serving.as_deref())?.number;
    kept(input, number)?.objects.iter().find(|manifest| manifest.key == *whole).cloned()
}

fn narrow(input: &Inputs<'_>, bodies: &mut [Body], want: Want) {
    let (whole, Some(track)) = (service_key(input.release, input.namespace.as_str()), track(want)) else {
        return;
    };
    for body in
        bodies.iter_mut().filter(|body| body.manifest.key == whole && body.manifest.role == Role::Shared)
    {
        let mut narrowed = body.manifest.body.clone();
        if let Some(selector) = narrowed.pointer_mut("/spec/selector").and_then(Value::as_object_mut) {
            selector.insert(LABEL_TRACK.to_owned(), Value::from(track));
        }
        body.manifest.hash = render::content_hash(&narrowed);
        body.manifest.body = narrowed;
    }
}

/// Whether a route of the namespace names the tracks, by itself or by our split, or is about to, or its gateway has not yet taken that
/// it does no more.
fn needs_services(record: &Record, input: &Inputs<'_>) -> bool {
    let named = routes(input).any(|(key, live)| {
        key.kind == "HTTPRoute"
            && route::dialect(key)
                .is_some_and(|dialect| route::names_tracks(dialect, live.object.as_ref(), names(input)))
    });
    named || matches!(wanted(record), Some((Router::GatewayApi { .. }, _))) && !is_joined(record, input)
}

/// Returns the version of the kind to make the subsets in, where no rule of the team's has the host.
fn needs_subsets(record: &Record, input: &Inputs<'_>) -> Option<String> {
    let running = match wanted(record) {
        Some((Router::Istio { route, .. }, _)) if !is_joined(record, input) => {
            Some(route.api_version.clone())
        }
        _ => None,
    };
    let left = || {
        let mut claimed =
            routes(input).filter(|(key, live)| key.kind == "VirtualService" && is_claimed(input, live));
        claimed.next().map(|(key, _)| key.api_version.clone())
    };
    let version = running.or_else(left)?;
    let own = render::subsets_key(&service_key(input.release, input.namespace.as_str()), &version);
    let unread =
        input.observed.routes.objects.iter().any(|(key, known)| is_subsets(key) && *known == Known::Unknown);
    // A rule of the team's that cannot be read now may be the one.
    let needed = if unread { record.inventory.contains_key(&own) } else { rules(input).next().is_none() };
    needed.then_some(version)
}

fn is_joined(record: &Record, input: &Inputs<'_>) -> bool {
    matches!(wanted(record), Some((_, Want::Joined)))
        && matches!(standing(record, input), Some(Standing::Done | Standing::Gone))
}

fn routes<'a>(input: &Inputs<'a>) -> impl Iterator<Item = (&'a ObjectKey, &'a Live)> {
    input.observed.routes.objects.iter().filter_map(|(key, known)| Some((key, known.present()?)))
}

/// The team's own rules for the Service's host.
fn rules<'a>(input: &Inputs<'a>) -> impl Iterator<Item = (&'a ObjectKey, &'a Live)> {
    let names = names(input);
    let own = render::subsets_key(&service_key(input.release, input.namespace.as_str()), "").name;
    routes(input).filter(move |(key, live)| {
        is_subsets(key) && key.name != own && route::of_host(live.object.as_ref(), names)
    })
}

fn is_claimed(input: &Inputs<'_>, live: &Live) -> bool {
    route::claim(live.object.as_ref()).is_some_and(|claim| claim.release == input.release.to_string())
}

/// Tells whether nothing stands any more that only a router needs.
pub fn nothing_left(record: &Record, input: &Inputs<'_>) -> bool {
    let release = input.release.to_string();
    let keys = track_keys(input.release, input.namespace.as_str(), record);
    let standing = keys.iter().any(|key| {
        matches!(input.observed.object(key), Known::Present(live) if super::effects::is_ours(record, input.release, key, live))
    });
    let subsets =
        rules(input).any(|(_, live)| !route::remove_subsets(live.object.as_ref(), &release).is_empty());
    (!standing || needs_services(record, input)) && !subsets
}

/// The patches of other people's routes.
pub fn writes(record: &Record, input: &Inputs<'_>, view: &View, writes: &mut Vec<Write>) {
    let charge = wanted(record).and_then(|(router, want)| Some((router, router.route()?, want)));
    if let Some((router, key, want)) = charge {
        let live = input.observed.routes.object(key).present();
        if let Some((live, dialect)) = live.zip(route::dialect(key)) {
            let free = route::claim(live.object.as_ref()).is_none() || is_claimed(input, live);
            if free && (want == Want::Joined || is_prepared(record, input, router, writes)) {
                push(writes, key, live, patch(record, input, dialect, live, (want, sent(record))));
            }
        }
    }
    let running = charge.map(|(_, key, _)| key);
    leftovers(record, input, view, running, writes);
    let release = input.release.to_string();
    if !matches!(charge, Some((Router::Istio { .. }, ..))) || is_joined(record, input) {
        let named = routes(input).any(|(key, live)| key.kind == "VirtualService" && is_claimed(input, live));
        for (key, live) in rules(input).filter(|_| !named) {
            push(writes, key, live, route::remove_subsets(live.object.as_ref(), &release));
        }
    }
}

/// Tells whether what a split route names is there; asks for a team's own rule to be widened where that is what is missing.
fn is_prepared(record: &Record, input: &Inputs<'_>, router: &Router, writes: &mut Vec<Write>) -> bool {
    match router {
        Router::Selector => true,
        Router::GatewayApi { .. } => {
            let keys = track_keys(input.release, input.namespace.as_str(), record);
            let mut services = keys.iter().filter(|key| key.kind == "Service");
            services.all(|key| input.observed.object(key).present().is_some())
        }
        Router::Istio { route, .. } => {
            let whole = service_key(input.release, input.namespace.as_str());
            let Some((key, live)) = rules(input).next() else {
                let own = render::subsets_key(&whole, &route.api_version);
                return input.observed.object(&own).present().is_some();
            };
            let missing = route::add_subsets(live.object.as_ref(), &input.release.to_string());
            let ready = missing.is_empty();
            push(writes, key, live, missing);
            ready
        }
    }
}

/// A split of ours that no rollout stands for any more: a record was lost, or the end could not be waited for.
fn leftovers(
    record: &Record,
    input: &Inputs<'_>,
    view: &View,
    running: Option<&ObjectKey>,
    writes: &mut Vec<Write>,
) {
    let empty = match &view.canary {
        Known::Unknown => return,
        Known::Absent => true,
        Known::Present(canary) => canary.settled && canary.replicas == 0 && canary.current.is_empty(),
    };
    let want = if empty { Want::Joined } else { Want::Split(0) };
    for (key, live) in routes(input).filter(|(key, live)| Some(*key) != running && is_claimed(input, live)) {
        if let Some(dialect) = route::dialect(key) {
            push(writes, key, live, patch(record, input, dialect, live, (want, None)));
        }
    }
}

/// Tells whether a split that no rollout stands for still gives traffic to the candidate's pods.
pub fn leftover_weight(record: &Record, input: &Inputs<'_>) -> bool {
    wanted(record).is_none()
        && routes(input).any(|(key, live)| {
            is_claimed(input, live)
                && (route::claim(live.object.as_ref()).is_some_and(|claim| claim.has_cohort())
                    || route::dialect(key)
                        .and_then(|dialect| route::share(dialect, live.object.as_ref(), names(input)))
                        .is_some_and(|share| share > 0))
        })
}

fn push(writes: &mut Vec<Write>, key: &ObjectKey, live: &Live, patch: Vec<Value>) {
    if !patch.is_empty() {
        let fence = Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
        writes.push(Write::Route { key: key.clone(), patch, fence });
    }
}
