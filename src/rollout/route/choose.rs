//! Which router a rollout gets: what the file asks for, held against the routes that are there.

use super::{Names, claim, dialect, names_service};
use crate::model::name::ReleaseKey;
use crate::model::object::ObjectKey;
use crate::model::observed::{Known, Live, Observed};
use crate::model::traffic::{GATEWAY_API, ISTIO, Provider, Router, Traffic};

/// What moves the traffic of a rollout that is about to start.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Nothing: traffic follows pods.
    Pods,
    /// A route.
    Route(Router),
    /// Cannot be told, or not be had, now: one sentence.
    Wait(String),
    /// What the file asks for is not to be had: what, and how to mend it.
    Refused(String),
}

#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    name: &'static str,
    provider: &'static str,
}

const HTTP_ROUTE: Kind = Kind { group: GATEWAY_API, name: "HTTPRoute", provider: "gateway_api" };
const VIRTUAL_SERVICE: Kind = Kind { group: ISTIO, name: "VirtualService", provider: "istio" };

/// Chooses. `auto` takes the one route that names the Service and, where there is none or more than one, pods.
pub fn choose(traffic: &Traffic, release: &ReleaseKey, namespace: &str, observed: &Observed) -> Choice {
    let search = Search { traffic, release, namespace, observed };
    match traffic.provider {
        Provider::Replicas => Choice::Pods,
        Provider::GatewayApi => search.declared(HTTP_ROUTE),
        Provider::Istio => search.declared(VIRTUAL_SERVICE),
        Provider::Auto => search.auto(),
    }
}

struct Search<'a> {
    traffic: &'a Traffic,
    release: &'a ReleaseKey,
    namespace: &'a str,
    observed: &'a Observed,
}

impl<'a> Search<'a> {
    fn names(&self) -> Names<'a> {
        Names { service: self.release.service.as_str(), namespace: self.namespace }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (&'a ObjectKey, &'a Known<Live>)> {
        let is = move |key: &&ObjectKey| {
            key.kind == kind.name
                && key.api_version.split_once('/').is_some_and(|(group, _)| group == kind.group)
        };
        self.observed.routes.objects.iter().filter(move |(key, _)| is(key))
    }

    fn naming(&self, kind: Kind) -> Vec<&'a ObjectKey> {
        let names = self.names();
        self.of(kind)
            .filter(|(key, known)| {
                let live = known.present().zip(dialect(key));
                live.is_some_and(|(live, dialect)| names_service(dialect, live.object.as_ref(), names))
            })
            .map(|(key, _)| key)
            .collect()
    }

    fn auto(&self) -> Choice {
        for kind in [HTTP_ROUTE, VIRTUAL_SERVICE] {
            if self.traffic.route.is_some() && self.named(kind).is_some() {
                return self.declared(kind);
            }
            if self.traffic.route.is_none()
                && let [key] = self.naming(kind).as_slice()
            {
                return self.checked(kind, key);
            }
        }
        match &self.traffic.route {
            Some(route) => Choice::Refused(format!(
                "`deploy.traffic.route` is {route}, and namespace {} has neither an HTTPRoute nor a VirtualService of that name: create it, or remove the key",
                self.namespace
            )),
            None => Choice::Pods,
        }
    }

    fn named(&self, kind: Kind) -> Option<(&'a ObjectKey, &'a Known<Live>)> {
        let route = self.traffic.route.as_deref();
        self.of(kind).find(|(key, known)| Some(key.name.as_str()) == route && **known != Known::Absent)
    }

    fn declared(&self, kind: Kind) -> Choice {
        let Kind { name, provider, group } = kind;
        if !self.observed.routes.serves(group, name) {
            return Choice::Refused(format!(
                "`deploy.traffic.provider` is {provider}, and the cluster serves no {name} that may be read: install it, or write provider: replicas"
            ));
        }
        if let Some(route) = &self.traffic.route {
            return match self.named(kind) {
                Some((key, Known::Present(_))) => self.checked(kind, key),
                Some(_) => Choice::Wait(format!("{name} {}/{route} could not be read", self.namespace)),
                None => Choice::Refused(format!(
                    "`deploy.traffic.route` is {route}, and there is no {name} {}/{route}: create it, or name another",
                    self.namespace
                )),
            };
        }
        match self.naming(kind).as_slice() {
            [key] => self.checked(kind, key),
            [] => Choice::Refused(format!(
                "`deploy.traffic.provider` is {provider}, and no {name} in namespace {} has the Service {} as a backend: create one, or write provider: replicas",
                self.namespace, self.release.service
            )),
            several => Choice::Refused(format!(
                "{} {name}s in namespace {} have the Service {} as a backend ({}): write `deploy.traffic.route`",
                several.len(),
                self.namespace,
                self.release.service,
                several.iter().take(5).map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    fn checked(&self, kind: Kind, key: &ObjectKey) -> Choice {
        let known = self.observed.routes.objects.get(key).and_then(Known::present);
        let Some((live, dialect)) = known.zip(dialect(key)) else {
            return Choice::Wait(format!("{} could not be read", key.for_people()));
        };
        let object = live.object.as_ref();
        let what = key.for_people();
        if !names_service(dialect, object, self.names()) {
            return Choice::Refused(format!(
                "{what} has no backend that is the Service {}: add it to a rule, or name another route in `deploy.traffic.route`",
                self.release.service
            ));
        }
        if let Some(gateway) = self.traffic.gateway.as_deref()
            && !dialect.attached(object, gateway)
        {
            return Choice::Refused(format!(
                "{what} is not attached to the gateway {gateway} that `deploy.traffic.gateway` names: attach it, or remove the key"
            ));
        }
        if let Some(other) = claim(object).filter(|claim| claim.release != self.release.to_string()) {
            return Choice::Wait(format!("{what} is split for {} now", other.release));
        }
        let (route, gateway) = (key.clone(), self.traffic.gateway.clone());
        Choice::Route(match kind.group {
            GATEWAY_API => Router::GatewayApi { route, gateway },
            _ => Router::Istio { route, gateway },
        })
    }
}
