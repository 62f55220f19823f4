//! What happens in a simulation: commits, commands and faults at their times, all drawn from one seed.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::feed::Weather;
use super::gateway::Way;
use super::heads::{Asks, Shape};
use super::orders::{Cut, Storm};
use super::street::Haze;
use crate::model::command::Verb;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// A commit asks for an image, which is pushed so many seconds later.
    Commit { tag: String, late: u32 },
    /// A commit changes the number of pods.
    Scale { replicas: u32 },
    /// A commit whose declaration is none.
    Broken,
    /// A person gives a command; `promote` with `--full` where that is said.
    Command(Verb, bool),
    /// A person suspends the release, or resumes it.
    Suspend(bool),
    /// Somebody else edits what is ours.
    Edit(Edit),
    /// Something happens to one of the pods.
    Harm(Harm, u32),
    /// The node loses contact for so many seconds.
    NodeLost { seconds: u32 },
    /// No room for new pods for so many seconds.
    NoRoom { seconds: u32 },
    /// The daemon dies at one of its next writes and is away so many milliseconds.
    Crash { write: u32, cut: Cut, away: u32 },
    /// The daemon dies between two requests.
    Kill { away: u32 },
    /// Another daemon leads; the old one has not noticed for so many milliseconds.
    Takeover { overlap: u32 },
    /// The API server is in trouble.
    Storm { storm: Storm, permille: u32, seconds: u32 },
    /// The watch of a kind shows things late, twice, or not.
    Watch { kind: u32, weather: Weather, seconds: u32 },
    /// Pods cannot be measured.
    Haze { haze: Haze, seconds: u32 },
    /// The registry is away.
    Registry { seconds: u32 },
    /// The broker is away.
    Broker { seconds: u32 },
    /// The source cannot be looked at: a daemon that starts knows no head.
    Git { seconds: u32 },
    /// The daemon's clock jumps.
    Jump { seconds: i32 },
    /// The controllers of the cluster do nothing for so many milliseconds.
    Lag { milliseconds: u32 },
}

/// A foreign edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// `kubectl scale` of stable's Deployment.
    ScaleStable(u32),
    /// `kubectl scale` of the candidate's.
    ScaleCanary(u32),
    /// An environment variable in stable's template.
    Template,
    /// A label on the Service's selector.
    Service,
    /// The candidate's Deployment is deleted.
    DeleteCanary,
    /// The candidate's weight in the team's route, while it is split.
    Weight(u32),
    /// A header that the team's route sets from now on.
    Header,
}

/// What happens to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Its container is killed.
    Kill,
    /// It is evicted through the API.
    Evict,
    /// The node puts it out.
    PutOut,
}

impl Action {
    /// The kind, for the summary.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Commit { .. } | Self::Scale { .. } | Self::Broken => "commit",
            Self::Command(..) => "command",
            Self::Suspend(_) => "suspend",
            Self::Edit(_) => "foreign edit",
            Self::Harm(..) => "pod harmed",
            Self::NodeLost { .. } => "node lost",
            Self::NoRoom { .. } => "no room",
            Self::Crash { .. } | Self::Kill { .. } => "crash",
            Self::Takeover { .. } => "two leaders",
            Self::Storm { .. } => "API storm",
            Self::Watch { .. } => "watch",
            Self::Haze { .. } => "metrics",
            Self::Registry { .. } => "registry away",
            Self::Broker { .. } => "broker away",
            Self::Git { .. } => "Git away",
            Self::Jump { .. } => "clock jump",
            Self::Lag { .. } => "controllers late",
        }
    }
}

/// Everything that one seed means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) replicas: u32,
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) actions: Vec<(Duration, Action)>,
    /// From then on nothing happens.
    pub(super) calm: Duration,
    /// One more good version comes at the end, also where the last one was good.
    pub(super) again: bool,
}

/// When the first commit was rolled out, if nothing hindered it.
const BEGIN: u64 = 60;
/// As many as there are kinds to watch, or more.
const WATCHES: u32 = 14;
/// How long after a commit its rollout is as a rule over, in seconds.
const ROLLED: u64 = 90;

