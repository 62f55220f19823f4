//! Where the pods live: who answers at which address, the load that the Services spread over them, and connections without sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::time::Instant;

use super::wire::Wire;
use crate::evidence::dial::{Connect, Stream};
use crate::model::LABEL_TRACK;
use crate::model::traffic::CANARY;
use crate::sandbox::api::LabelSelector;
use crate::sandbox::json as read;
use crate::sandbox::node::app::{App, Reaction};

/// Load that nobody looks at is not sent: only so much of the past is made up for.
const PAST: Duration = Duration::from_mins(1);

/// What is wrong between the daemon and the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Haze {
    /// Nothing.
    #[default]
    Clear,
    /// Nothing that is sent arrives.
    Dark,
    /// `/metrics` answers 500.
    NoMetrics,
    /// `/metrics` counts what cannot be.
    Absurd,
}

/// What answers at an address.
pub(super) struct Program {
    /// None while its ports are closed.
    pub(super) app: Option<Arc<App>>,
    pub(super) ports: Vec<u16>,
    pub(super) object: Arc<Value>,
    pub(super) namespace: String,
    /// Whether a Service sends to it.
    pub(super) serves: bool,
}

/// See the module.
pub(super) struct Street(Mutex<State>);

struct State {
    programs: BTreeMap<Ipv4Addr, Program>,
    services: Vec<(String, LabelSelector)>,
    /// What the team's route gives the candidate, in per cent, while it tells the tracks apart.
    share: Option<u8>,
    haze: Haze,
    /// Requests a second for each Service.
    rate: f64,
    /// The part of a request that is not due yet.
    rest: f64,
    last: Instant,
    random: StdRng,
}

impl Street {
    /// An empty street; each Service gets `rate` requests a second.
    pub(super) fn new(seed: u64, rate: f64) -> Arc<Self> {
        let state = State {
            programs: BTreeMap::new(),
            services: Vec::new(),
            share: None,
            haze: Haze::Clear,
            rate,
            rest: 0.0,
            last: Instant::now(),
            random: StdRng::seed_from_u64(seed),
        };
        Arc::new(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what answers at an address.
    pub(super) fn set(&self, address: Ipv4Addr, program: Program) {
        let mut state = self.state();
        state.send();
        state.programs.insert(address, program);
    }

    /// Nobody lives there any more.
    pub(super) fn close(&self, address: Ipv4Addr) {
        let mut state = self.state();
        state.send();
        state.programs.remove(&address);
    }

    /// Takes over the Services: namespace and selector of each.
    pub(super) fn set_services(&self, services: Vec<(String, LabelSelector)>) {
        let mut state = self.state();
        state.send();
        state.services = services;
    }

    /// Takes over what the team's route says.
    pub(super) fn set_share(&self, share: Option<u8>) {
        let mut state = self.state();
        state.send();
        state.share = share;
    }

    pub(super) fn set_haze(&self, haze: Haze) {
        self.state().haze = haze;
    }

    /// The way to the pods for the evidence loop.
    pub(super) fn connect(self: &Arc<Self>) -> Connect {
        let street = Arc::clone(self);
        Arc::new(move |address| street.dial(address))
    }

    fn dial(self: &Arc<Self>, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let IpAddr::V4(ip) = address.ip() else { return refused() };
        let state = self.state();
        if state.haze == Haze::Dark {
            return std::future::pending().boxed();
        }
        let there = state.programs.get(&ip);
        let open = there.is_some_and(|one| one.app.is_some() && one.ports.contains(&address.port()));
        if !open {
            return refused();
        }
        drop(state);
        let street = Arc::clone(self);
        let wire = Wire::new(move |path| street.answer(ip, path));
        std::future::ready(Ok(Box::new(wire) as Box<dyn Stream>)).boxed()
    }

    /// What a pod answers; `None`: nothing, ever.
    fn answer(&self, ip: Ipv4Addr, path: &str) -> Option<(u16, String)> {
        let mut state = self.state();
        if path == "/metrics" {
            state.send();
        }
        let haze = state.haze;
        let app = state.programs.get(&ip).and_then(|one| one.app.clone())?;
        drop(state);
        match (app.react(path), haze) {
            // Nothing here speaks HTTP/2.
            (Reaction::Hangs | Reaction::Grpc(_), _) => None,
            (Reaction::Metrics(_), Haze::NoMetrics) => Some((500, "overloaded\n".to_owned())),
            (Reaction::Metrics(_), Haze::Absurd) => {
                let page = "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} -7\nhttp_requests_total{code=\"500\"} NaN\n";
                Some((200, page.to_owned()))
            }
            (Reaction::Metrics(page), _) => Some((200, page)),
            (Reaction::Says(code, page), _) => Some((code, page.to_owned())),
            (Reaction::Serves, _) => {
                app.serve(1);
                Some((200, "hello\n".to_owned()))
            }
        }
    }
}

fn refused() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
    std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())).boxed()
}

impl State {
    /// Sends the load of the time since the last look: each request to any of the pods that serve, none to nobody.
    fn send(&mut self) {
        let now = Instant::now();
        let past = now.duration_since(self.last).min(PAST);
        self.last = now;
        if past.is_zero() {
            return;
        }
        let due = past.as_secs_f64() * self.rate + self.rest;
        self.rest = due.fract();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // At most a minute of a bounded rate.
        let requests = due as u64;
        for (namespace, selector) in &self.services {
            let serving = self
                .programs
                .values()
                .filter(|one| one.serves && one.namespace == *namespace && selector.matches(&one.object));
            let (canary, stable): (Vec<_>, Vec<_>) = serving
                .filter_map(|one| Some((is_canary(&one.object), one.app.as_ref()?)))
                .partition(|one| one.0);
            match self.share {
                Some(share) => {
                    let canarys =
                        (0..requests).filter(|_| self.random.random_range(0..100) < share).count() as u64;
                    spread(&mut self.random, &canary, canarys);
                    spread(&mut self.random, &stable, requests - canarys);
                }
                None => spread(&mut self.random, &[stable, canary].concat(), requests),
            }
        }
    }
}

fn is_canary(pod: &Value) -> bool {
    read::text(pod, &["metadata", "labels", LABEL_TRACK]) == CANARY
}

/// Sends each request to any of them; to nobody, if there are none.
fn spread(random: &mut StdRng, apps: &[(bool, &Arc<App>)], requests: u64) {
    if apps.is_empty() {
        return;
    }
    let mut shares = vec![0_u64; apps.len()];
    for _ in 0..requests {
        let at = random.random_range(0..shares.len());
        if let Some(share) = shares.get_mut(at) {
            *share += 1;
        }
    }
    for ((_, app), share) in apps.iter().zip(shares) {
        app.serve(share);
    }
}
