//! What happens to the requests of daemons: storms of refusals and lost answers, and the one request at which a daemon dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::daemon::number_of;
use crate::sandbox::api::Request;
use crate::sandbox::{ApiServer, Fault};

/// Where a daemon dies, seen from one of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before it is sent.
    Before,
    /// It has its effect, and the reply is lost.
    ReplyLost,
    /// After the reply.
    After,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::ReplyLost, Self::After];
}

/// What an API server in trouble does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storm {
    /// 409, 429, 500 or 503.
    Refuses,
    /// No answer within the deadline, with or without an effect.
    Hangs,
    /// Connections break, with or without an effect.
    Breaks,
    /// Answers take seconds.
    Slow,
}

/// See the module.
pub(super) struct Orders(Mutex<State>);

struct State {
    random: StdRng,
    storm: Option<(Storm, u32, Instant)>,
    /// Writes until the one at which a daemon dies.
    crash: Option<(u32, Cut)>,
    /// The next request of any kind is its death.
    last_words: bool,
    tokens: BTreeMap<u64, CancellationToken>,
    faults: u64,
}

impl Orders {
    /// Orders for the requests to a server; nothing happens until something is ordered.
    pub(super) fn on(server: &ApiServer, seed: u64) -> Arc<Self> {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            storm: None,
            crash: None,
            last_words: false,
            tokens: BTreeMap::new(),
            faults: 0,
        };
        let orders = Arc::new(Self(Mutex::new(state)));
        let hook = Arc::clone(&orders);
        server.inject(move |request| hook.state().choose(request));
        orders
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A daemon lives.
    pub(super) fn lives(&self, number: u64, token: &CancellationToken) {
        let mut state = self.state();
        state.last_words = false;
        state.tokens.insert(number, token.clone());
    }

    /// The daemon that writes the `nth` of the writes from now on, counted from 1, dies there.
    pub(super) fn crash_at(&self, nth: u32, cut: Cut) {
        self.state().crash = Some((nth.max(1), cut));
    }

    /// So many of a thousand requests meet the storm until then.
    pub(super) fn storm(&self, storm: Storm, permille: u32, until: Instant) {
        self.state().storm = Some((storm, permille, until));
    }

    /// Nothing happens any more.
    pub(super) fn calm(&self) {
        let mut state = self.state();
        state.storm = None;
        state.crash = None;
    }

    /// A pass ended whose last reply was to be the daemon's last: tells whether it dies now.
    pub(super) fn dies_now(&self) -> bool {
        std::mem::take(&mut self.state().last_words)
    }

    /// How many requests met a fault so far.
    pub(super) fn faults(&self) -> u64 {
        self.state().faults
    }
}

impl State {
    fn choose(&mut self, request: &Request) -> Option<Fault> {
        let number = number_of(&request.user_agent)?;
        let fault = self.death(number, request).or_else(|| self.weather(request));
        self.faults += u64::from(fault.is_some());
        fault
    }

    fn death(&mut self, number: u64, request: &Request) -> Option<Fault> {
        let token = self.tokens.get(&number)?.clone();
        if std::mem::take(&mut self.last_words) {
            return Some(Fault::Kill { token, after_effect: false });
        }
        let (left, cut) = self.crash.filter(|_| request.verb.is_mutating())?;
        if left > 1 {
            self.crash = Some((left - 1, cut));
            return None;
        }
        self.crash = None;
        match cut {
            Cut::Before => Some(Fault::Kill { token, after_effect: false }),
            Cut::ReplyLost => Some(Fault::Kill { token, after_effect: true }),
            Cut::After => {
                self.last_words = true;
                None
            }
        }
    }

    fn weather(&mut self, request: &Request) -> Option<Fault> {
        let (storm, permille, until) = self.storm?;
        if Instant::now() >= until || self.random.random_range(0..1000) >= permille {
            return None;
        }
        let writes = request.verb.is_mutating();
        let coin = self.random.random_bool(0.5);
        Some(match storm {
            Storm::Refuses => {
                let codes: &[u16] = if writes { &[409, 429, 500, 503] } else { &[429, 500, 503] };
                let at = self.random.random_range(0..codes.len());
                Fault::status(codes.get(at).copied().unwrap_or(500))
            }
            Storm::Hangs if coin && writes => Fault::ApplyThenHang,
            Storm::Hangs => Fault::Hang,
            Storm::Breaks if coin && writes => Fault::ApplyThenDrop,
            Storm::Breaks => Fault::Drop,
            Storm::Slow => Fault::Delay(Duration::from_millis(self.random.random_range(100..8_000))),
        })
    }
}
