//! One health check of one pod.

use super::dial::{Ask, DialError, Dialer, Way};
use super::grpc::{self, GrpcError};
use crate::model::policy::{CheckKind, HealthCheck};
use crate::model::samples::Target;

/// Only the status decides; a body is read for as long as kubelet would, so that a pod that hangs in it fails as it does there.
const BODY: usize = 64 << 10;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The pod answered with a status that is not accepted.
    #[error("HTTP {0}")]
    Status(u16),
    /// The pod answered over gRPC that it is not serving, or cannot say.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// The pod did not answer.
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl CheckError {
    /// Returns one clause for people: `HTTP 503`, `no answer within 2s`, `connection refused`.
    pub fn clause(&self) -> String {
        match self {
            Self::Status(_) => self.to_string(),
            Self::Grpc(error) => error.clause(),
            Self::Dial(error) => error.clause(),
        }
    }
}

/// Asks one pod once, within the check's timeout. [`CheckKind::None`] asks nothing and passes.
pub async fn check(dialer: &Dialer, way: &Way, pod: &Target, health: &HealthCheck) -> Result<(), CheckError> {
    match &health.kind {
        CheckKind::None => Ok(()),
        CheckKind::Grpc => Ok(grpc::serving(dialer, way, pod, health.port, health.timeout).await?),
        CheckKind::Tcp => Ok(dialer.knock(way, pod, health.port, health.timeout).await?),
        CheckKind::Http { path, tls, status } => {
            let ask = Ask {
                port: health.port,
                tls: *tls,
                path,
                accept: "*/*",
                limit: BODY,
                deadline: health.timeout,
            };
            let reply = dialer.get(way, pod, ask).await?;
            let accepted = status.iter().any(|(from, to)| (*from..=*to).contains(&reply.status));
            if accepted { Ok(()) } else { Err(CheckError::Status(reply.status)) }
        }
    }
}

#[cfg(test)]
mod tests;
