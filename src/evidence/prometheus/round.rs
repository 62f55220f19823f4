//! One round: what Prometheus knows of the pods of both tracks at one time of its own clock, as if each pod had been looked at.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::dialect::{self, ADDRESS};
use super::{AskError, Provider, Vector};
use crate::evidence::buckets::Buckets;
use crate::evidence::exposition::{Counter, LARGEST, Reading, Status, whole};
use crate::evidence::sheet::Scrape;
use crate::evidence::timings::Look;
use crate::model::duration::rough;
use crate::model::histogram::Histogram;
use crate::model::samples::{Dialect, Tally, Target};

/// Pods in one query.
const PODS: usize = 200;
/// Totals of proxies that are kept.
const PROXIES: usize = 20_000;

/// What a round gave.
pub(in crate::evidence) struct Round {
    /// The dialect that was understood.
    pub dialect: Option<Dialect>,
    /// One entry a pod.
    pub scrapes: Vec<(Target, Scrape)>,
    /// One entry a pod, where durations were asked for.
    pub looks: Vec<(Target, Look)>,
}

/// The rounds of one stage of one release.
pub(in crate::evidence) struct Rounds {
    provider: Arc<Provider>,
    /// Proxies start anew and count from zero while their endpoints live on: per proxy and endpoint what was last seen, and the sum.
    proxies: HashMap<(bool, String, String), (f64, f64)>,
}

/// Requests and failed requests of a pod, as added up so far.
#[derive(Default)]
struct Totals {
    requests: f64,
    errors: f64,
    understood: bool,
    absurd: Option<f64>,
}

impl Totals {
    fn add(&mut self, counter: &Counter, status: Status, value: f64) {
        if !(0.0..=LARGEST).contains(&value) {
            self.absurd = Some(value);
            return;
        }
        self.understood |= status != Status::Missing;
        if status != Status::Missing || counter.unanswered {
            self.requests += value;
        }
        if status == Status::Error || (status == Status::Missing && counter.unanswered) {
            self.errors += value;
        }
    }

    fn scrape(&self, counter: &'static Counter) -> Scrape {
        match self.absurd.or(Some(self.requests).filter(|requests| *requests > LARGEST)) {
            Some(value) => Scrape::Absurd(format!("Prometheus: {} counts {value}", counter.name)),
            None if !self.understood => Scrape::Nameless,
            None => {
                let total = Tally { requests: whole(self.requests), errors: whole(self.errors) };
                Scrape::Counted(Reading { counter: counter.name, total })
            }
        }
    }
}

/// The other name by which pods themselves count.
fn other_of(dialect: Dialect) -> Option<Dialect> {
    match dialect {
        Dialect::OpenTelemetry => Some(Dialect::Plain),
        Dialect::Plain => Some(Dialect::OpenTelemetry),
        Dialect::Istio | Dialect::EnvoyGateway => None,
    }
}

/// Returns the pods by the dialect that they were counted in.
fn spoken(dialect: Dialect, pods: &[Target], scrapes: &[Scrape]) -> Vec<(Dialect, Vec<Target>)> {
    let other = other_of(dialect).map(|other| (other, dialect::counter(other).name));
    let by_other = |scrape: &Scrape| match (scrape, other) {
        (Scrape::Counted(reading), Some((_, name))) => reading.counter == name,
        _ => false,
    };
    let (others, own): (Vec<_>, Vec<_>) = pods.iter().zip(scrapes).partition(|(_, scrape)| by_other(scrape));
    let targets = |pairs: Vec<(&Target, &Scrape)>| pairs.into_iter().map(|(pod, _)| pod.clone()).collect();
    let others = other.map(|(other, _)| (other, targets(others)));
    std::iter::once((dialect, targets(own))).chain(others).collect()
}

impl Rounds {
    pub fn new(provider: Arc<Provider>) -> Self {
        Self { provider, proxies: HashMap::new() }
    }

    pub fn stale_after(&self) -> Duration {
        self.provider.stale_after()
    }

    /// Asks for all pods; without a dialect its provider's are tried in order, and the first with a name counts.
    pub async fn ask(&mut self, pods: &[Target], dialect: Option<Dialect>, durations: bool) -> Round {
        let mut round = Round { dialect, scrapes: Vec::new(), looks: Vec::new() };
        for part in pods.chunks(PODS) {
            match self.part(part, round.dialect).await {
                Ok((found, scrapes)) => {
                    round.dialect = round.dialect.or(found);
                    if durations {
                        let looks = self.looks(part, &scrapes, round.dialect).await;
                        round.looks.extend(part.iter().cloned().zip(looks));
                    }
                    round.scrapes.extend(part.iter().cloned().zip(scrapes));
                }
                Err(error) => {
                    let clause = format!("Prometheus: {}", error.clause());
                    if durations {
                        let look = Look::Unknown(clause.clone());
                        round.looks.extend(part.iter().map(|pod| (pod.clone(), look.clone())));
                    }
                    let failed = Scrape::Failed(clause);
                    round.scrapes.extend(part.iter().map(|pod| (pod.clone(), failed.clone())));
                }
            }
        }
        round
    }

