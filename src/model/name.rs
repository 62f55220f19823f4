//! Names: DNS labels with a bound on their length, and the key of a release.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a {what} may not be empty")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// Longer than the object names that are made from it allow.
    #[error("{what} {text:?} has {length} characters; at most {limit} are allowed")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The text, cut to 80 characters.
        text: String,
        /// Its length in characters.
        length: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// A character or a place that DNS labels do not allow.
    #[error(
        "{what} {text:?} is not a DNS label: lower-case letters, digits and '-', beginning and ending with a letter or digit"
    )]
    NotALabel {
        /// The kind of name.
        what: &'static str,
        /// The text, cut to 80 characters.
        text: String,
    },
    /// A release key without its dot.
    #[error("{text:?} is not a release: write <service>.<environment>")]
    NotARelease {
        /// The text, cut to 80 characters.
        text: String,
    },
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn check_label(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    let length = text.chars().count();
    if length > limit {
        return Err(NameError::TooLong { what, text: cut(text), length, limit });
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = text.starts_with(outer) && text.ends_with(outer);
    if ends && text.chars().all(inner) { Ok(()) } else { Err(NameError::NotALabel { what, text: cut(text) }) }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest name that is allowed, in characters.
            pub const LIMIT: usize = $limit;

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_label($what, text, $limit)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(
    /// The name of a service: the base name of its objects, so 40 characters leave room for suffixes.
    ServiceName, "service name", 40
);
label!(
    /// The name of a team, as the forge knows it.
    TeamName, "team name", 40
);
label!(
    /// The name of a group of services that roll out together; two teams' groups of one name are two.
    GroupName, "group name", 40
);
label!(
    /// The name of an environment.
    EnvironmentName, "environment name", 22
);
label!(
    /// The name of a source; the last part of its webhook's path.
    SourceName, "source name", 50
);
label!(
    /// The name of a Kubernetes namespace.
    Namespace, "namespace", 63
);

/// A service in an environment: the unit of reconciliation and of locking. Written `<service>.<environment>`; neither part can
/// contain a dot, and together they fit a label value (63 characters).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseKey {
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub environment: EnvironmentName,
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.environment)
    }
}

impl FromStr for ReleaseKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, environment) =
            text.split_once('.').ok_or_else(|| NameError::NotARelease { text: cut(text) })?;
        Ok(Self { service: service.parse()?, environment: environment.parse()? })
    }
}

impl TryFrom<String> for ReleaseKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ReleaseKey> for String {
    fn from(key: ReleaseKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked_once_and_for_all() {
        assert!("payments-api".parse::<ServiceName>().is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "é", &"a".repeat(41)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_release_is_service_dot_environment() {
        let key: ReleaseKey = "hello.production".parse().unwrap();
        assert_eq!(key.to_string(), "hello.production");
        for bad in ["hello", "hello.", ".production", "a.b.c"] {
            assert!(bad.parse::<ReleaseKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serde_refuses_what_parse_refuses() {
        assert!(serde_json::from_str::<ServiceName>("\"Not A Name\"").is_err());
        assert!(serde_json::from_str::<ReleaseKey>("\"a.b\"").is_ok());
    }
}
