//! The image half of the evidence loop: keeps asking the registry, release by release, until the newest head's image has a digest.
//! What was resolved stays as it is until another version is wanted: a pinned image is never looked up again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};

use super::registry::{Answer, Answers, Registries, Registry, RegistryError, RegistryOptions, split};
use super::wake::Waker;
use super::{lock, part_of, seeded};
use crate::model::desired::Identity;
use crate::model::image::{Image, ImageRequest, ImageState, Wanted};
use crate::model::name::ReleaseKey;

/// Tags that are asked for in one round.
const MOST_TAGS: usize = 20;
const PER_HOST: usize = 4;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A registry that asks for a longer pause than this is asked again anyway.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// The loop; cheap to clone.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    registries: Registries,
    waker: Waker,
    seed: u64,
    tracker: TaskTracker,
    cancel: CancellationToken,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    wanted: Mutex<HashMap<ReleaseKey, BTreeMap<Identity, Entry>>>,
}

struct Entry {
    request: ImageRequest,
    state: ImageState,
    /// Ends the task that asks; every task has its own, so that a late answer of an old one is told from a new one's.
    cancel: CancellationToken,
}

impl Entry {
    /// Tells whether the entry answers a request: the same, or resolved already.
    fn answers(&self, request: &ImageRequest) -> bool {
        let pinned = matches!(self.state, ImageState::Resolved(_))
            && self.request.repository == request.repository
            && matches!(request.wanted, Wanted::Tags(_));
        self.request == *request || pinned
    }
}

impl Images {
    /// Starts with nothing wanted. Tasks run in `tracker` and end with `cancel`; `seed` makes the jitter repeatable. Fails if the
    /// HTTP client cannot be set up.
    pub fn start(
        options: RegistryOptions,
        seed: u64,
        waker: Waker,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, RegistryError> {
        let registries = Registries::Http(Box::new(Registry::new(options)?));
        Ok(Self::over(registries, seed, waker, tracker, cancel))
    }

    /// As [`Self::start`], with registries that answer within the process.
    pub fn within(
        answers: Answers,
        seed: u64,
        waker: Waker,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self::over(Registries::Within(answers), seed, waker, tracker, cancel)
    }

    fn over(
        registries: Registries,
        seed: u64,
        waker: Waker,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (hosts, wanted) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { registries, waker, seed, tracker, cancel, hosts, wanted }))
    }

    /// Says which images a release asks for now: its head's, and that of a candidate that still waits for one. What is not named is
    /// withdrawn. Cheap, and the same again changes nothing. A resolved image stays for its identity and repository, whatever tags
    /// are added; anything else is asked for anew.
    pub fn want(&self, release: &ReleaseKey, requests: &[(Identity, ImageRequest)]) {
        let mut wanted = lock(&self.0.wanted);
        let mut before = wanted.remove(release).unwrap_or_default();
        let mut entries = BTreeMap::new();
        let mut resolved = false;
        for (identity, request) in requests {
            let entry = match before.remove(identity) {
                Some(entry) if entry.answers(request) => entry,
                other => {
                    other.inspect(|entry| entry.cancel.cancel());
                    let entry = self.begin(release, identity, request);
                    resolved |= matches!(entry.state, ImageState::Resolved(_));
                    entry
                }
            };
            entries.insert(identity.clone(), entry);
        }
        for entry in before.into_values() {
            entry.cancel.cancel();
        }
        if !entries.is_empty() {
            wanted.insert(release.clone(), entries);
        }
        if resolved {
            self.0.waker.wake(release);
        }
    }

    /// Asks at once for what a release still waits for, whatever pause the last answer led to: a rollout begins, and what a parked
    /// version waited for may be there by now.
    pub fn again(&self, release: &ReleaseKey) {
        let mut wanted = lock(&self.0.wanted);
        let Some(entries) = wanted.get_mut(release) else { return };
        for (identity, entry) in entries {
            if !matches!(entry.state, ImageState::Resolved(_)) {
                entry.cancel.cancel();
                *entry = self.begin(release, identity, &entry.request.clone());
            }
        }
    }

    /// Asks at once, as [`Self::again`] does, for whatever is waited for under the name of an artifact that was published: a package
    /// URL (`pkg:oci/web@sha256%3A…`) or a reference. It may come from anywhere, so it chooses nothing but who is asked again.
    pub fn published(&self, artifact: &str) {
        let name = name_of(artifact);
        let waits = |entry: &Entry| {
            !matches!(entry.state, ImageState::Resolved(_)) && name_of(&entry.request.repository) == name
        };
        let wanted = lock(&self.0.wanted);
        let releases = wanted.iter().filter(|(_, entries)| entries.values().any(waits));
        let releases: Vec<ReleaseKey> = releases.map(|(release, _)| release.clone()).collect();
        drop(wanted);
        for release in &releases {
            self.again(release);
        }
    }

    fn begin(&self, release: &ReleaseKey, identity: &Identity, request: &ImageRequest) -> Entry {
        let cancel = self.0.cancel.child_token();
        let repository = request.repository.clone();
        let state = match &request.wanted {
            Wanted::Digest(digest) => {
                ImageState::Resolved(Image { repository, tag: None, digest: digest.clone() })
            }
            Wanted::Tags(tags) => {
                self.ask(release, identity, repository, tags.clone(), cancel.clone());
                ImageState::Unasked
            }
        };
        Entry { request: request.clone(), state, cancel }
    }

    /// Returns what is known of the image of a version; [`ImageState::Unasked`] where it is not wanted.
    pub fn state_of(&self, release: &ReleaseKey, identity: &Identity) -> ImageState {
        let wanted = lock(&self.0.wanted);
        let entry = wanted.get(release).and_then(|entries| entries.get(identity));
        entry.map_or(ImageState::Unasked, |entry| entry.state.clone())
    }

    fn ask(
        &self,
        release: &ReleaseKey,
        identity: &Identity,
        repository: String,
        tags: Vec<String>,
        cancel: CancellationToken,
    ) {
        let task = Task {
            random: seeded(self.0.seed, &release.to_string()),
            inner: Arc::clone(&self.0),
            release: release.clone(),
            identity: identity.clone(),
            repository,
            tags,
            cancel: cancel.clone(),
        };
        let span = info_span!("image", %release);
        let run = async move { cancel.run_until_cancelled(task.run()).await };
        self.0.tracker.spawn(run.instrument(span));
    }
}

