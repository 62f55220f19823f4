//! A source that somebody suspended: it is not looked at. What it said last stays, and what runs goes on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person last asked for: the document that is kept in the cluster, and written by the command line alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionAsked {
    /// Suspended, or resumed.
    pub suspended: bool,
    /// By whom, as the API server knows them.
    pub who: String,
    /// Why, in their words.
    #[serde(default)]
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// Why a source is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// By whom; absent: by the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when; absent: since the daemon's start at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Suspended {
    /// By the configuration.
    pub fn by_configuration() -> Self {
        Self { who: None, why: String::new(), at: None }
    }

    /// What a person asked for, if that is a suspension.
    pub fn by(asked: &SuspensionAsked) -> Option<Self> {
        let SuspensionAsked { suspended, who, why, at } = asked.clone();
        suspended.then_some(Self { who: Some(who), why, at: Some(at) })
    }

    /// Returns it as a sentence's end, with how to end it: "suspended by ann: audit; …".
    pub fn sentence(&self, source: &str) -> String {
        match (&self.who, self.why.as_str()) {
            (None, _) => "suspended by the configuration: remove `suspend` there to resume it".to_owned(),
            (Some(who), "") => format!("suspended by {who}; idp sources resume {source} resumes it"),
            (Some(who), why) => {
                format!("suspended by {who}: {why}; idp sources resume {source} resumes it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_suspends_says_how_to_resume() {
        let asked = SuspensionAsked {
            suspended: true,
            who: "ann".to_owned(),
            why: "audit".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let by = Suspended::by(&asked).unwrap();
        assert_eq!(by.sentence("web"), "suspended by ann: audit; idp sources resume web resumes it");
        assert_eq!(Suspended::by(&SuspensionAsked { suspended: false, ..asked }), None);
        assert!(Suspended::by_configuration().sentence("web").contains("remove `suspend`"));
    }
}
