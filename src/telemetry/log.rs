//! Log lines: how they are set up, and the one line that each transition gets.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::model::transition::Transition;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("reading the log filter {filter:?}: write for example info, or info,idp=debug")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set it up already.
    #[error("setting up the log")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sets up logging for the process, to standard error. `filter` is in the form of `RUST_LOG`: `info`, `info,idp=debug`. Fails if
/// the filter does not parse, or if it is called twice.
pub fn init(filter: &str, format: Format) -> Result<(), LogError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.chars().take(200).collect(), source })?;
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stderr().is_terminal() && !refused;
    let builder =
        tracing_subscriber::fmt().with_env_filter(parsed).with_ansi(colour).with_writer(std::io::stderr);
    match format {
        Format::Human => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Twice)
}

/// Writes the one line of a transition; bad news is a warning.
pub fn log_transition(transition: &Transition) {
    let Transition { release, team, source, rollout, kind, sentence, at, environment } = transition;
    let event = kind.name();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(event, %release, %environment, %team, %source, rollout, %at, "{sentence}")
        };
    }
    if kind.is_warning() {
        line!(warn);
    } else {
        line!(info);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::catalogue::stories::stories;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_transition_is_one_line_with_its_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        let stories = stories();
        tracing::subscriber::with_default(subscriber, || stories.iter().for_each(log_transition));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), stories.len());
        for (line, story) in text.lines().zip(&stories) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["event"], story.kind.name());
            assert_eq!(line["release"], "hello.production");
            assert_eq!(line["message"], story.sentence.as_str());
            assert_eq!(line["level"], if story.kind.is_warning() { "WARN" } else { "INFO" });
        }
    }

    #[test]
    fn a_filter_that_does_not_parse_is_an_error() {
        assert!(matches!(init("idp=[", Format::Human), Err(LogError::Filter { .. })));
    }
}
