//! How the pods of an image behave, read from its tag: `v2.errors-5.slow-2s` is a version that answers five requests of
//! a hundred with 500 and starts after two seconds. Words that are no behaviour say nothing.

use std::{sync::Arc, time::Duration};

/// What the metrics page of a pod looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsPage {
    /// `http_requests_total` and `http_request_duration_seconds`.
    #[default]
    Plain,
    /// `http_server_request_duration_seconds`, with the labels of OpenTelemetry: `otel`.
    OpenTelemetry,
    /// The page never answers: `metrics-hang`.
    Hang,
    /// There is no such page: `no-metrics`.
    Missing,
}

/// How a container ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With code 1: `crash`.
    Crash,
    /// Killed for its memory: `oom`.
    OutOfMemory,
    /// With this code, as the pods of Jobs do.
    Code(u8),
}

impl Exit {
    /// The code, the reason and the last lines of the log.
    pub(crate) fn told(self) -> (i64, &'static str, String) {
        match self {
            Self::Crash => (1, "Error", "fatal: the program gave up\n".to_owned()),
            Self::OutOfMemory => (137, "OOMKilled", String::new()),
            Self::Code(0) => (0, "Completed", String::new()),
            Self::Code(code) => (i64::from(code), "Error", format!("fatal: gave up with code {code}\n")),
        }
    }
}

/// Everything that an image's pods do out of the ordinary. The default is a healthy pod.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and they combine")]
pub struct Behaviour {
    /// `slow-5s`: the ports open only after this time, which the node scales.
    pub slow_start: Duration,
    /// `errors-5`: the share of answers that are 500, in percent; the health paths are exempt.
    pub error_percent: f64,
    /// `latency-200ms`: each answer waits for this time, which is not scaled.
    pub latency: Duration,
    /// `crash`, `oom`: each container ends soon after its start, before it opens its ports.
    pub exit: Option<Exit>,
    /// `crash-30s`, `oom-30s`: it serves for this time first, which the node scales.
    pub exit_after: Option<Duration>,
    /// `exit-3`: the code with which a container ends that does not run for ever, as those of Jobs; 0 if nothing is said. With `hang`
    /// it never ends.
    pub exit_code: u8,
    /// `runs-30s`: how long such a container runs, which the node scales.
    pub runs_for: Option<Duration>,
    /// `pull-error`: the image cannot be had.
    pub pull_error: bool,
    /// `config-error`: the container cannot be made.
    pub config_error: bool,
    /// `unready-30s`: this long after its start, which the node scales, the pod turns unready.
    pub unready_after: Option<Duration>,
    /// `health-fail`: the health paths answer 503.
    pub health_fails: bool,
    /// `grpc`: the ports speak HTTP/2 too, and `grpc.health.v1` answers there; with `health-fail` that it is not serving.
    pub grpc: bool,
    /// `hang`: connections are accepted, and nothing is answered.
    pub hangs: bool,
    /// `otel`, `metrics-hang`, `no-metrics`.
    pub metrics: MetricsPage,
}

impl Behaviour {
    /// Reads a tag. A version number with dots is just words that say nothing.
    pub fn parse(tag: &str) -> Self {
        let mut out = Self::default();
        for word in tag.split('.') {
            out.add(word);
        }
        out
    }

    /// The behaviour of a container in a pod with this `restartPolicy`: what is not always started again runs to an end.
    pub(crate) fn under(&self, policy: &str) -> Self {
        let serves = matches!(policy, "" | "Always") || self.exit.is_some() || self.hangs;
        if serves {
            return self.clone();
        }
        let (exit, exit_after) = (Some(Exit::Code(self.exit_code)), self.runs_for);
        Self { exit, exit_after, ..self.clone() }
    }

    fn add(&mut self, word: &str) {
        match word {
            "crash" => self.exit = Some(Exit::Crash),
            "oom" => self.exit = Some(Exit::OutOfMemory),
            "pull-error" => self.pull_error = true,
            "config-error" => self.config_error = true,
            "health-fail" => self.health_fails = true,
            "hang" => self.hangs = true,
            "grpc" => self.grpc = true,
            "otel" => self.metrics = MetricsPage::OpenTelemetry,
            "metrics-hang" => self.metrics = MetricsPage::Hang,
            "no-metrics" => self.metrics = MetricsPage::Missing,
            _ => self.add_measured(word),
        }
    }

