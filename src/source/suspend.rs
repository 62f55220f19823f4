//! Which sources are suspended now: by the configuration, or by a person. One value a source, which its loop and its webhook watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Source;
use crate::model::name::SourceName;
use crate::model::suspension::{Suspended, SuspensionAsked};

/// The suspensions of all sources; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Suspensions(Arc<BTreeMap<SourceName, One>>);

#[derive(Debug)]
struct One {
    configured: bool,
    now: watch::Sender<Option<Suspended>>,
}

impl Suspensions {
    /// Begins with what the configuration says.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a Arc<Source>>) -> Self {
        let one = |source: &Arc<Source>| {
            let configured = source.suspend;
            let (now, _) = watch::channel(configured.then(Suspended::by_configuration));
            (source.name.clone(), One { configured, now })
        };
        Self(Arc::new(sources.into_iter().map(one).collect()))
    }

    /// Notes what a person last asked for; nothing: nobody ever did, or it was removed. The configuration's word stays.
    pub fn note(&self, source: &SourceName, asked: Option<&SuspensionAsked>) {
        let Some(one) = self.0.get(source) else { return };
        let by_person = asked.and_then(Suspended::by);
        let now = by_person.or_else(|| one.configured.then(Suspended::by_configuration));
        let changed = one.now.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        match (changed, now) {
            (false, _) => {}
            (true, Some(now)) => {
                tracing::warn!(%source, who = now.who, why = now.why, "a source is suspended");
            }
            (true, None) => {
                tracing::info!(%source, who = asked.map(|asked| &asked.who), "a source is resumed");
            }
        }
    }

    /// Returns whether a source is suspended, and why.
    pub fn of(&self, source: &SourceName) -> Option<Suspended> {
        self.0.get(source).and_then(|one| one.now.borrow().clone())
    }

    /// Returns what tells of each change; absent for a source that is none of the configuration's.
    pub fn watch(&self, source: &SourceName) -> Option<watch::Receiver<Option<Suspended>>> {
        self.0.get(source).map(|one| one.now.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_person_and_the_configuration_can_both_suspend() {
        let text = "cluster: {in_cluster: true}\nenvironments: [{name: p, namespace: p}]\n\
            sources: [{name: a, url: /r}, {name: b, url: /r, suspend: true}]\n";
        let config = config::parse(text, std::path::Path::new("/")).unwrap();
        let suspensions = Suspensions::new(config.sources.values());
        let (a, b, c) = ("a".parse().unwrap(), "b".parse().unwrap(), "c".parse().unwrap());
        let mut changes = suspensions.watch(&a).unwrap();
        assert_eq!((suspensions.of(&a), suspensions.of(&b)), (None, Some(Suspended::by_configuration())));
        let asked = |suspended| SuspensionAsked {
            suspended,
            who: "ann".into(),
            why: "audit".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        for source in [&a, &b, &c] {
            suspensions.note(source, Some(&asked(true)));
        }
        let who = |source| suspensions.of(source).and_then(|now| now.who);
        assert_eq!((who(&a).as_deref(), who(&b).as_deref(), who(&c)), (Some("ann"), Some("ann"), None));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        suspensions.note(&a, Some(&asked(true)));
        assert!(!changes.has_changed().unwrap(), "the same again is no change");
        suspensions.note(&a, Some(&asked(false)));
        suspensions.note(&b, None);
        assert_eq!((suspensions.of(&a), suspensions.of(&b)), (None, Some(Suspended::by_configuration())));
    }
}