    /// The durations of pods that were counted, at the newest time of the provider's clock.
    async fn looks(&self, pods: &[Target], scrapes: &[Scrape], dialect: Option<Dialect>) -> Vec<Look> {
        let (mut of_pods, mut clause) = (HashMap::new(), None);
        for (dialect, speakers) in dialect.map_or_else(Vec::new, |dialect| spoken(dialect, pods, scrapes)) {
            let asked = dialect::durations(&self.provider.options, dialect, &speakers);
            let Some((query, scale)) = asked.filter(|_| !speakers.is_empty()) else { continue };
            match self.provider.ask(&query.to_string(), None).await {
                Ok(answer) => of_pods.extend(self.buckets(&answer, scale)),
                Err(error) => clause = Some(format!("Prometheus: {}", error.clause())),
            }
        }
        let look = |(pod, scrape): (&Target, &Scrape)| match (scrape, of_pods.remove(&pod.name), &clause) {
            (Scrape::Counted(_) | Scrape::Nameless, _, Some(clause)) => Look::Unknown(clause.clone()),
            (Scrape::Counted(_) | Scrape::Nameless, Some(Ok(histogram)), _) => Look::Seen(histogram),
            (Scrape::Counted(_) | Scrape::Nameless, Some(Err(clause)), _) => {
                Look::Unknown(format!("Prometheus: {clause}"))
            }
            (Scrape::Counted(reading), None, _) => Look::Bare(reading.total.requests > 0),
            (Scrape::Nameless, None, _) => Look::Bare(false),
            (Scrape::NotServed(why) | Scrape::Absurd(why) | Scrape::Failed(why), ..) => {
                Look::Unknown(why.clone())
            }
        };
        pods.iter().zip(scrapes).map(look).collect()
    }

    fn buckets(&self, answer: &Vector, scale: f64) -> HashMap<String, Result<Histogram, String>> {
        let mut found: HashMap<String, Result<Buckets, String>> = HashMap::new();
        for one in &answer.series {
            let label = |name: &str| one.labels.get(name).cloned();
            let (Some(pod), Some(le)) = (label(&self.provider.options.pod_label), label("le")) else {
                continue;
            };
            let buckets = found.entry(pod).or_insert_with(|| Ok(Buckets::default()));
            let added = buckets.as_mut().map_or(Ok(()), |buckets| buckets.add(&le, scale, one.value));
            if let Err(clause) = added {
                *buckets = Err(clause);
            }
        }
        found.into_iter().map(|(pod, buckets)| (pod, buckets.and_then(Buckets::histogram))).collect()
    }

    async fn part(
        &mut self,
        pods: &[Target],
        dialect: Option<Dialect>,
    ) -> Result<(Option<Dialect>, Vec<Scrape>), AskError> {
        let wanted = dialect.map_or_else(|| self.provider.options.dialects.clone(), |dialect| vec![dialect]);
        if wanted.contains(&Dialect::EnvoyGateway) {
            let (found, scrapes) = self.by_proxies(pods).await?;
            return Ok((found.then_some(Dialect::EnvoyGateway), scrapes));
        }
        let query = dialect::scraped(&self.provider.options, pods).to_string();
        let seen = self.provider.ask(&query, None).await?;
        let mut nobody = vec![self.not_scraped(); pods.len()];
        for dialect in wanted {
            if seen.series.is_empty() {
                break;
            }
            let (found, scrapes) = self.by_pods(dialect, pods, &seen).await?;
            if found {
                return Ok((Some(dialect), self.otherwise(dialect, pods, scrapes, &seen).await?));
            }
            nobody = scrapes;
        }
        Ok((None, nobody))
    }

    /// A version may count by another name than the one before it: pods without the first name are asked for the second.
    async fn otherwise(
        &self,
        dialect: Dialect,
        pods: &[Target],
        mut scrapes: Vec<Scrape>,
        seen: &Vector,
    ) -> Result<Vec<Scrape>, AskError> {
        let Some(other) = other_of(dialect).filter(|other| self.provider.options.dialects.contains(other))
        else {
            return Ok(scrapes);
        };
        let nameless = |(_, scrape): &(&Target, &Scrape)| **scrape == Scrape::Nameless;
        let asked: Vec<Target> =
            pods.iter().zip(&scrapes).filter(nameless).map(|(pod, _)| pod.clone()).collect();
        if asked.is_empty() {
            return Ok(scrapes);
        }
        let mut found = self.by_pods(other, &asked, seen).await?.1.into_iter();
        for scrape in scrapes.iter_mut().filter(|scrape| **scrape == Scrape::Nameless) {
            *scrape = found.next().unwrap_or(Scrape::Nameless);
        }
        Ok(scrapes)
    }