    fn add_measured(&mut self, word: &str) {
        let Some((name, amount)) = word.rsplit_once('-') else { return };
        match (name, duration(amount), amount.parse::<f64>()) {
            ("slow", Some(time), _) => self.slow_start = time,
            ("latency", Some(time), _) => self.latency = time,
            ("unready", Some(time), _) => self.unready_after = Some(time),
            ("crash" | "oom", Some(time), _) => {
                self.exit = Some(if name == "oom" { Exit::OutOfMemory } else { Exit::Crash });
                self.exit_after = Some(time);
            }
            ("runs", Some(time), _) => self.runs_for = Some(time),
            ("exit", _, Ok(_)) => self.exit_code = amount.parse().unwrap_or(u8::MAX),
            ("errors", _, Ok(percent)) => self.error_percent = percent.clamp(0.0, 100.0),
            _ => {}
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    if let Some(number) = text.strip_suffix('s') {
        return number.parse().ok().map(Duration::from_secs);
    }
    text.strip_suffix('m')?.parse().ok().map(Duration::from_mins)
}

/// What a node got when it pulled an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// How its pods behave.
    pub behaviour: Behaviour,
    /// `repository@digest`, if the digest is known.
    pub image_id: Option<String>,
}

impl Pulled {
    /// Reads the behaviour from the tag of `image`; without a tag it is healthy.
    pub fn by_tag(image: &str) -> Self {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (image, None),
        };
        let last = name.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map_or("", |(_, tag)| tag);
        let repository = name.strip_suffix(&format!(":{tag}")).unwrap_or(name);
        Self {
            behaviour: Behaviour::parse(tag),
            image_id: digest.map(|digest| format!("{repository}@{digest}")),
        }
    }
}

/// From the image of a container to what is pulled.
pub type Resolver = Arc<dyn Fn(&str) -> Pulled + Send + Sync>;

/// The resolver that knows tags only.
pub fn by_tag() -> Resolver {
    Arc::new(Pulled::by_tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviours_combine() {
        let found = Behaviour::parse("v2.errors-5.slow-2s.otel");
        assert!((found.error_percent - 5.0).abs() < f64::EPSILON);
        assert_eq!(found.slow_start, Duration::from_secs(2));
        assert_eq!(found.metrics, MetricsPage::OpenTelemetry);
        assert_eq!(Behaviour::parse("1.2.3"), Behaviour::default());
        assert_eq!(Behaviour::parse("unready-30s").unready_after, Some(Duration::from_secs(30)));
        assert_eq!(Behaviour::parse("crash-5s").exit_after, Some(Duration::from_secs(5)));
        assert_eq!(Behaviour::parse("exit-3").under("Never").exit, Some(Exit::Code(3)));
        assert_eq!(Behaviour::parse("v1").under("OnFailure").exit, Some(Exit::Code(0)));
        assert_eq!(Behaviour::parse("exit-3").under("Always").exit, None);
        assert_eq!(Behaviour::parse("hang").under("Never").exit, None);
        assert_eq!(Behaviour::parse("crash.exit-3").under("Never").exit, Some(Exit::Crash));
        assert_eq!(Behaviour::parse("latency-200ms").latency, Duration::from_millis(200));
    }

    #[test]
    fn tags_are_found_beside_ports_and_digests() {
        assert_eq!(Pulled::by_tag("127.0.0.1:5000/shop/web:crash").behaviour.exit, Some(Exit::Crash));
        assert_eq!(Pulled::by_tag("127.0.0.1:5000/shop/web").behaviour, Behaviour::default());
        let pinned = Pulled::by_tag("shop/web:oom@sha256:ab");
        assert_eq!(pinned.behaviour.exit, Some(Exit::OutOfMemory));
        assert_eq!(pinned.image_id.as_deref(), Some("shop/web@sha256:ab"));
    }
}
