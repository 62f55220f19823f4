//! What moves a share of traffic to the candidate: what the file asks for, and what was chosen when a rollout began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::object::ObjectKey;

/// The API group of `HTTPRoute`.
pub const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The API group of `VirtualService` and `DestinationRule`.
pub const ISTIO: &str = "networking.istio.io";
/// The annotation on a team's route while it is split: whose split it is, and the weights to which it goes back.
pub const ANNOTATION_SPLIT: &str = "idp.dev/split";
/// The track, and so the suffix of the Service and the name of the subset, that has stable's pods only.
pub const STABLE: &str = "stable";
/// The same of the candidate's pods.
pub const CANARY: &str = "canary";

/// `deploy.traffic.provider`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// A route of the namespace that names the Service, if there is one; else by pods.
    #[default]
    Auto,
    /// Traffic follows pods.
    Replicas,
    /// An `HTTPRoute`.
    GatewayApi,
    /// A `VirtualService`.
    Istio,
}

/// `deploy.traffic`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Who moves the traffic.
    #[serde(default)]
    pub provider: Provider,
    /// The name of the route, in the release's namespace; `None`: the one that names the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The one gateway that counts: the route must be attached to it, and no other one has to accept it; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// `deploy.canary[].match`: the requests that go to the candidate whatever its weight. All conditions have to hold; there is one at least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Headers with exactly these values; the names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// A cookie with exactly this value, by its name: one at most, since one header holds them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<(String, String)>,
}

/// What moves the traffic of one rollout: chosen when it begins, and kept until it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Router {
    /// The weights of a team's own `HTTPRoute`.
    GatewayApi {
        /// The route.
        route: ObjectKey,
        /// See [`Traffic::gateway`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<String>,
    },
    /// The weights of a team's own `VirtualService`, by subset.
    Istio {
        /// The route.
        route: ObjectKey,
        /// See [`Traffic::gateway`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<String>,
    },
    /// The selector of the team's own Service: all or nothing.
    Selector,
}

impl Router {
    /// Returns the route, where there is one.
    pub fn route(&self) -> Option<&ObjectKey> {
        match self {
            Self::GatewayApi { route, .. } | Self::Istio { route, .. } => Some(route),
            Self::Selector => None,
        }
    }

    /// Returns the one gateway that has to accept the route, where one is named.
    pub fn gateway(&self) -> Option<&str> {
        match self {
            Self::GatewayApi { gateway, .. } | Self::Istio { gateway, .. } => gateway.as_deref(),
            Self::Selector => None,
        }
    }
}

/// For people: `HTTPRoute shop/web`.
impl std::fmt::Display for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.route() {
            Some(route) => f.write_str(&route.for_people()),
            None => f.write_str("the selector of the Service"),
        }
    }
}