impl Inner {
    fn host(&self, repository: &str) -> Arc<Semaphore> {
        let host = split(repository).map_or("", |(host, _)| host);
        let mut hosts = lock(&self.hosts);
        if hosts.len() > 1_000 {
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))))
    }
}

/// One release's questions, until they are answered.
struct Task {
    inner: Arc<Inner>,
    release: ReleaseKey,
    identity: Identity,
    repository: String,
    tags: Vec<String>,
    cancel: CancellationToken,
    random: StdRng,
}

impl Task {
    async fn run(mut self) {
        let host = self.inner.host(&self.repository);
        let mut wait = FIRST_WAIT;
        loop {
            let (state, pause) = self.round(&host).await;
            let done = matches!(state, ImageState::Resolved(_));
            self.publish(state);
            if done {
                return;
            }
            let jittered = wait.mul_f64(0.75) + part_of(wait / 2, &mut self.random);
            tokio::time::sleep(jittered.max(pause.unwrap_or_default().min(LONGEST_PAUSE))).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Asks for the tags in their order; the first that answers wins. A tag without a usable answer ends the round: the registry is in
    /// trouble, and the next tag would ask the same one.
    async fn round(&self, host: &Semaphore) -> (ImageState, Option<Duration>) {
        for tag in self.tags.iter().take(MOST_TAGS) {
            let answer = {
                let Ok(_permit) = host.acquire().await else { break };
                self.inner.registries.digest(&self.repository, tag).await
            };
            match answer {
                Answer::Found(digest) => {
                    let image = Image { repository: self.repository.clone(), tag: Some(tag.clone()), digest };
                    return (ImageState::Resolved(image), None);
                }
                Answer::Absent => {}
                Answer::Unknown { reason, retry_after } => {
                    let reason = format!("cannot resolve {}:{tag}: {reason}", self.repository);
                    return (ImageState::Unknown { reason }, retry_after);
                }
            }
        }
        (ImageState::Absent { reason: absent(&self.repository, &self.tags) }, None)
    }

    fn publish(&self, state: ImageState) {
        let mut wanted = lock(&self.inner.wanted);
        // `want` cancels under this lock, so a task that is not cancelled here owns the entry.
        let entries = wanted.get_mut(&self.release).filter(|_| !self.cancel.is_cancelled());
        let Some(entry) = entries.and_then(|entries| entries.get_mut(&self.identity)) else {
            return;
        };
        if entry.state != state {
            tracing::debug!(?state, "image state changed");
            entry.state = state;
            self.inner.waker.wake(&self.release);
        }
    }
}

/// Returns the last word of what names an image, without tag, digest and qualifiers.
fn name_of(image: &str) -> &str {
    let bare = image.find(['@', '?', '#']).and_then(|end| image.get(..end)).unwrap_or(image);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    last.split(':').next().unwrap_or(last)
}

fn absent(repository: &str, tags: &[String]) -> String {
    match tags {
        [] => format!("no tag of {repository} is asked for"),
        [tag] => format!("{repository}:{tag} is not in the registry"),
        [first, .., last] => {
            format!("none of {} tags of {repository} ({first} … {last}) is in the registry", tags.len())
        }
    }
}

#[cfg(test)]
mod tests;
