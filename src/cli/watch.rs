//! `idp rollout watch RELEASE`: follows a rollout to its end. The watch of the object brings the news; `timeline` says what it is.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};

use super::connect::Scope;
use super::explain::{explain, explain_view};
use super::fleet::{ReleaseView, Seen};
use super::timeline::{self, Line};
use super::{CliError, Exit, Output, connect, output};
use crate::model::duration;
use crate::model::record::Record;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long to watch at most; `None`: to the end.
    pub timeout: Option<Duration>,
    /// Wait for the next rollout if none is running, instead of telling how the last one ended.
    pub next: bool,
    /// How long the watch may be broken before the cluster counts as unreachable.
    pub broken: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: None, next: false, broken: Duration::from_mins(1) }
    }
}

/// Follows the running rollout to its end, or tells at once how the last one ended.
pub async fn run(scope: &Scope, output: &Output, asked: &str, options: Options) -> Result<Exit, CliError> {
    let view = connect::find(scope, asked).await?;
    let mut follower = Follower::new(&view, *output, options.next);
    let whole = follow(&scope.client, &view, &mut follower, options.broken);
    let ended = match options.timeout {
        None => whole.await,
        Some(limit) => tokio::time::timeout(limit, whole).await.unwrap_or(Ok(Exit::Timeout)),
    };
    if let (Ok(Exit::Timeout), Some(limit)) = (&ended, options.timeout) {
        let after = duration::format(limit);
        follower.note(&format!("still going on after {after}: idp explain {}", view.release))?;
    }
    follower.finish();
    ended
}

