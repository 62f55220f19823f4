//! What starts a rollout, and Preparing: waiting for image and slot while nothing is changed in the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gates::elapsed;
use super::group;
use super::hold;
use super::in_place;
use super::machine::{Machine, is_stepped};
use super::objects;
use super::route::Choice;
use super::view::Workload;
use crate::model::autoscale::Scaling;
use crate::model::change::Changes;
use crate::model::desired::{Desired, Head};
use crate::model::duration::rough;
use crate::model::image::{Image, ImageState};
use crate::model::object::Role;
use crate::model::observed::{Known, Live};
use crate::model::policy::Policy;
use crate::model::rollout::{Candidate, Mark, People, Phase, Place, Rollout, StageState, Version};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};
use crate::model::workload::WorkloadKind;

impl Machine<'_> {
    /// Nothing runs: decides whether the head starts a rollout.
    pub fn idle(&mut self) {
        self.watch_stable();
        let Head::Known(desired) = self.input.head else { return };
        let stable = self.record.stable.as_ref();
        // Where an earlier candidate has the traffic, going back to stable's version needs a rollout as well.
        let rests = self.record.serving.is_none();
        if rests && stable.is_some_and(|stable| stable.version.identity == desired.identity) {
            return;
        }
        if !self.acts() || self.input.suspended || !desired.auto_deploy {
            return;
        }
        self.release_parked(&desired.identity);
        if hold::holding(&self.record, &desired.identity).is_some() || self.record.outbox_full() {
            return;
        }
        self.begin(desired, false);
    }

    /// Begins a rollout of `desired`; `over`: on top of the template of a rolling one that it superseded.
    pub fn begin(&mut self, desired: &Desired, over: bool) {
        self.take_target(desired);
        let changes = self.brought(desired);
        let candidate = Candidate::Waiting {
            identity: desired.identity.clone(),
            revision: desired.revision.clone(),
            image: desired.image.clone(),
            platform: desired.platform.clone(),
        };
        let number = self.open(candidate, changes.clone(), desired.policy.clone());
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.over |= over;
        }
        let revision = desired.revision.clone();
        let sentence =
            format!("commit {} by {}: {}", revision.commit.short(), revision.author, revision.subject);
        self.say(Kind::ChangeSeen { revision: revision.clone(), changes }, sentence);
        let sentence =
            format!("rollout {number} of version {} waits for its image", desired.identity.short());
        self.say(Kind::Queued { revision }, sentence);
    }

    /// Opens a rollout in Preparing and returns its number.
    pub fn open(&mut self, candidate: Candidate, changes: Changes, policy: Policy) -> u64 {
        let now = self.input.now;
        let number = self.record.rollouts.saturating_add(1);
        self.record.rollouts = number;
        let deadline = policy.progress_deadline;
        let forward = self.record.unavailable_since.is_some_and(|since| elapsed(since, now) >= deadline);
        // An earlier candidate that has all traffic keeps it until stable's Deployment is ready with this version.
        let serving = self.record.serving.as_deref();
        let cover = serving.map(|serving| serving.cover.unwrap_or(serving.number));
        let router = serving.and_then(|serving| serving.router.clone());
        let (weight, split) = serving.map_or((0, false), |serving| (serving.weight, serving.split));
        let forward = forward && cover.is_none();
        self.record.rollout = Some(Rollout {
            number,
            candidate,
            changes,
            first: self.record.stable.is_none(),
            forward,
            policy,
            phase: Phase::Preparing,
            phase_since: now,
            started_at: now,
            step: 0,
            step_since: now,
            progress_at: now,
            progress_pods: 0,
            stage: StageState::default(),
            traffic_source: None,
            ending: None,
            frozen_since: None,
            template_moved: false,
            passed: String::new(),
            stable_ready: false,
            proven: false,
            over: cover.is_some(),
            undo: None,
            people: People::default(),
            mates: BTreeSet::new(),
            log: Arc::default(),
            workload: WorkloadKind::of(&self.target_key()),
            router,
            weight,
            asked_at: None,
            cohort: None,
            split,
            away: false,
            joining: false,
            cover,
            scaling: Scaling::default(),
        });
        number
    }

    /// Returns the commits that a desired state brings beyond stable's.
    fn brought(&self, desired: &Desired) -> Changes {
        desired.changes.since(self.record.stable.as_ref().map(|stable| &stable.version.revision.commit))
    }

    /// Waiting for image, kept revision, slot; then the first change of the cluster is allowed.
    pub fn preparing(&mut self) {
        if self.supersede() {
            return;
        }
        let Some(rollout) = self.record.rollout.clone() else { return };
        match &rollout.candidate {
            Candidate::Waiting { identity, revision, platform, .. } => {
                let state = self.input.images.get(identity).cloned().unwrap_or(ImageState::Unasked);
                match state {
                    ImageState::Resolved(image) => {
                        let version = Version {
                            identity: identity.clone(),
                            revision: revision.clone(),
                            image,
                            platform: platform.clone(),
                        };
                        self.image_found(version);
                    }
                    other => self.image_missing(&rollout, &other),
                }
            }
            Candidate::Ready(version) => {
                let version = version.clone();
                self.prepared(&rollout, &version);
            }
        }
    }

    fn image_found(&mut self, version: Version) {
        let Some(rollout) = self.record.rollout.as_mut() else { return };
        rollout.candidate = Candidate::Ready(version);
        rollout.phase_since = self.input.now;
    }

    fn image_missing(&mut self, rollout: &Rollout, state: &ImageState) {
        let (reason, limit) = match state {
            ImageState::Absent { reason } => (reason.clone(), rollout.policy.image_wait),
            ImageState::Unknown { reason } => {
                let limit = rollout.policy.image_wait.saturating_add(rollout.policy.rollback.unknown_timeout);
                (reason.clone(), limit)
            }
            _ => ("the registry was not asked yet".to_owned(), rollout.policy.image_wait),
        };
        if self.overdue(rollout.started_at, limit) {
            let reason = format!("no image after {}: {reason}", rough(limit));
            self.park(Verdict::unknown(Gate::Image, reason));
        }
    }

    fn prepared(&mut self, rollout: &Rollout, version: &Version) {
        if let Some(reason) = self.foreign_object() {
            self.park(Verdict::unknown(Gate::Cluster, reason));
            return;
        }
        if let Some(reason) = self.input.observed.refusals.values().next() {
            let reason = reason.clone();
            if self.overdue(rollout.phase_since, rollout.policy.progress_deadline) {
                self.park(Verdict::unknown(Gate::Cluster, reason));
                return;
            }
        }
        if let Some(reason) = self.other_type(rollout) {
            self.park(Verdict::unknown(Gate::Cluster, reason));
            return;
        }
        let kept = self.input.observed.revisions.get(&rollout.number);
        let Some(Known::Present(body)) = kept else {
            // Neither kept nor in memory: its commit was superseded while this process was away, or Git is. Nothing was changed.
            if self.input.waiting.is_none() && matches!(kept, Some(Known::Absent) | None) {
                self.take_from_head(rollout);
            }
            return;
        };
        if let Some(reason) = self.other_target(&body.objects) {
            self.park(Verdict::unknown(Gate::Cluster, reason));
            return;
        }
        if body.mark != Mark::Candidate || self.input.observed.namespace != Known::Present(()) {
            return;
        }
        let router = match self.choose_router(rollout) {
            Choice::Pods => rollout.router.clone(),
            Choice::Route(router) => Some(router),
            Choice::Wait(reason) => {
                if self.overdue(rollout.phase_since, rollout.policy.progress_deadline) {
                    self.park(Verdict::unknown(Gate::Cluster, reason));
                }
                return;
            }
            Choice::Refused(reason) => {
                self.park(Verdict::unknown(Gate::Cluster, reason));
                return;
            }
        };
        let unable = Self::unroutable(rollout, router.as_ref());
        if let Some(reason) = unable.or_else(|| self.unscalable(rollout, router.is_some())) {
            self.park(Verdict::unknown(Gate::Cluster, reason));
            return;
        }
        if self.paused(rollout) || !self.in_turn(rollout) || !self.start_approved(rollout) || !self.cleared()
        {
            return;
        }
        if !self.in_lockstep(rollout, self.first_place(rollout, router.is_some())) {
            return;
        }
        let over = rollout.over && rollout.cover.is_none();
        let mates = group::has_begun(rollout, self.input.around);
        if !(self.input.slot || over || mates || rollout.undo.is_some()) {
            return;
        }
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.asked_at = router.is_some().then_some(self.input.now);
            rollout.router = router;
        }
        let rollout = self.record.rollout.clone().unwrap_or_else(|| rollout.clone());
        self.start(&rollout, version);
    }

    /// The objects of a waiting candidate are gone; only the head can supply them again.
    fn take_from_head(&mut self, rollout: &Rollout) {
        let same = self
            .input
            .head
            .desired()
            .is_some_and(|desired| &desired.identity == rollout.candidate.identity());
        if !same && self.overdue(rollout.phase_since, rollout.policy.progress_deadline) {
            self.park(Verdict::unknown(
                Gate::Image,
                "its objects are no longer known: Git was away when it was prepared",
            ));
        }
    }

    fn start(&mut self, rollout: &Rollout, version: &Version) {
        if !rollout.over && self.same_template(rollout) {
            self.promote();
            return;
        }
        let first = rollout.first;
        let what = match (first, rollout.forward, &rollout.router) {
            _ if rollout.undo.is_some() => "undo".to_owned(),
            (true, ..) => "first deploy".to_owned(),
            (_, true, _) => "stable has no available pod: rolling forward".to_owned(),
            (_, _, Some(_)) if rollout.cover.is_some() => {
                "under cover of the version that has the traffic".to_owned()
            }
            (_, _, Some(router)) => format!("{} by {router}", rollout.policy.strategy.name()),
            (_, _, None) => rollout.policy.strategy.name().to_owned(),
        };
        let sentence = format!(
            "rollout {} started: {what}, commit {}, image {}",
            rollout.number,
            version.revision.commit.short(),
            version.image.digest.short()
        );
        self.say(Kind::Started { candidate: version.clone(), first }, sentence);
        if matches!(self.first_place(rollout, rollout.router.is_some()), Place::Share(_)) {
            self.enter(Phase::Progressing);
            if let Some(rollout) = self.record.rollout.as_mut() {
                // In place there is no other workload that could carry it.
                rollout.template_moved = in_place::is_in_place(rollout);
            }
        } else {
            self.enter(Phase::Promoting);
            if let Some(rollout) = self.record.rollout.as_mut() {
                rollout.template_moved = true;
            }
        }
    }

    /// Where a rollout that starts goes first.
    fn first_place(&self, rollout: &Rollout, routed: bool) -> Place {
        let canary = is_stepped(rollout) && rollout.cover.is_none() && self.record.replicas > 0;
        let steps = canary && rollout.people.promoted_fully.is_none();
        match rollout.policy.steps.first().filter(|step| steps && (step.weight < 100 || routed)) {
            Some(step) => Place::Share(step.weight),
            None => Place::Promotion,
        }
    }

    /// Tells whether the candidate's pods would equal stable's byte for byte, whatever the identities say.
    fn same_template(&self, rollout: &Rollout) -> bool {
        let template =
            |number: u64| objects::kept_workload(self.input, number)?.body.pointer("/spec/template");
        let Some(stable) = self.record.stable.as_ref() else { return false };
        template(stable.rollout).is_some_and(|stable| template(rollout.number) == Some(stable))
    }

    /// Returns why the release may not write its objects: one of them exists and is somebody else's.
    fn foreign_object(&self) -> Option<String> {
        let observed = self.input.observed;
        let desired = self.input.waiting.or(self.input.head.desired())?;
        // A Job gets a name of its own.
        let mut named = desired.objects.iter().filter(|manifest| manifest.role != Role::Job);
        named.find_map(|manifest| {
            let live = observed.object(&manifest.key).present()?;
            let ours = super::effects::is_ours(&self.record, self.input.release, &manifest.key, live);
            (!ours).then(|| {
                format!(
                    "{} exists and is not managed by idp: adopt it, rename the service, or delete it",
                    manifest.key.for_people()
                )
            })
        })
    }

    /// Notes since when stable has no available pod, and that it is healthy again after a failed rollout.
    pub fn watch_stable(&mut self) {
        if self.is_of_job() {
            return self.watch_job();
        }
        let Some(workload) = self.view.stable.present() else { return };
        let (ready, complete) = (workload.ready(), complete(workload, self.record.replicas));
        if ready == 0 && self.record.replicas > 0 && self.record.stable.is_some() {
            self.record.unavailable_since = self.record.unavailable_since.or(Some(self.input.now));
        } else {
            self.record.unavailable_since = None;
        }
        let stable = self.record.stable.as_ref().map(|stable| stable.version.clone());
        if let Some(version) =
            stable.filter(|_| self.record.incident && complete && self.record.serving.is_none())
        {
            self.record.incident = false;
            let sentence = format!("healthy again with commit {}", version.revision.commit.short());
            self.say(Kind::HealthyAgain { version }, sentence);
        }
    }
}

fn complete(workload: &Workload, wanted: u32) -> bool {
    workload.settled && workload.ready() >= wanted
}

/// Returns the pinned image of a live Deployment's container `app`, for records that are rebuilt.
pub fn image_of(live: &Live) -> Option<Image> {
    let containers = live.object.pointer("/spec/template/spec/containers")?.as_array()?;
    let text = containers.first()?.get("image")?.as_str()?;
    let (repository, digest) = text.split_once('@')?;
    Some(Image { repository: repository.to_owned(), tag: None, digest: digest.parse().ok()? })
}