impl Plan {
    /// A plan in which a first version is deployed and nothing else happens.
    pub(super) fn quiet(seed: u64, shape: Shape, replicas: u32) -> Self {
        let first = (Duration::from_secs(1), Action::Commit { tag: "v0".to_owned(), late: 0 });
        let calm = Duration::from_secs(BEGIN);
        Self { seed, shape, replicas, rate: 20, actions: vec![first], calm, again: true }
    }

    /// Adds something at so many seconds.
    #[must_use]
    pub(super) fn then(mut self, seconds: u64, action: Action) -> Self {
        let at = Duration::from_secs(seconds);
        self.actions.push((at, action));
        self.calm = self.calm.max(at + Duration::from_secs(1));
        self
    }

    /// Draws everything from a seed: a short story, since many short ones meet more than a few long ones. What happens, happens while a
    /// rollout is likely to run, or shortly after.
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let shape = shape(&mut dice);
        let replicas = pick(&mut dice, &[1, 2, 2, 3, 3, 4, 5]);
        let mut plan = Self::quiet(seed, shape, replicas);
        plan.rate = pick(&mut dice, &[0, 2, 20, 60]);
        if plan.rate < 20 {
            // Else even a good version could never prove itself.
            plan.shape.on_low_traffic = "pass";
        }
        plan.again = dice.random_bool(0.25);
        let mut tags = vec!["v0".to_owned()];
        let mut commits = vec![1];
        for number in 1..=pick(&mut dice, &[0, 1, 1, 1, 2]) {
            let last = commits.last().copied().unwrap_or_default();
            let at = last + dice.random_range(5..=2 * ROLLED);
            commits.push(at);
            let action = commit(&mut dice, number, &mut tags);
            plan = plan.then(at, action);
        }
        for _ in 0..dice.random_range(0..6_u32) {
            let at = pick(&mut dice, &commits) + dice.random_range(1..=ROLLED);
            let action = trouble(&mut dice);
            plan = plan.then(at, action);
        }
        for _ in 0..dice.random_range(0..4_u32) {
            let at = pick(&mut dice, &commits) + dice.random_range(1..=ROLLED * 3 / 2);
            let action = wish(&mut dice);
            plan = plan.then(at, action);
        }
        plan.actions.sort_by_key(|(at, _)| *at);
        plan
    }

    /// The same without these actions.
    pub(super) fn without(&self, gone: Range<usize>) -> Self {
        let actions = self.actions.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        Self { actions: actions.map(|(_, action)| action.clone()).collect(), ..self.clone() }
    }
}

fn pick<T: Copy + Default>(dice: &mut StdRng, from: &[T]) -> T {
    let at = dice.random_range(0..from.len().max(1));
    from.get(at).copied().unwrap_or_default()
}

fn shape(dice: &mut StdRng) -> Shape {
    let pause = dice.random_range(0..4_u32) * 8;
    let (strategy, steps) = match dice.random_range(0..10) {
        0 => ("rolling", Vec::new()),
        1 => ("recreate", Vec::new()),
        2 | 3 => ("blue_green", Vec::new()),
        4 => ("canary", vec![(50, pause), (100, 10)]),
        5..=7 => ("canary", vec![(10, pause), (50, pause), (100, 10)]),
        _ => ("canary", vec![(20, pause), (60, 0), (100, pause)]),
    };
    let asking = steps.len() > 1 && dice.random_bool(0.25);
    let asks =
        asking.then(|| (dice.random_range(0..steps.len() - 1), pick(dice, &[Asks::Promote, Asks::Approve])));
    let route = pick(dice, &[None, None, Some(Way::HttpRoute), Some(Way::VirtualService)]);
    Shape {
        strategy,
        steps,
        asks,
        route,
        progress_deadline: pick(dice, &[30, 60]),
        unknown_timeout: pick(dice, &[30, 90]),
        window: pick(dice, &[10, 30]),
        interval: pick(dice, &[5, 10]),
        http: dice.random_bool(0.7),
        max_unavailable: dice.random_range(0..2),
        on_unknown: pick(dice, &["hold", "hold", "rollback", "continue"]),
        on_low_traffic: pick(dice, &["pass", "pass", "hold", "rollback"]),
        on_restarts: pick(dice, &[0, 2]),
    }
}

