//! What the watches of one daemon show it, and when: every change after a while, in order within a kind and in none between kinds;
//! under bad weather late, twice, or not at all until the next list.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::node::Place;
use crate::cluster::Cluster;
use crate::cluster::watch::Said;
use crate::cluster::watched::Watched;
use crate::model::name::ReleaseKey;
use crate::model::{LABEL_RELEASE, LABEL_TRACK};
use crate::sandbox::api::{Change, Core, KindSpec, LabelSelector};
use crate::sandbox::json as read;

/// Events of a kind that a watch may repeat.
const REPEATED: usize = 6;
/// Until an event is shown, at most, in fair weather.
const LATE: Duration = Duration::from_millis(30);
/// What is shown within so many milliseconds is shown at once, as what comes in one packet is: of one life of a daemon one of these.
const PACKETS: [u64; 4] = [1, 20, 40, 40];

/// What happens to the events of a kind for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// They come when it is over.
    Stale,
    /// They are lost; a new list when it is over heals that.
    Lost,
    /// Each is followed by those before it once more, as after a watch that was begun from an older version.
    Twice,
}

#[derive(Debug, Clone)]
enum News {
    Begin,
    Listed(Arc<Value>),
    Done,
    Changed(Arc<Value>),
    Gone(Arc<Value>),
}

/// When packets come.
struct Packets {
    since: Instant,
    /// Milliseconds.
    each: u64,
}

impl Packets {
    /// When what is sent then has come.
    fn end(&self, at: Instant) -> Instant {
        let sent = u64::try_from(at.duration_since(self.since).as_millis()).unwrap_or_default();
        self.since + Duration::from_millis((sent / self.each + 1).saturating_mul(self.each))
    }
}

struct Kind {
    watched: Watched,
    spec: Arc<KindSpec>,
    selector: LabelSelector,
    waiting: VecDeque<(Instant, News)>,
    told: VecDeque<News>,
    weather: Option<(Weather, Instant)>,
}

/// See the module.
pub(super) struct Feed {
    core: Arc<Core>,
    cursor: u64,
    kinds: Vec<Kind>,
    /// What the server does not know, until it is said.
    missing: Vec<Watched>,
    random: StdRng,
    packets: Packets,
    /// The pods as they were shown last.
    shown: BTreeMap<Place, Arc<Value>>,
}

impl Feed {
    /// Lists everything first.
    pub(super) fn new(core: &Arc<Core>, mut random: StdRng) -> Self {
        let each = PACKETS.get(random.random_range(0..PACKETS.len())).copied().unwrap_or(1);
        let packets = Packets { since: Instant::now(), each };
        let (mut kinds, mut missing) = (Vec::new(), Vec::new());
        {
            let store = core.store();
            for watched in Watched::ALL {
                let resource = watched.resource();
                let selector = LabelSelector::parse(&watched.selector().unwrap_or_default());
                let spec = store.kind(&resource.group, &resource.version, &resource.plural);
                let (Ok(selector), Some(spec)) = (selector, spec) else {
                    missing.push(watched);
                    continue;
                };
                let (waiting, told) = (VecDeque::new(), VecDeque::new());
                kinds.push(Kind { watched, spec, selector, waiting, told, weather: None });
            }
        }
        let cursor = core.store().version();
        let (core, shown) = (Arc::clone(core), BTreeMap::new());
        let mut feed = Self { core, cursor, kinds, missing, random, packets, shown };
        for at in 0..feed.kinds.len() {
            feed.list(at);
        }
        feed
    }

