//! The live timeline: what a person enjoys reading while the story runs. Nothing is printed where data is asked for.

use tokio::time::Instant;

use super::is_good;
use super::story::Chapter;
use super::world::{DemoError, NAMESPACE, World};
use crate::cli::output::{self, Format, Output, Tone, clean, paint, wrap};
use crate::cli::timeline::{self, Line};
use crate::model::rollout;

/// What stands before a line of the timeline: the seconds since the demo began.
const MARGIN: usize = 9;

/// Prints the story; cheap to clone.
#[derive(Clone)]
pub struct Teller {
    loud: bool,
    colour: bool,
    width: usize,
    begun: Instant,
}

impl Teller {
    /// For people; where data is asked for, nothing is said.
    pub fn new(output: Output) -> Self {
        let loud = output.format == Format::Table;
        Self { loud, colour: output.colour, width: usize::from(output.width), begun: Instant::now() }
    }

    fn say(&self, text: &str) {
        if self.loud {
            // Who closed the pipe has read enough.
            let _ = output::print(text);
        }
    }

    fn paint(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour)
    }

    /// Says what is about to start.
    pub fn opening(&self) {
        self.say("idp demo: a cluster, a Git repository, a registry, a broker and the daemon, all in this process.");
        self.say(&self.paint(
            "Each line of a rollout is a change of its Release object, as it was recorded.",
            Tone::Faint,
        ));
    }

    /// Says what is merged.
    pub fn chapter(&self, chapter: &Chapter, commit: &str) {
        let commit = commit.get(..10).unwrap_or(commit);
        self.say(&format!("\n■ {}", chapter.title));
        self.say(&self.paint(&format!("  merged {commit} \"{}\"", chapter.message), Tone::Faint));
    }

    /// Tells one change.
    pub fn line(&self, line: &Line) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let told = timeline::told(line, self.width.saturating_sub(MARGIN), self.colour);
        for (index, part) in told.iter().enumerate() {
            let margin = if index == 0 { format!("{seconds:6.1}s  ") } else { " ".repeat(MARGIN) };
            self.say(&format!("{margin}{part}"));
        }
    }

    /// Tells how a rollout ended.
    pub fn verdict(&self, as_told: bool, summary: &rollout::Summary) {
        let tone = if as_told && is_good(summary.outcome) { Tone::Good } else { Tone::Bad };
        let mark = if as_told { "✓" } else { "✗ not as told:" };
        self.say(&format!("  {mark} {}", self.paint(summary.outcome.name(), tone)));
    }

    /// Tells that nothing started, and why.
    pub fn quiet(&self, message: &str) {
        let message = &clean(&format!("no rollout: {message}"));
        for (index, part) in wrap(message, self.width.saturating_sub(4)).iter().enumerate() {
            let mark = if index == 0 { "  ✓ " } else { "    " };
            self.say(&format!("{mark}{part}"));
        }
    }

    /// Prints where everything is.
    pub fn addresses(&self, world: &World) -> Result<(), DemoError> {
        let kubeconfig = world.kubeconfig()?;
        self.say("\nEverything is left running; Ctrl-C ends it.");
        self.say(&format!("  metrics     http://{}/metrics", world.daemon.address()));
        self.say(&format!("  broker      {}", world.broker));
        self.say(&format!("  repository  {}", world.repository.path().display()));
        self.say(&format!(
            "  releases    kubectl --kubeconfig {} get releases -n {NAMESPACE}",
            kubeconfig.display()
        ));
        self.say(&format!("  status      idp --kubeconfig {} status", kubeconfig.display()));
        Ok(())
    }
}
