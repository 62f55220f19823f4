//! Why a pass ended early, and how soon it is tried again.

use std::time::Duration;

use crate::cluster::apply::WriteError;
use crate::cluster::error::ApiError;
use crate::cluster::record::RecordError;
use crate::cluster::view::ViewError;
use crate::model::duration::doubled;

const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_LONGEST: Duration = Duration::from_mins(1);
/// A conflict is looked at again at once; a server that says nothing else is not asked in a tight loop.
const CONFLICT_FIRST: Duration = Duration::from_millis(20);
/// A server that asks for a longer pause than this is asked again anyway.
const THROTTLED_LONGEST: Duration = Duration::from_mins(5);
/// How soon a look is tried again while the watches have not seen their initial lists.
const UNSYNCED: Duration = Duration::from_millis(100);
/// How soon a process that has been followed by another looks whether it leads again.
const DEPOSED: Duration = Duration::from_secs(1);
/// How soon a release is looked at again for which a person must act first.
const REFUSED: Duration = Duration::from_mins(1);

/// Why a pass ended early. The variant's name is the metric's label; how soon it is tried again is one `match`.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The watches have not seen their initial lists.
    #[error("the cluster is not known yet")]
    Unsynced(#[source] ViewError),
    /// Somebody else wrote the record or an object; everything is read again.
    #[error("the record was written by somebody else")]
    Conflict,
    /// The record was written by a leader of a newer term: this process leads no more, or has to stand again.
    #[error("its record was written in the newer term {newer} of leadership, and this is term {epoch}")]
    Deposed {
        /// The epoch of the record.
        newer: u64,
        /// The epoch of this process.
        epoch: u64,
    },
    /// The record could not be read or stored.
    #[error("the record could not be read or stored")]
    Record(#[source] Box<RecordError>),
    /// A write failed in a way that another time may mend.
    #[error("an object could not be written")]
    Write(#[source] Box<WriteError>),
    /// Nothing may be done until a person acts.
    #[error("{0}")]
    Refused(String),
}

impl PassError {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unsynced(_) => "unsynced",
            Self::Conflict => "conflict",
            Self::Deposed { .. } => "deposed",
            Self::Record(_) => "record",
            Self::Write(_) => "write",
            Self::Refused(_) => "refused",
        }
    }

    pub(super) fn retry_in(&self, errors: u32) -> Duration {
        match self {
            Self::Unsynced(_) => UNSYNCED,
            Self::Conflict => doubled(CONFLICT_FIRST, errors, BACK_OFF_LONGEST),
            Self::Record(_) | Self::Write(_) => {
                doubled(BACK_OFF_FIRST, errors, BACK_OFF_LONGEST).max(self.throttled())
            }
            Self::Deposed { .. } => DEPOSED,
            Self::Refused(_) => REFUSED,
        }
    }

    /// How long the server asks to be left alone.
    fn throttled(&self) -> Duration {
        let error = match self {
            Self::Record(error) => match error.as_ref() {
                RecordError::Api(error) => Some(error),
                _ => None,
            },
            Self::Write(error) => error.api(),
            Self::Unsynced(_) | Self::Conflict | Self::Deposed { .. } | Self::Refused(_) => None,
        };
        match error {
            Some(ApiError::Throttled { after }) => (*after).min(THROTTLED_LONGEST),
            _ => Duration::ZERO,
        }
    }
}

impl From<RecordError> for PassError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Conflict | RecordError::Gone => Self::Conflict,
            other => Self::Record(Box::new(other)),
        }
    }
}

/// Returns an error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    sentence
}
