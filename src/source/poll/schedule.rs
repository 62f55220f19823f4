//! When the next look at a source is due without a hint. Time and chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::duration::doubled;
use crate::source::report::Trigger;

/// Waits before another look when a webhook came but its commit is not visible yet: after 1, 3 and 10 seconds.
const REVISITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(7)];
/// Shortest time between two looks while the source fails.
const FAILING_GAP: Duration = Duration::from_millis(250);
/// Waits after failures: the first, and the longest that its doublings come to.
const FAILURE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// What all polls that are far enough apart begin on: to wake up costs a machine more than to look, so that it wakes up once for many.
const BEAT: Duration = Duration::from_secs(1);
/// The shortest wait that is long enough for that: it becomes longer by less than a tenth.
const BEATEN: Duration = Duration::from_secs(10);
/// How many times slower a source is polled whose webhooks tell of its changes.
const SLOWER: u32 = 10;
/// How long that is believed after the last webhook; no source is polled slower than that for its webhooks.
const BELIEVED: Duration = Duration::from_hours(24);

/// What the schedule has to know of a look.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Seen {
    /// The source could be read.
    pub(in crate::source) up: bool,
    /// A tracked branch moved.
    pub(in crate::source) moved: bool,
    /// Why it was looked.
    pub(in crate::source) trigger: Trigger,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct Due {
    /// Without a hint.
    pub(in crate::source) next: Instant,
    /// Not before this, whatever is hinted.
    pub(in crate::source) earliest: Instant,
}

/// What the looks so far say about when to look again.
#[derive(Debug)]
pub(in crate::source) struct Schedule {
    plain: Duration,
    /// When some beat was, the same for all sources.
    beat: Instant,
    /// A local repository shows a commit before anybody can tell of it.
    local: bool,
    /// Good looks were had. The first is that of every source at once; the second ones are spread.
    begun: bool,
    /// Failures in a row.
    failures: u32,
    /// The waits that are left for what a webhook told of and nobody saw yet.
    told: Option<std::slice::Iter<'static, Duration>>,
    /// When the last webhook came, since one led to a change and until a poll finds one that none told of.
    proven: Option<Instant>,
}

impl Schedule {
    /// Begins with the interval of the configuration and a moment that all sources share.
    pub(in crate::source) fn new(plain: Duration, local: bool, beat: Instant) -> Self {
        Self { plain, beat, local, begun: false, failures: 0, told: None, proven: None }
    }

    /// Takes a look into account; `chance` is from 0 to 1.
    pub(in crate::source) fn after(&mut self, seen: Seen, now: Instant, chance: f64) -> Due {
        if seen.trigger == Trigger::Webhook {
            self.told = Some(REVISITS.iter());
        }
        if !seen.up {
            let (first, longest) = FAILURE;
            let wait = doubled(first, self.failures, longest).mul_f64(1.0 + chance);
            self.failures = self.failures.saturating_add(1);
            // For how long a server wants to be left alone is its host's to keep: for all sources there, this one too.
            return Due { next: now + wait, earliest: now + FAILING_GAP };
        }
        self.failures = 0;
        self.judge(seen, now);
        if seen.moved || self.local {
            self.told = None;
        }
        let revisit = self.told.as_mut().and_then(Iterator::next).copied();
        if revisit.is_none() {
            self.told = None;
        }
        let share = if self.begun { 0.9 + 0.2 * chance } else { 0.1 + 0.9 * chance };
        self.begun = true;
        let wait = revisit.unwrap_or_else(|| self.interval(now).mul_f64(share));
        Due { next: self.on_beat(now, wait), earliest: now }
    }

