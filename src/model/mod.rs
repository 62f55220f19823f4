//! The words of the project as types. Nothing here decides anything: values are parsed once, at the edge, into types whose
//! fields cannot hold nonsense, and every other room speaks in them.
//!
//! In: text and numbers from files, commits and the cluster. Out: types. May use: nothing of the other rooms.

pub mod autoscale;
pub mod change;
pub mod command;
pub mod declaration;
pub mod desired;
pub mod duration;
pub mod gate;
pub mod histogram;
pub mod image;
pub mod name;
pub mod object;
pub mod observed;
pub mod phase;
pub mod policy;
pub mod pull;
pub mod record;
pub mod rollout;
pub mod samples;
pub mod schedule;
pub mod stage;
pub mod standing;
pub mod suspension;
pub mod text;
pub mod traffic;
pub mod transition;
pub mod verdict;
pub mod workload;
pub mod write;

/// The API group of everything that idp adds to a cluster.
pub const GROUP: &str = "idp.dev";
/// The label that names the release on every pod; the team's Service selects by it alone.
pub const LABEL_RELEASE: &str = "idp.dev/release";
/// The label that tells stable pods from candidate pods.
pub const LABEL_TRACK: &str = "idp.dev/track";
/// The label with the service's name, on every object.
pub const LABEL_SERVICE: &str = "idp.dev/service";
/// The label with the owning team, on every object.
pub const LABEL_TEAM: &str = "idp.dev/team";
/// The label with the environment, on every object.
pub const LABEL_ENVIRONMENT: &str = "idp.dev/environment";
/// The label with a gate's name, on its Jobs and their pods. The pods never carry [`LABEL_RELEASE`]: the Service selects by it.
pub const LABEL_GATE: &str = "idp.dev/gate";
/// The label on the pods of a DaemonSet with the hash of the template that they were made from.
pub const LABEL_TEMPLATE: &str = "idp.dev/template";
/// `app.kubernetes.io/managed-by`, always `idp` on ours.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that says what a ConfigMap of the home namespace keeps, where it is found by that.
pub const LABEL_KEEPS: &str = "idp.dev/keeps";
/// The annotation with the commit that last wrote the object; outside the content hash.
pub const ANNOTATION_REVISION: &str = "idp.dev/revision";
/// The annotation with the number of the rollout that last wrote the object; outside the content hash.
pub const ANNOTATION_ROLLOUT: &str = "idp.dev/rollout";
/// The annotation with the address of the change in the forge; outside the content hash.
pub const ANNOTATION_CHANGE_URL: &str = "idp.dev/change-url";
/// The annotation on a workload with the identity of its version; outside the content hash.
pub const ANNOTATION_VERSION: &str = "idp.dev/version";
/// The annotation with the content hash that the body had when it was applied.
pub const ANNOTATION_HASH: &str = "idp.dev/content-hash";
/// The annotation with the fencing epoch of the last writer.
pub const ANNOTATION_EPOCH: &str = "idp.dev/epoch";
/// The field manager of object bodies.
pub const MANAGER: &str = "idp";
/// The field manager of `spec.replicas`, the only field that a rollout moves.
pub const MANAGER_ROLLOUT: &str = "idp-rollout";
/// The text that stands in a rendered pod template where the pinned image goes once its digest is known.
pub const IMAGE_PLACEHOLDER: &str = "idp.dev/image-to-be-resolved";