async fn follow(
    client: &Client,
    view: &ReleaseView,
    follower: &mut Follower,
    broken: Duration,
) -> Result<Exit, CliError> {
    if let Some(exit) = follower.see(view)? {
        return Ok(exit);
    }
    let api = connect::releases_in(client, &view.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", view.name));
    let mut events = pin!(watcher::watcher(api, config).default_backoff());
    let mut broken_since: Option<tokio::time::Instant> = None;
    loop {
        match next(&mut events, broken_since.map(|since| since + broken)).await {
            Some(Ok(Event::Apply(object) | Event::InitApply(object))) => {
                broken_since = None;
                let seen = ReleaseView::of(&object);
                if seen.name == view.name
                    && let Some(exit) = follower.see(&seen)?
                {
                    return Ok(exit);
                }
            }
            Some(Ok(Event::Delete(object))) if object.metadata.name.as_deref() == Some(&view.name) => {
                return Err(CliError::NoSuchRelease { asked: view.release.clone(), known: Vec::new() });
            }
            Some(Ok(_)) => broken_since = None,
            Some(Err(_)) => {
                broken_since.get_or_insert_with(tokio::time::Instant::now);
            }
            None => {
                let what = format!("watching {}", view.release);
                return Err(CliError::Late { what, after: broken });
            }
        }
    }
}

/// Returns the next event; `None` once the deadline of a broken watch is over.
async fn next(
    events: &mut (impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Unpin),
    deadline: Option<tokio::time::Instant>,
) -> Option<watcher::Result<Event<DynamicObject>>> {
    match deadline {
        None => events.next().await,
        Some(deadline) => tokio::time::timeout_at(deadline, events.next()).await.ok().flatten(),
    }
}

/// What was seen so far, and where it is printed.
struct Follower {
    output: Output,
    release: String,
    /// The rollout that is followed, once there is one.
    number: Option<u64>,
    /// Rollouts up to this number are history.
    after: u64,
    wait: bool,
    before: Option<Record>,
    bar: Option<ProgressBar>,
}

impl Follower {
    fn new(view: &ReleaseView, output: Output, wait: bool) -> Self {
        let record = view.record();
        Self {
            output,
            release: view.release.clone(),
            number: record.and_then(|record| record.rollout.as_ref()).map(|rollout| rollout.number),
            after: record.map_or(0, |record| record.rollouts),
            wait,
            before: None,
            bar: output.live.then(new_bar),
        }
    }

    /// Takes one reading; `Some` when there is nothing more to follow.
    fn see(&mut self, view: &ReleaseView) -> Result<Option<Exit>, CliError> {
        let record = match &view.seen {
            Seen::Record(record) => record.as_ref(),
            Seen::Empty => return Ok(None),
            Seen::Unreadable(_) => {
                self.note(&explain_view(view, super::now()).why)?;
                return Ok(Some(Exit::Bad));
            }
        };
        let number = match self.number.or_else(|| begun(record, self.after)) {
            Some(number) => number,
            None if self.wait => return Ok(None),
            None => return self.nothing_runs(record).map(Some),
        };
        self.number = Some(number);
        for line in timeline::between(self.before.as_ref(), record, number, super::now()) {
            self.line(&line)?;
        }
        self.show_bar(record, number);
        self.before = Some(record.clone());
        let Some(summary) = timeline::end(record, number) else { return Ok(None) };
        let explanation = explain(&self.release, record, super::now());
        if let Some(advice) = timeline::advice(&self.release, summary.outcome, &explanation) {
            self.note(&advice)?;
        }
        Ok(Some(timeline::exit(summary.outcome)))
    }

    fn nothing_runs(&mut self, record: &Record) -> Result<Exit, CliError> {
        let explanation = explain(&self.release, record, super::now());
        self.note(&format!("no rollout is running: {}", explanation.why))?;
        let Some((number, summary)) = record.history.last_key_value() else { return Ok(Exit::Good) };
        for line in timeline::between(None, record, *number, summary.ended_at) {
            self.line(&line)?;
        }
        if let Some(advice) = timeline::advice(&self.release, summary.outcome, &explanation) {
            self.note(&advice)?;
        }
        Ok(timeline::exit(summary.outcome))
    }

    fn line(&self, line: &Line) -> Result<(), CliError> {
        let write = || self.output.entry(line, |output| timeline::text(line, output.colour));
        self.bar.as_ref().map_or_else(write, |bar| bar.suspend(write))
    }

    /// For people only: scripts read the lines and the exit code.
    fn note(&self, text: &str) -> Result<(), CliError> {
        if self.output.format != output::Format::Table {
            return Ok(());
        }
        let write = || output::print(&output::clean(text));
        self.bar.as_ref().map_or_else(write, |bar| bar.suspend(write))
    }

    fn show_bar(&self, record: &Record, number: u64) {
        if let (Some(bar), Some(rollout)) =
            (&self.bar, record.rollout.as_ref().filter(|r| r.number == number))
        {
            let state = timeline::bar(record, rollout);
            bar.set_position(state.position);
            bar.set_message(output::clean(&state.message));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The rollout that began after the first look, running or already ended.
fn begun(record: &Record, after: u64) -> Option<u64> {
    let running = record.rollout.as_ref().map(|rollout| rollout.number);
    running.or_else(|| record.history.keys().next_back().copied()).filter(|number| *number > after)
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} [{bar:30}] {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixtures::{self as at, view};
    use super::super::output::Format;
    use super::*;

    /// Feeds readings; returns after how many it ended, and how.
    fn feed(next: bool, statuses: &[Value]) -> Option<(usize, Exit)> {
        let output = Output { format: Format::Json, colour: false, width: 100, live: false };
        let mut follower = Follower::new(&view(&statuses[0]), output, next);
        statuses
            .iter()
            .enumerate()
            .find_map(|(index, status)| follower.see(&view(status)).unwrap().map(|exit| (index, exit)))
    }

    #[test]
    fn it_ends_with_the_rollout() {
        let bad = at::not_again("held", 1, None);
        assert_eq!(feed(false, &[at::watched(), at::going_back(), bad]), Some((2, Exit::Bad)));
        let mut good = at::stable();
        good["rollouts"] = 7.into();
        good["history"]["7"] = good["history"]["6"].clone();
        assert_eq!(feed(false, &[at::watched(), at::rolling("Baking"), good.clone()]), Some((2, Exit::Good)));
        assert_eq!(feed(false, &[at::watched(), at::going_back()]), None);
        assert_eq!(feed(false, &[at::stable()]), Some((0, Exit::Good)), "none runs: how the last one ended");
        assert_eq!(feed(false, &[at::not_again("held", 1, None)]), Some((0, Exit::Bad)));
        assert_eq!(feed(true, &[at::stable(), at::stable(), at::watched(), good]), Some((3, Exit::Good)));
    }

    #[test]
    fn a_record_that_turns_unreadable_ends_it() {
        let broken = serde_json::json!({"schema": 1});
        assert_eq!(feed(false, &[at::watched(), broken]), Some((1, Exit::Bad)));
    }
}
