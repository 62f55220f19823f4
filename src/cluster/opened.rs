//! What was unpacked lately. A pass looks at the same few revisions again and again while a rollout runs, and unpacking them takes as long
//! as deciding; kept for every release they would take eight times what all else takes.

use std::collections::HashMap;
use std::sync::Mutex;

use super::view::lock;

/// Kept at most, of all releases together.
const KEPT: usize = 256;

/// One thing that was unpacked.
#[derive(Debug)]
struct Entry<T> {
    version: String,
    asked: u64,
    item: T,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Opened<T>(Mutex<Lately<T>>);

#[derive(Debug)]
struct Lately<T> {
    by_uid: HashMap<String, Entry<T>>,
    asked: u64,
}

impl<T> Default for Opened<T> {
    fn default() -> Self {
        Self(Mutex::new(Lately { by_uid: HashMap::new(), asked: 0 }))
    }
}

impl<T: Clone> Opened<T> {
    /// Returns what `open` makes of this version of an object, unless that was made lately. What cannot be opened is not kept.
    pub(super) fn get<E>(
        &self,
        uid: &str,
        version: &str,
        open: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(item) = lock(&self.0).get(uid, version) {
            return Ok(item);
        }
        // All releases share the lock: nobody waits while somebody unpacks.
        let item = open()?;
        lock(&self.0).keep(uid, version, item.clone());
        Ok(item)
    }
}

impl<T: Clone> Lately<T> {
    fn get(&mut self, uid: &str, version: &str) -> Option<T> {
        self.asked += 1;
        let entry = self.by_uid.get_mut(uid).filter(|entry| entry.version == version)?;
        entry.asked = self.asked;
        Some(entry.item.clone())
    }

    fn keep(&mut self, uid: &str, version: &str, item: T) {
        if self.by_uid.len() >= KEPT {
            // Half of them at a time, so that finding the oldest is rare.
            let mut asked: Vec<u64> = self.by_uid.values().map(|entry| entry.asked).collect();
            asked.sort_unstable();
            let middle = asked.get(KEPT / 2).copied().unwrap_or_default();
            self.by_uid.retain(|_, entry| entry.asked >= middle);
        }
        let entry = Entry { version: version.to_owned(), asked: self.asked, item };
        self.by_uid.insert(uid.to_owned(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_opened_anew_and_there_is_a_cap() {
        let opened = Opened::default();
        let get =
            |uid: &str, version: &str, item: u32| opened.get(uid, version, || Ok::<_, ()>(item)).unwrap();
        assert_eq!(get("u", "1", 1), 1);
        assert_eq!(get("u", "1", 2), 1, "it was opened lately");
        assert_eq!(get("u", "2", 2), 2);
        for number in 0..KEPT * 3 {
            get(&format!("u{number}"), "1", 1);
        }
        assert_eq!(get(&format!("u{}", KEPT * 3 - 1), "1", 7), 1, "the newest stays");
        assert_eq!(get("u", "2", 7), 7, "the oldest went");
        assert!(lock(&opened.0).by_uid.len() <= KEPT);
        assert_eq!(opened.get("bad", "1", || Err("no")), Err("no"));
        assert_eq!(opened.get("bad", "1", || Ok::<_, ()>(3)), Ok(3));
    }
}