    /// Returns the end of a wait, or the first beat after it if the wait is long.
    fn on_beat(&self, now: Instant, wait: Duration) -> Instant {
        if wait < BEATEN {
            return now + wait;
        }
        let since = now.saturating_duration_since(self.beat) + wait;
        let beats = since.as_nanos().div_ceil(BEAT.as_nanos());
        self.beat + BEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX))
    }

    /// Judges whether webhooks tell of the source's changes.
    fn judge(&mut self, seen: Seen, now: Instant) {
        match (seen.moved, self.told.is_some()) {
            (true, true) => self.proven = Some(now),
            (true, false) if seen.trigger == Trigger::Poll => self.proven = None,
            (false, _) if seen.trigger == Trigger::Webhook && self.proven.is_some() => {
                self.proven = Some(now);
            }
            _ => {}
        }
    }

    /// Returns the time between two looks while nothing happens, and whether webhooks make it longer.
    pub(in crate::source) fn pace(&self, now: Instant) -> (Duration, bool) {
        let slowed = self.proven.is_some_and(|at| now.saturating_duration_since(at) < BELIEVED);
        (self.interval(now), slowed)
    }

    fn interval(&self, now: Instant) -> Duration {
        match self.proven {
            Some(at) if now.saturating_duration_since(at) < BELIEVED => {
                self.plain.saturating_mul(SLOWER).min(self.plain.max(BELIEVED))
            }
            _ => self.plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const IDLE: Seen = Seen { up: true, moved: false, trigger: Trigger::Poll };
    const FOUND: Seen = Seen { moved: true, ..IDLE };
    const HOOK: Seen = Seen { trigger: Trigger::Webhook, ..IDLE };
    const HOOK_FOUND: Seen = Seen { moved: true, ..HOOK };
    const FAILED: Seen = Seen { up: false, ..IDLE };
    const HOOK_FAILED: Seen = Seen { up: false, ..HOOK };

    /// Runs looks of which each comes when the one before says, or at its own second; returns the waits in seconds.
    fn waits(plain: Duration, local: bool, looks: &[(Option<u64>, Seen)]) -> Vec<u64> {
        let start = Instant::now();
        let mut schedule = Schedule::new(plain, local, start);
        let mut due = start;
        let mut waits = Vec::new();
        // Half a chance is exactly the interval; the first look is out of the way.
        schedule.after(Seen { trigger: Trigger::Start, ..IDLE }, start, 1.0);
        for (at, seen) in looks {
            let now = at.map_or(due, |seconds| start + Duration::from_secs(seconds));
            due = schedule.after(*seen, now, 0.5).next;
            waits.push((due - now).as_secs());
        }
        waits
    }

    #[test]
    fn webhooks_that_are_proven_right_slow_polls_down_until_one_finds_what_none_told() {
        let next = |seen| (None, seen);
        let (hour, day) = (3_600, 86_400);
        for (what, looks, expected) in [
            ("polls", vec![next(IDLE), next(FOUND), next(IDLE)], vec![60, 60, 60]),
            ("a hook with its change", vec![next(HOOK_FOUND), next(IDLE)], vec![600, 600]),
            ("a hook without one", vec![next(HOOK), next(IDLE), next(IDLE), next(IDLE)], vec![1, 2, 7, 60]),
            ("a change that came late", vec![next(HOOK), next(IDLE), next(FOUND)], vec![1, 2, 600]),
            ("the last revisit", vec![next(HOOK), next(IDLE), next(IDLE), next(FOUND)], vec![1, 2, 7, 600]),
            (
                "too late",
                vec![next(HOOK), next(IDLE), next(IDLE), next(IDLE), next(FOUND)],
                vec![1, 2, 7, 60, 60],
            ),
            ("a change untold", vec![next(HOOK_FOUND), next(FOUND), next(IDLE)], vec![600, 60, 60]),
            ("and told again", vec![next(HOOK_FOUND), next(FOUND), next(HOOK_FOUND)], vec![600, 60, 600]),
            (
                "a day without hooks",
                vec![(Some(0), HOOK_FOUND), (Some(day - 1), IDLE), (Some(day), IDLE)],
                vec![600, 600, 60],
            ),
            (
                "a hook a day",
                vec![
                    (Some(0), HOOK_FOUND),
                    (Some(day - hour), HOOK),
                    next(IDLE),
                    next(IDLE),
                    next(IDLE),
                    (Some(2 * day - hour), IDLE),
                ],
                vec![600, 1, 2, 7, 600, 60],
            ),
            (
                "a hook that failed is looked after",
                vec![next(HOOK_FAILED), next(IDLE), next(FOUND), next(IDLE)],
                vec![3, 1, 600, 600],
            ),
            ("a failure is no proof", vec![next(HOOK_FOUND), next(FAILED), next(IDLE)], vec![600, 3, 600]),
        ] {
            assert_eq!(waits(MINUTE, false, &looks), expected, "{what}");
        }
    }

    #[test]
    fn a_day_is_the_slowest_unless_it_was_asked_for() {
        for (plain, slow) in [(1, 10), (3_600, 36_000), (21_600, 86_400), (86_400, 86_400)] {
            let plain = Duration::from_secs(plain);
            assert_eq!(waits(plain, false, &[(None, HOOK_FOUND)]), [slow]);
        }
    }

    #[test]
    fn the_pace_says_when_webhooks_slow_it_down() {
        let now = Instant::now();
        let mut schedule = Schedule::new(MINUTE, false, now);
        assert_eq!(schedule.pace(now), (MINUTE, false));
        schedule.after(HOOK_FOUND, now, 0.5);
        assert_eq!(schedule.pace(now), (10 * MINUTE, true));
        assert_eq!(schedule.pace(now + BELIEVED), (MINUTE, false));
    }

    #[test]
    fn a_local_repository_is_not_revisited() {
        assert_eq!(waits(MINUTE, true, &[(None, HOOK), (None, IDLE)]), [60, 60]);
    }

    #[test]
    fn what_is_looked_at_at_once_on_start_is_spread_after_it() {
        let now = Instant::now();
        for (chance, first, later) in [(0.0, 6, 54), (0.5, 33, 60), (1.0, 60, 66)] {
            let mut schedule = Schedule::new(MINUTE, false, now);
            for expected in [first, later, later] {
                let wait = (schedule.after(IDLE, now, chance).next - now).as_millis();
                assert_eq!((wait + 500) / 1_000, expected, "chance {chance}");
            }
        }
    }

    #[test]
    fn long_waits_end_on_a_beat_that_all_sources_share() {
        let beat = Instant::now();
        let now = beat + Duration::from_millis(7_300);
        for (plain, expected) in [(60_000, 68_000), (60_700, 68_000), (60_701, 69_000), (9_999, 17_299)] {
            let mut schedule = Schedule::new(Duration::from_millis(plain), false, beat);
            schedule.begun = true;
            let next = schedule.after(IDLE, now, 0.5).next;
            assert_eq!((next - beat).as_millis(), expected, "every {plain} ms");
        }
    }

    #[test]
    fn failures_wait_longer_and_longer() {
        let now = Instant::now();
        let mut schedule = Schedule::new(MINUTE, false, now);
        let mut wait = |seen: Seen, chance| {
            let due = schedule.after(seen, now, chance);
            (due.next - now, due.earliest - now)
        };
        let seconds = Duration::from_secs;
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300] {
            assert_eq!(wait(FAILED, 0.0), (seconds(expected), FAILING_GAP));
        }
        assert_eq!(wait(FAILED, 1.0).0, seconds(600));
        assert_eq!(wait(IDLE, 1.0).1, Duration::ZERO);
        assert_eq!(wait(FAILED, 0.0).0, seconds(2), "a good look forgets them");
    }
}
