//! Autoscalers: the bounds that a file declares, and what a running rollout keeps of somebody who scales stable's Deployment.

use serde::{Deserialize, Serialize};

/// The API version of autoscalers.
pub const AUTOSCALING: &str = "autoscaling/v2";
/// Their kind.
pub const AUTOSCALER: &str = "HorizontalPodAutoscaler";
/// The CPU utilisation that an autoscaler aims at where the file names none, in per cent of what is requested: Kubernetes' own default.
pub const DEFAULT_CPU: u32 = 80;

/// `workload.replicas: {min, max, cpu}`; belongs to no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    /// Pods at least, 1 to 10,000.
    pub min: u32,
    /// Pods at most, `min` to 10,000.
    pub max: u32,
    /// The mean CPU use that is aimed at, in per cent of what a pod requests, 1 to 1,000.
    pub cpu: u32,
}

/// What a running rollout keeps of an autoscaler of stable's Deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// There is one: the candidate stands beside all of stable's pods, and no write of ours but one gives stable a size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scaled: bool,
    /// Without a router: the candidate's pods in the running step, which stay as they are until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<u32>,
    /// The candidate is about to lose its pods: stable is to have all that were ever asked for since the rollout left Preparing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raising: bool,
    /// Stable was seen so: from then on the autoscaler's word holds again, less included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lifted: bool,
}

impl Scaling {
    /// Tells whether there is nothing to keep.
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}
