//! The identity of a version, format 1, and the hash of what the platform adds to it.
//!
//! Identity is taken before platform defaults and before the renderer: two commits have one identity exactly if their teams asked for
//! the same thing to run. Each value is hashed with its length in front, so that no two lists of values can run together.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{PlatformDefaults, content_hash};
use crate::declare::template;
use crate::model::declaration::{Declaration, ImageSource, Probe, RunAs, Workload};
use crate::model::desired::Identity;
use crate::model::object::{Manifest, Role};
use crate::model::policy::CheckKind;

/// The format of identities. A change of what is hashed, or how, is another number.
const FORMAT: &str = "1";

/// A hash over values with their lengths.
struct Hash(Sha256);

impl Hash {
    fn new(what: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(what);
        hash
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn option(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn list(&mut self, items: Option<&[String]>) {
        self.count(usize::from(items.is_some()));
        self.count(items.unwrap_or_default().len());
        items.unwrap_or_default().iter().for_each(|item| self.text(item));
    }

    fn map(&mut self, map: &BTreeMap<String, String>) {
        self.count(map.len());
        for (key, value) in map {
            self.text(key);
            self.text(value);
        }
    }

    fn finish(self, digits: usize) -> String {
        let mut text = hex::encode(self.0.finalize());
        text.truncate(digits);
        text
    }
}

/// Returns the identity of what a declaration asks for, where `watched_tree` is the content id of its watched paths.
pub(super) fn identity(declaration: &Declaration, watched_tree: &str) -> Identity {
    let mut hash = Hash::new("idp version");
    workload(&mut hash, &declaration.workload);
    image(&mut hash, &declaration.image, watched_tree);
    if declaration.run.is_some() {
        hash.text(if declaration.cron.is_some() { "cron" } else { "job" });
    }
    Identity(format!("{FORMAT}-{}", hash.finish(40)))
}

/// Returns the identity of a team's own manifests: the pods of the workload that rollouts act on, with the config that they read.
pub(super) fn of_manifests(declaration: &Declaration, objects: &[Manifest], watched_tree: &str) -> Identity {
    let mut hash = Hash::new("idp version of manifests");
    let ours = objects.iter().filter(|manifest| manifest.role != Role::Shared);
    for manifest in ours {
        hash.text(&manifest.key.kind);
        hash.text(&manifest.key.name);
        let pods = manifest.body.pointer("/spec/template").filter(|_| manifest.role == Role::Workload);
        // The name of a ConfigMap has the hash of its content in it.
        hash.option(pods.map(|pods| content_hash(pods).0).as_deref());
    }
    image(&mut hash, &declaration.image, watched_tree);
    Identity(format!("{FORMAT}-{}", hash.finish(40)))
}

/// What ends in a pod, as the team wrote it.
fn workload(hash: &mut Hash, workload: &Workload) {
    let Workload {
        port,
        cpu,
        memory,
        cpu_limit,
        memory_limit,
        command,
        args,
        env,
        files,
        run_as,
        termination_grace,
        probe,
    } = workload;
    hash.option(port.map(|port| port.to_string()).as_deref());
    for quantity in [cpu, memory, cpu_limit, memory_limit] {
        hash.option(quantity.as_deref());
    }
    hash.list(command.as_deref());
    hash.list(args.as_deref());
    hash.map(env);
    hash.map(files);
    let run_as = run_as.map(|run_as| match run_as {
        RunAs::Uid(uid) => uid.to_string(),
        RunAs::Image => "image".to_owned(),
    });
    hash.option(run_as.as_deref());
    hash.option(termination_grace.map(|grace| grace.as_millis().to_string()).as_deref());
    self::probe(hash, probe.as_ref());
}

fn probe(hash: &mut Hash, probe: Option<&Probe>) {
    hash.count(usize::from(probe.is_some()));
    let Some(Probe { kind, port }) = probe else { return };
    hash.option(port.map(|port| port.to_string()).as_deref());
    match kind {
        CheckKind::None => hash.text("none"),
        CheckKind::Tcp => hash.text("tcp"),
        CheckKind::Grpc => hash.text("grpc"),
        // Accepted statuses are the gate's, kubelet has its own.
        CheckKind::Http { path, tls, status: _ } => {
            hash.text(if *tls { "https" } else { "http" });
            hash.text(path);
        }
    }
}

/// The image key: the digest if the file names one, else the tag as written if it has no commit in it, else the watched content.
fn image(hash: &mut Hash, image: &ImageSource, watched_tree: &str) {
    hash.option(image.repository.as_deref());
    if let Some(digest) = &image.digest {
        hash.text("digest");
        hash.text(digest.as_str());
        return;
    }
    hash.text("tag");
    hash.text(image.tag());
    if template::names_commit(image.tag()) {
        hash.text("tree");
        hash.text(watched_tree);
    }
}

/// Returns the hash of what the platform adds: the renderer's version and its defaults.
pub(super) fn platform(renderer: &str, defaults: &PlatformDefaults) -> String {
    let PlatformDefaults { image, cpu, memory, termination_grace, pre_stop, run_as } = defaults;
    let mut hash = Hash::new("idp platform");
    hash.text(renderer);
    hash.option(image.as_deref());
    hash.text(cpu);
    hash.text(memory);
    hash.text(&termination_grace.as_millis().to_string());
    hash.text(&pre_stop.as_millis().to_string());
    hash.text(&run_as.to_string());
    hash.finish(16)
}