    /// Counts the pods that were seen scraped, at the time of that look.
    async fn by_pods(
        &self,
        dialect: Dialect,
        pods: &[Target],
        seen: &Vector,
    ) -> Result<(bool, Vec<Scrape>), AskError> {
        let options = &self.provider.options;
        let label = options.pod_label.as_str();
        let scraped: HashMap<&str, f64> =
            seen.series.iter().filter_map(|one| Some((one.labels.get(label)?.as_str(), one.value))).collect();
        let query = dialect::totals(options, dialect, pods).to_string();
        let answer = self.provider.ask(&query, seen.at).await?;
        let counter = dialect::counter(dialect);
        let mut totals: HashMap<&str, Totals> = HashMap::new();
        for one in &answer.series {
            let Some(pod) = one.labels.get(label) else { continue };
            totals.entry(pod).or_default().add(counter, dialect::status(counter, &one.labels), one.value);
        }
        let found = totals.values().any(|totals| totals.understood || totals.absurd.is_some());
        let scrape = |pod: &Target| match scraped.get(pod.name.as_str()) {
            None => self.not_scraped(),
            Some(last) => self.stale(*last, seen.at).unwrap_or_else(|| {
                totals.get(pod.name.as_str()).map_or(Scrape::Nameless, |totals| totals.scrape(counter))
            }),
        };
        Ok((found, pods.iter().map(scrape).collect()))
    }

    /// Envoy's proxies know a pod by its address; they count for it even before its first request.
    async fn by_proxies(&mut self, pods: &[Target]) -> Result<(bool, Vec<Scrape>), AskError> {
        let seen = self.provider.ask(&dialect::gateways().to_string(), None).await?;
        let Some(last) = seen.series.first().map(|one| one.value) else {
            return Ok((false, vec![self.not_scraped(); pods.len()]));
        };
        if let Some(stale) = self.stale(last, seen.at) {
            return Ok((false, vec![stale; pods.len()]));
        }
        let mut totals: BTreeMap<IpAddr, Totals> = BTreeMap::new();
        for failed in [false, true] {
            let query = dialect::endpoints(&self.provider.options, pods, failed).to_string();
            let answer = self.provider.ask(&query, seen.at).await?;
            self.add_proxies(&answer, failed, &mut totals);
        }
        let counter = dialect::counter(Dialect::EnvoyGateway);
        let scrape = |pod: &Target| {
            let ip = pod.ip.parse::<IpAddr>().ok();
            ip.and_then(|ip| totals.get(&ip)).map_or(Scrape::Nameless, |totals| totals.scrape(counter))
        };
        Ok((!totals.is_empty(), pods.iter().map(scrape).collect()))
    }

    fn add_proxies(&mut self, answer: &Vector, failed: bool, totals: &mut BTreeMap<IpAddr, Totals>) {
        if self.proxies.len() > PROXIES {
            self.proxies.clear();
        }
        for one in &answer.series {
            let Some(endpoint) = one.labels.get(ADDRESS) else { continue };
            let Some(ip) = dialect::address_of(endpoint) else { continue };
            let total = totals.entry(ip).or_default();
            if !(0.0..=LARGEST).contains(&one.value) {
                total.absurd = Some(one.value);
                continue;
            }
            let proxy = one.labels.get(&self.provider.options.pod_label).cloned().unwrap_or_default();
            let known = self.proxies.entry((failed, proxy, endpoint.clone())).or_insert((0.0, 0.0));
            known.1 += if one.value < known.0 { one.value } else { one.value - known.0 };
            known.0 = one.value;
            total.understood = true;
            *(if failed { &mut total.errors } else { &mut total.requests }) += known.1;
        }
    }

    fn not_scraped(&self) -> Scrape {
        let label = &self.provider.options.pod_label;
        Scrape::NotServed(format!("Prometheus does not scrape it (no `up` of 1 by the label {label})"))
    }

    /// Tells that a sample is too old, by the provider's own clock.
    fn stale(&self, last: f64, at: Option<f64>) -> Option<Scrape> {
        let age = Duration::try_from_secs_f64(at? - last).ok()?;
        (age > self.provider.stale_after())
            .then(|| Scrape::Failed(format!("Prometheus scraped it last {} ago", rough(age))))
    }
}
