//! Whether one host may be asked now, over all sources on it, and if not, for how long. Pure: the time is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::budget::Budget;
use crate::model::duration::doubled;
use crate::source::error::GitError;

/// Looks at one host at one time.
pub(super) const PLACES: usize = 4;
/// How long a host is left alone that does not say how long: at first, and the longest that the doublings come to.
const QUIET: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// The shortest and the longest that a host is left alone for its asking.
const ASKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// What a look says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Word {
    /// It answered.
    Answered,
    /// It answered, and that was the last time that it does before so long.
    Spent(Duration),
    /// It wants to be left alone, for as long as it says.
    LeaveAlone(Option<Duration>),
    /// It did not answer, or not in time.
    Silent,
    /// The look ended before it was asked.
    Nothing,
}

impl Word {
    /// Reads it from how a look ended, and from what the server said of how much it may still be asked.
    pub(in crate::source) fn of(failed: Option<&GitError>, spent: Option<Duration>) -> Self {
        match failed {
            Some(GitError::Throttled { after, .. }) => Self::LeaveAlone(*after),
            Some(GitError::Unreachable(_) | GitError::TimedOut(_)) => Self::Silent,
            Some(GitError::Stopped | GitError::Secret(_) | GitError::Auth(_) | GitError::Cache { .. }) => {
                Self::Nothing
            }
            _ => spent.map_or(Self::Answered, Self::Spent),
        }
    }
}

/// Whether a look may begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Now,
    /// Not before this.
    At(Instant),
    /// When another one ended.
    Later,
}

/// What is known of a host.
#[derive(Debug)]
pub(super) struct State {
    running: usize,
    budget: Budget,
    /// Until when it is left alone.
    until: Option<Instant>,
    /// How often in a row it wanted that.
    refusals: u32,
    /// It did not answer when it was last asked.
    silent: bool,
}

impl State {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { running: 0, budget: Budget::new(per_minute), until: None, refusals: 0, silent: false }
    }

    /// Returns why no look may begin now, and for how long.
    pub(super) fn pause(&mut self, now: Instant) -> Option<(Duration, PauseWhy)> {
        let asked = self.until.and_then(|until| until.checked_duration_since(now)).unwrap_or_default();
        if !asked.is_zero() {
            return Some((asked, PauseWhy::Asked));
        }
        self.budget.wait(now).map(|wait| (wait, PauseWhy::Budget))
    }

    /// Lets a look begin. After a pause one goes first: the host may not be done with us. One that does not answer keeps one look
    /// waiting, not many: they are bounded over all hosts.
    pub(super) fn enter(&mut self, now: Instant) -> Entry {
        if let Some((wait, _)) = self.pause(now) {
            return Entry::At(now + wait);
        }
        let places = if self.refusals > 0 || self.silent { 1 } else { PLACES };
        if self.running >= places {
            return Entry::Later;
        }
        self.running += 1;
        // What more it needs is known at its end.
        self.budget.spend(1);
        Entry::Now
    }

    /// Ends a look that took so many requests; returns how long the host is left alone if that begins now.
    pub(super) fn leave(&mut self, word: Word, requests: u64, now: Instant) -> Option<Duration> {
        self.budget.spend(requests.saturating_sub(1));
        self.running = self.running.saturating_sub(1);
        let paused = self.until.is_some_and(|until| now < until);
        match word {
            Word::LeaveAlone(after) => {
                let (first, longest) = QUIET;
                let grown = doubled(first, self.refusals, longest);
                let wait = after.map_or(grown, |after| after.clamp(ASKED.0, ASKED.1));
                self.until = self.until.max(Some(now + wait));
                if paused {
                    // It began before the pause: the same refusal, told twice.
                    return None;
                }
                self.refusals = self.refusals.saturating_add(1);
                Some(wait)
            }
            // Nothing was refused: all may go on at once when it is over.
            Word::Spent(left) => {
                (self.refusals, self.silent) = if paused { (self.refusals, self.silent) } else { (0, false) };
                self.until = self.until.max(Some(now + left.clamp(ASKED.0, ASKED.1)));
                None
            }
            // An answer to a look that began before the pause says nothing about its end.
            Word::Answered if !paused => {
                (self.refusals, self.silent) = (0, false);
                None
            }
            Word::Silent => {
                self.silent = true;
                None
            }
            Word::Answered | Word::Nothing => None,
        }
    }
}

