//! What tests of this room assign.

use std::time::Duration;

use crate::model::policy::{CheckKind, HealthCheck};
use crate::model::samples::{Assignment, Target};

/// The second stage of rollout 3 with these pods.
pub(in crate::evidence) fn assignment(pods: &[Target]) -> Assignment {
    let second = Duration::from_secs(1);
    Assignment {
        rollout: 3,
        stage: 2,
        health: HealthCheck {
            kind: CheckKind::Tcp,
            port: 80,
            interval: second * 5,
            timeout: second,
            threshold: 3,
            success_threshold: 2,
            initial_delay: Duration::ZERO,
        },
        traffic: true,
        latency: None,
        questions: Vec::new(),
        source: None,
        metrics_port: 80,
        pods: pods.to_vec(),
    }
}
