//! The requests of one stage of one release: once an interval, Prometheus or each pod is asked what was counted.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Job, LONGEST_ROUND, SHORTEST_ROUND};
use crate::evidence::dial::{Ask, DialError};
use crate::evidence::exposition::{self, ExpositionError};
use crate::evidence::prometheus::Rounds;
use crate::evidence::sheet::{Asked, Scrape};
use crate::evidence::timings::Look;
use crate::evidence::{buckets, lock};
use crate::model::samples::{Assignment, Target};

const ACCEPT: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1";
const LONGEST_SCRAPE: Duration = Duration::from_secs(10);

impl Job {
    /// Asks once an interval, for as long as somebody else's counts are, or may become, the source.
    pub(super) async fn count_traffic(self: Arc<Self>, mut feed: watch::Receiver<Arc<Assignment>>) {
        let period = feed.borrow().health.interval.clamp(SHORTEST_ROUND, LONGEST_ROUND);
        sleep(self.jitter(&self.release.to_string(), period)).await;
        let mut rounds = self.provider.clone().map(Rounds::new);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let assignment = Arc::clone(&feed.borrow_and_update());
            let asked = lock(&self.sheet).asked();
            match asked {
                Asked::Nobody => {
                    if feed.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Asked::Pods => {
                    let scrapes = assignment.pods.iter().map(|pod| self.scrape(&assignment, pod));
                    let (round, looks): (Vec<_>, Vec<_>) = join_all(scrapes).await.into_iter().unzip();
                    let mut sheet = lock(&self.sheet);
                    sheet.timed(&looks);
                    sheet.round(Asked::Pods, &round, period * 2, self.now());
                }
                Asked::Prometheus(dialect, patience) => match rounds.as_mut() {
                    Some(rounds) => {
                        let durations = assignment.latency.is_some();
                        let round = rounds.ask(&assignment.pods, dialect, durations).await;
                        let asked = Asked::Prometheus(round.dialect, patience);
                        let mut sheet = lock(&self.sheet);
                        sheet.timed(&round.looks);
                        sheet.round(asked, &round.scrapes, rounds.stale_after(), self.now());
                    }
                    None => self.without_provider(asked, &assignment),
                },
            }
            self.shared.waker.wake(&self.release);
        }
    }

    /// The rollout was pinned to a Prometheus that the configuration does not name any more.
    fn without_provider(&self, asked: Asked, assignment: &Assignment) {
        let why = "the platform's configuration names no Prometheus for this environment any more";
        let round: Vec<_> =
            assignment.pods.iter().map(|pod| (pod.clone(), Scrape::Failed(why.to_owned()))).collect();
        lock(&self.sheet).round(asked, &round, Duration::ZERO, self.now());
    }

    async fn scrape(&self, assignment: &Assignment, pod: &Target) -> ((Target, Scrape), (Target, Look)) {
        let deadline = assignment.health.timeout.clamp(SHORTEST_ROUND, LONGEST_SCRAPE);
        let ask = Ask {
            port: assignment.metrics_port,
            tls: false,
            path: "/metrics",
            accept: ACCEPT,
            limit: exposition::LIMIT,
            deadline,
        };
        let reply = {
            let own = self.scrapes.acquire().await;
            let shared = self.shared.scrapes.acquire().await;
            if own.is_err() || shared.is_err() {
                let why = "measuring has ended".to_owned();
                return ((pod.clone(), Scrape::Failed(why.clone())), (pod.clone(), Look::Unknown(why)));
            }
            self.shared.dialer.get(&self.way, pod, ask).await
        };
        let look = durations(assignment, reply.as_ref().ok().map(|reply| &reply.body));
        let scrape = match reply {
            Ok(reply) if reply.status != 200 => Scrape::NotServed(format!("HTTP {}", reply.status)),
            Ok(reply) if !reply.whole => Scrape::Failed(ExpositionError::TooLarge.to_string()),
            Ok(reply) => match exposition::read(&reply.body) {
                Ok(Some(reading)) => Scrape::Counted(reading),
                Ok(None) => Scrape::Nameless,
                Err(error @ ExpositionError::NotText) => Scrape::NotServed(error.to_string()),
                Err(error) => Scrape::Absurd(error.to_string()),
            },
            Err(error @ DialError::Refused) => Scrape::NotServed(error.clause()),
            Err(error) => Scrape::Failed(error.clause()),
        };
        let look = match (&scrape, look) {
            (Scrape::Counted(_), Some(look)) => look,
            (Scrape::Counted(reading), None) => Look::Bare(reading.total.requests > 0),
            (Scrape::Nameless, _) => Look::Bare(false),
            (Scrape::NotServed(why) | Scrape::Absurd(why) | Scrape::Failed(why), _) => {
                Look::Unknown(why.clone())
            }
        };
        ((pod.clone(), scrape), (pod.clone(), look))
    }
}

/// Reads the durations out of a page; none where they are not asked or not there.
fn durations(assignment: &Assignment, body: Option<&bytes::Bytes>) -> Option<Look> {
    assignment.latency.as_ref()?;
    Some(match buckets::read(body?) {
        Ok(found) => Look::Seen(found?),
        Err(clause) => Look::Unknown(clause),
    })
}