    /// Lets the weather of a kind be bad until then.
    pub(super) fn set_weather(&mut self, watched: Watched, weather: Weather, until: Instant) {
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.watched == watched) {
            kind.weather = Some((weather, until));
        }
    }

    /// The weather is good from now on.
    pub(super) fn clear(&mut self) {
        for kind in &mut self.kinds {
            kind.weather = kind.weather.map(|(weather, until)| (weather, until.min(Instant::now())));
            for (at, _) in &mut kind.waiting {
                *at = (*at).min(Instant::now() + LATE);
            }
        }
    }

    /// When something is to be shown.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = |kind: &Kind| kind.waiting.front().map(|(at, _)| *at);
        let end = |kind: &Kind| kind.weather.map(|(_, until)| until);
        self.kinds.iter().flat_map(|kind| [first(kind), end(kind)]).flatten().min()
    }

    /// Takes up what changed, and shows what is due.
    pub(super) fn settle(&mut self, cluster: &Cluster) {
        let now = Instant::now();
        for watched in std::mem::take(&mut self.missing) {
            cluster.tell(watched, Said::Missing);
        }
        self.collect(now);
        for at in 0..self.kinds.len() {
            let over = self.kinds.get(at).and_then(|kind| kind.weather).filter(|(_, until)| *until <= now);
            if let Some((weather, _)) = over {
                if let Some(kind) = self.kinds.get_mut(at) {
                    kind.weather = None;
                }
                if weather == Weather::Lost {
                    self.list(at);
                }
            }
            self.show(at, now, cluster);
        }
    }

    fn show(&mut self, at: usize, now: Instant, cluster: &Cluster) {
        let Some(kind) = self.kinds.get_mut(at) else { return };
        while let Some((_, news)) = kind.waiting.pop_front_if(|(at, _)| *at <= now) {
            if kind.watched == Watched::Pod {
                match &news {
                    News::Begin => self.shown.clear(),
                    News::Listed(pod) | News::Changed(pod) => {
                        self.shown.insert(place_of(pod), Arc::clone(pod));
                    }
                    News::Gone(pod) => {
                        self.shown.remove(&place_of(pod));
                    }
                    News::Done => {}
                }
            }
            let value = |object: &Arc<Value>| body(kind.watched, object);
            let said = match &news {
                News::Begin => Said::Begin,
                News::Listed(object) => Said::Listed(value(object)),
                News::Done => Said::Done,
                News::Changed(object) => Said::Changed(value(object)),
                News::Gone(object) => Said::Gone(value(object)),
            };
            cluster.tell(kind.watched, said);
        }
    }

    /// Begins a watch anew: what it had to tell is in the list.
    fn list(&mut self, at: usize) {
        let now = Instant::now() + Duration::from_millis(self.random.random_range(1..40));
        let Some(kind) = self.kinds.get_mut(at) else { return };
        let store = self.core.store();
        let all = store.list(&kind.spec, "").filter(|object| kind.selector.matches(object));
        let listed = all.map(|object| (now, News::Listed(Arc::clone(object))));
        kind.waiting = [(now, News::Begin)].into_iter().chain(listed).chain([(now, News::Done)]).collect();
        kind.told.clear();
    }

    fn collect(&mut self, now: Instant) {
        let core = Arc::clone(&self.core);
        let store = core.store();
        let changes: Vec<&Change> = store.since(self.cursor).into_iter().flatten().collect();
        for change in changes {
            let place = (change.place.0.as_str(), change.place.1.as_str());
            let Some(kind) = self.kinds.iter_mut().find(|kind| kind.spec.storage() == place) else {
                continue;
            };
            let before = change.old.as_ref().is_some_and(|old| kind.selector.matches(old));
            let after = !change.deleted && kind.selector.matches(&change.new);
            let news = match (before, after) {
                (false, false) => continue,
                (_, true) => News::Changed(Arc::clone(&change.new)),
                (true, false) => News::Gone(Arc::clone(&change.new)),
            };
            let late = self.packets.end(now + LATE.mul_f64(self.random.random::<f64>()));
            kind.take(news, late);
        }
        self.cursor = store.version();
    }

    /// The pods of a release that were shown as ready and not leaving, of stable's track and of the candidate's.
    pub(super) fn ready(&self, release: &ReleaseKey) -> (u32, u32) {
        let name = release.to_string();
        let (mut stable, mut canary) = (0, 0);
        for pod in self.shown.values().filter(|pod| is_ready(pod)) {
            let label = |key: &str| read::text(pod, &["metadata", "labels", key]);
            if label(LABEL_RELEASE) != name {
                continue;
            }
            match label(LABEL_TRACK) {
                "canary" => canary += 1,
                _ => stable += 1,
            }
        }
        (stable, canary)
    }
}

impl Kind {
    /// Takes what would be shown at `late` in fair weather.
    fn take(&mut self, news: News, late: Instant) {
        let last = self.waiting.back().map_or(late, |(at, _)| late.max(*at));
        let at = match self.weather {
            Some((Weather::Lost, _)) => return,
            Some((Weather::Stale, until)) => last.max(until),
            _ => last,
        };
        self.waiting.push_back((at, news.clone()));
        if matches!(self.weather, Some((Weather::Twice, _))) {
            self.waiting.extend(self.told.iter().chain([&news]).map(|news| (at, news.clone())));
        }
        self.told.push_back(news);
        if self.told.len() > REPEATED {
            self.told.pop_front();
        }
    }
}

/// What a watch of this kind is sent of an object.
fn body(watched: Watched, object: &Value) -> Value {
    if watched.is_metadata() {
        return json!({"metadata": object.get("metadata")});
    }
    object.clone()
}

fn place_of(object: &Value) -> Place {
    let part = |name: &str| read::text(object, &["metadata", name]).to_owned();
    (part("namespace"), part("name"))
}

/// Whether a pod is ready and stays.
pub(super) fn is_ready(pod: &Value) -> bool {
    read::at(pod, &["metadata", "deletionTimestamp"]).is_none()
        && read::list(pod, &["status", "conditions"])
            .iter()
            .any(|one| read::text(one, &["type"]) == "Ready" && read::text(one, &["status"]) == "True")
}
