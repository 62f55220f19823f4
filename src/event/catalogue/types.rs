//! The types of events: their names, the schema that each follows, and whether an entry of that type may be dropped.

/// A type of event.
#[derive(Debug, PartialEq, Eq)]
pub struct EventType {
    /// CloudEvents `type`, with the version of the subject.
    pub name: &'static str,
    /// The `$id` of the JSON Schema that its data follows.
    pub schema: &'static str,
    /// It says how something ended: never dropped from a full outbox.
    pub terminal: bool,
    /// What it tells, for the documentation.
    pub meaning: &'static str,
}

impl EventType {
    /// Tells whether the type is ours and no standard one.
    pub fn is_custom(&self) -> bool {
        self.name.starts_with("dev.cdeventsx.")
    }
}

const CUSTOM: &str = "https://cdevents.dev/0.5.1/schema/custom";

macro_rules! types {
    ($($name:ident: $text:literal, $schema:expr, $terminal:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: EventType =
                EventType { name: $text, schema: $schema, terminal: $terminal, meaning: $meaning };
        )*
        /// Every type that can be emitted.
        pub const ALL: &[EventType] = &[$($name),*];
    };
}

types! {
    CHANGE_MERGED: "dev.cdevents.change.merged.0.3.0",
        "https://cdevents.dev/0.5.1/schema/change-merged-event", false,
        "A commit that asks for a new version was seen.";
    PIPELINERUN_QUEUED: "dev.cdevents.pipelinerun.queued.0.3.0",
        "https://cdevents.dev/0.5.1/schema/pipelinerun-queued-event", false,
        "A rollout was begun and waits for its image and a slot.";
    PIPELINERUN_STARTED: "dev.cdevents.pipelinerun.started.0.3.0",
        "https://cdevents.dev/0.5.1/schema/pipelinerun-started-event", false,
        "The rollout has image and slot: pods are about to be created.";
    ROLLOUT_STEPPED: "dev.cdeventsx.idp-rollout.stepped.0.1.0", CUSTOM, false,
        "A step passed: its number, the share asked for and the real one, the verdict.";
    INCIDENT_DETECTED: "dev.cdevents.incident.detected.0.3.0",
        "https://cdevents.dev/0.5.1/schema/incident-detected-event", false,
        "A gate failed, stayed unknown too long, or a deadline passed: the way back begins.";
    GATE_FAILED: "dev.cdeventsx.idp-gate.failed.0.1.0", CUSTOM, false,
        "The same before any pod of the version existed: no incident of the service.";
    SERVICE_DEPLOYED: "dev.cdevents.service.deployed.0.3.0",
        "https://cdevents.dev/0.5.1/schema/service-deployed-event", true,
        "The first version is stable.";
    SERVICE_UPGRADED: "dev.cdevents.service.upgraded.0.3.0",
        "https://cdevents.dev/0.5.1/schema/service-upgraded-event", true,
        "A new version is stable.";
    SERVICE_ROLLEDBACK: "dev.cdevents.service.rolledback.0.3.0",
        "https://cdevents.dev/0.5.1/schema/service-rolledback-event", true,
        "The way back is done; the artifact is the version that runs now.";
    SERVICE_REMOVED: "dev.cdevents.service.removed.0.3.0",
        "https://cdevents.dev/0.5.1/schema/service-removed-event", true,
        "The way back is done and no version was there to go back to.";
    PIPELINERUN_FINISHED: "dev.cdevents.pipelinerun.finished.0.3.0",
        "https://cdevents.dev/0.5.1/schema/pipelinerun-finished-event", true,
        "The rollout ended: exactly one each.";
    INCIDENT_RESOLVED: "dev.cdevents.incident.resolved.0.3.0",
        "https://cdevents.dev/0.5.1/schema/incident-resolved-event", true,
        "Healthy again after a failed rollout.";
    VERSION_HELD: "dev.cdeventsx.idp-version.held.0.1.0", CUSTOM, true,
        "A version does not start again by itself: `hold` says held or parked.";
    VERSION_RELEASED: "dev.cdeventsx.idp-version.released.0.1.0", CUSTOM, false,
        "A held or parked version may start again.";
    DRIFT_CORRECTED: "dev.cdeventsx.idp-drift.corrected.0.1.0", CUSTOM, false,
        "Foreign edits of our objects were put back.";
    RELEASE_APPLIED: "dev.cdeventsx.idp-release.applied.0.1.0", CUSTOM, false,
        "A commit changed what is applied directly, without a rollout.";
    RECORD_REBUILT: "dev.cdeventsx.idp-record.rebuilt.0.1.0", CUSTOM, false,
        "The record was lost and rebuilt from the cluster; the sequence starts anew.";
    APPROVAL_REQUESTED: "dev.cdeventsx.idp-approval.requested.0.1.0", CUSTOM, false,
        "A rollout waits for nothing but people: `what` says for whom or what.";
    COMMAND_ANSWERED: "dev.cdeventsx.idp-command.answered.0.1.0", CUSTOM, false,
        "A person's command was accepted or refused.";
    EVENTS_DROPPED: "dev.cdeventsx.idp-events.dropped.0.1.0", CUSTOM, false,
        "The outbox was full: `count` entries with sequence numbers `from` to `to` were dropped, none that says how something ended.";
}

/// Returns the type with this name.
pub fn by_name(name: &str) -> Option<&'static EventType> {
    ALL.iter().find(|kind| kind.name == name)
}