/// Why a host is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseWhy {
    /// It wants to be left alone.
    Asked,
    /// It had the requests of a minute that the configuration grants it.
    Budget,
}

#[cfg(test)]
mod tests {
    use super::super::budget::DEFAULT;
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_host_is_left_alone_as_long_as_it_says_else_longer_and_longer() {
        let now = Instant::now();
        for (words, expected) in [
            (vec![None, None, None], vec![2, 4, 8]),
            (vec![None; 12], vec![2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]),
            (vec![Some(30), None, Some(0), Some(86_400)], vec![30, 4, 1, 3_600]),
        ] {
            let (mut state, mut at, mut waits) = (State::new(DEFAULT), now, Vec::new());
            for word in words {
                assert_eq!(state.enter(at), Entry::Now);
                let wait = state.leave(Word::LeaveAlone(word.map(seconds)), 1, at).unwrap();
                assert_eq!(state.enter(at + wait - seconds(1)), Entry::At(at + wait));
                waits.push(wait.as_secs());
                at += wait;
            }
            assert_eq!(waits, expected);
        }
    }

    #[test]
    fn four_look_at_one_time_and_one_after_a_pause() {
        let now = Instant::now();
        let mut state = State::new(DEFAULT);
        let enter = |state: &mut State, at| (0..6).filter(|_| state.enter(at) == Entry::Now).count();
        assert_eq!(enter(&mut state, now), 4);
        assert_eq!(state.leave(Word::LeaveAlone(Some(seconds(10))), 1, now), Some(seconds(10)));
        assert_eq!(state.leave(Word::LeaveAlone(Some(seconds(20))), 1, now), None, "the same refusal");
        assert_eq!(state.leave(Word::Answered, 1, now), None);
        assert_eq!(state.enter(now + seconds(15)), Entry::At(now + seconds(20)), "the longer one counts");
        state.leave(Word::Nothing, 1, now + seconds(19));
        assert_eq!(enter(&mut state, now + seconds(20)), 1, "one goes first");
        state.leave(Word::Nothing, 1, now + seconds(21));
        assert_eq!(enter(&mut state, now + seconds(21)), 1, "nothing was heard");
        assert_eq!(state.leave(Word::LeaveAlone(None), 1, now + seconds(22)), Some(seconds(4)), "the second");
        assert_eq!(enter(&mut state, now + seconds(26)), 1);
        state.leave(Word::Answered, 1, now + seconds(26));
        assert_eq!(enter(&mut state, now + seconds(26)), 4, "all is well");

        state.leave(Word::Silent, 1, now + seconds(27));
        state.leave(Word::Nothing, 1, now + seconds(27));
        assert_eq!(enter(&mut state, now + seconds(27)), 0, "two of four are left, one is enough");
        state.leave(Word::Silent, 1, now + seconds(28));
        state.leave(Word::Silent, 1, now + seconds(29));
        assert_eq!(enter(&mut state, now + seconds(29)), 1);
        state.leave(Word::Answered, 1, now + seconds(30));
        assert_eq!(enter(&mut state, now + seconds(30)), 4);
    }

    #[test]
    fn who_answered_for_the_last_time_is_left_alone_and_then_asked_by_all() {
        let (now, mut state) = (Instant::now(), State::new(DEFAULT));
        assert_eq!(state.enter(now), Entry::Now);
        assert_eq!(state.leave(Word::Spent(seconds(50)), 1, now), None);
        assert_eq!(state.pause(now + seconds(20)), Some((seconds(30), PauseWhy::Asked)));
        assert_eq!(state.enter(now + seconds(49)), Entry::At(now + seconds(50)));
        let later = now + seconds(50);
        assert_eq!((0..6).filter(|_| state.enter(later) == Entry::Now).count(), 4);
    }
}