fn commit(dice: &mut StdRng, number: u32, tags: &mut Vec<String>) -> Action {
    let behaviour = match dice.random_range(0..12) {
        0 => "crash",
        1 => "errors-30",
        2 => "health-fail",
        3 => "unready-20s",
        4 => "config-error",
        5 => "crash-15s",
        6 => "slow-15s",
        7 => "metrics-hang",
        _ => "good",
    };
    match dice.random_range(0..10) {
        0 => Action::Scale { replicas: dice.random_range(1..7) },
        1 => Action::Broken,
        2 | 3 => {
            let at = dice.random_range(0..tags.len());
            let tag = tags.get(at).cloned().unwrap_or_default();
            Action::Commit { tag, late: 0 }
        }
        _ => {
            let tag = format!("v{number}.{behaviour}");
            tags.push(tag.clone());
            Action::Commit { tag, late: pick(dice, &[0, 0, 0, 20, 400]) }
        }
    }
}

fn wish(dice: &mut StdRng) -> Action {
    match dice.random_range(0..12) {
        0..=2 => Action::Command(Verb::Abort, false),
        3 => Action::Command(Verb::Retry, false),
        4 => Action::Command(Verb::Promote, false),
        5 => Action::Command(Verb::Promote, true),
        6 | 7 => Action::Command(Verb::Pause, false),
        8 => Action::Command(Verb::Resume, false),
        9 => Action::Command(Verb::Undo, false),
        10 => Action::Command(Verb::Approve, false),
        _ => Action::Suspend(dice.random_bool(0.6)),
    }
}

fn trouble(dice: &mut StdRng) -> Action {
    let seconds = dice.random_range(1..90);
    match dice.random_range(0..20) {
        0..=3 => Action::Crash {
            write: dice.random_range(1..30),
            cut: Cut::ALL.get(dice.random_range(0..3_usize)).copied().unwrap_or(Cut::Before),
            away: dice.random_range(50..20_000),
        },
        4 => Action::Kill { away: dice.random_range(50..20_000) },
        5 => Action::Takeover { overlap: dice.random_range(10..15_000) },
        6 | 7 => {
            let storms = [Storm::Refuses, Storm::Hangs, Storm::Breaks, Storm::Slow];
            let storm = storms.get(dice.random_range(0..4_usize)).copied().unwrap_or(Storm::Refuses);
            Action::Storm { storm, permille: dice.random_range(100..900), seconds }
        }
        8..=10 => {
            let weathers = [Weather::Stale, Weather::Lost, Weather::Twice];
            let weather = weathers.get(dice.random_range(0..3_usize)).copied().unwrap_or(Weather::Stale);
            Action::Watch { kind: dice.random_range(0..WATCHES), weather, seconds }
        }
        11 => Action::Edit(match dice.random_range(0..8) {
            0 => Edit::ScaleStable(dice.random_range(0..8)),
            1 => Edit::ScaleCanary(dice.random_range(0..8)),
            2 => Edit::Template,
            3 => Edit::Service,
            4 => Edit::DeleteCanary,
            5 => Edit::Header,
            _ => Edit::Weight(dice.random_range(0..101)),
        }),
        12 | 13 => {
            let harms = [Harm::Kill, Harm::Evict, Harm::PutOut];
            let harm = harms.get(dice.random_range(0..3_usize)).copied().unwrap_or(Harm::Kill);
            Action::Harm(harm, dice.random_range(0..8))
        }
        14 => Action::NodeLost { seconds },
        15 => Action::NoRoom { seconds },
        16 => {
            let hazes = [Haze::Dark, Haze::NoMetrics, Haze::Absurd];
            let haze = hazes.get(dice.random_range(0..3_usize)).copied().unwrap_or(Haze::Dark);
            Action::Haze { haze, seconds: seconds * 3 }
        }
        17 => Action::Jump { seconds: dice.random_range(-600..600) },
        18 => Action::Lag { milliseconds: dice.random_range(100..20_000) },
        _ => match dice.random_range(0..3) {
            0 => Action::Registry { seconds },
            1 => Action::Broker { seconds },
            _ => Action::Git { seconds },
        },
    }
}
