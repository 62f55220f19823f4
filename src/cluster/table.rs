//! Rows of one kind of thing with one rule for news: nothing older than what is known, and never older than our own last write.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::version::older;

/// What is known of a row's thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State<T> {
    /// A write of ours was refused or unanswered: only a read settles it. The row's version is the least that counts.
    Doubt,
    /// It is certainly not there; the row's UID is the one that we deleted, or empty.
    Absent,
    /// It is there.
    Present(T),
}

#[derive(Debug, Clone)]
struct Row<T> {
    state: State<T>,
    uid: String,
    version: String,
    round: u64,
}

/// Something that the server said about a thing.
#[derive(Debug)]
pub(super) struct News<'a, T> {
    pub uid: &'a str,
    pub version: &'a str,
    /// The initial list, counted, during or after which it was said.
    pub round: u64,
    pub item: T,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table<K, T> {
    rows: BTreeMap<K, Row<T>>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<K: Ord, T: PartialEq> Table<K, T> {
    /// Takes a watch event. Returns whether a reader would see a difference: the echo of our own write is none.
    pub fn heard(&mut self, key: K, news: News<'_, T>) -> bool {
        let Some(row) = self.rows.get_mut(&key) else {
            self.put(key, news);
            return true;
        };
        if row.uid == news.uid {
            row.round = row.round.max(news.round);
        }
        if older(news.version, &row.version) {
            return false;
        }
        match &row.state {
            // Of an object that we deleted, late events may still come.
            State::Absent if row.uid == news.uid => false,
            State::Doubt => {
                news.uid.clone_into(&mut row.uid);
                news.version.clone_into(&mut row.version);
                true
            }
            State::Present(_) if row.uid == news.uid && row.version == news.version => false,
            State::Present(known) => {
                let changed = row.uid != news.uid || *known != news.item;
                self.put(key, news);
                changed
            }
            State::Absent => {
                self.put(key, news);
                true
            }
        }
    }

    /// Takes the answer of a read, or of a write of ours.
    pub fn told(&mut self, key: K, news: News<'_, T>) {
        // A watch may have been faster than the response.
        if self.rows.get(&key).is_some_and(|row| older(news.version, &row.version)) {
            return;
        }
        self.put(key, news);
    }

    /// Takes a read's answer that there is nothing.
    pub fn told_absent(&mut self, key: K, round: u64) {
        match self.rows.get_mut(&key) {
            // A watch event overtook the answer.
            Some(Row { state: State::Present(_), .. }) => {}
            Some(row) => {
                row.state = State::Absent;
                row.round = row.round.max(round);
            }
            None => {
                let row = Row { state: State::Absent, uid: String::new(), version: String::new(), round };
                self.rows.insert(key, row);
            }
        }
    }

    /// Takes the answer that our own delete by UID has removed it.
    pub fn gone(&mut self, key: K, uid: &str, round: u64) {
        if self.rows.get(&key).is_some_and(|row| matches!(row.state, State::Present(_)) && row.uid != uid) {
            return;
        }
        let version = self.rows.get(&key).map(|row| row.version.clone()).unwrap_or_default();
        self.rows.insert(key, Row { state: State::Absent, uid: uid.to_owned(), version, round });
    }

    /// Takes a watch event of a deletion. Returns whether a reader would see a difference. An object that only lost its labels is
    /// reported the same way, so nothing is known afterwards and the next look reads it.
    pub fn removed(&mut self, key: &K, uid: &str) -> bool {
        match self.rows.get(key) {
            Some(row) if row.uid == uid && row.state != State::Absent => self.rows.remove(key).is_some(),
            Some(_) | None => false,
        }
    }

    /// Marks that what is known is in doubt.
    pub fn doubt(&mut self, key: K) {
        let row = self.rows.entry(key).or_insert_with(|| Row {
            state: State::Doubt,
            uid: String::new(),
            version: String::new(),
            round: 0,
        });
        row.state = State::Doubt;
    }

    /// Drops what an initial list of these keys did not show. Returns whether a reader would see a difference.
    pub fn sweep(&mut self, round: u64, listed: impl Fn(&K) -> bool) -> bool {
        let mut changed = false;
        self.rows.retain(|key, row| {
            let keep = row.round >= round || matches!(row.state, State::Doubt) || !listed(key);
            changed |= !keep && matches!(row.state, State::Present(_));
            keep
        });
        changed
    }

    /// Drops certain absences that nobody asks for.
    pub fn tidy(&mut self, wanted: impl Fn(&K) -> bool) {
        self.rows.retain(|key, row| row.state != State::Absent || wanted(key));
    }

    /// Drops a row.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.remove(key).is_some()
    }

    /// Returns what is known; `None`: it was never looked for.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&State<T>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|row| &row.state)
    }

    /// Returns what only a read settles.
    pub fn doubted(&self) -> impl Iterator<Item = &K> {
        self.rows.iter().filter(|(_, row)| matches!(row.state, State::Doubt)).map(|(key, _)| key)
    }

    /// Returns the keys of all rows.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.keys()
    }

    /// Returns what is there.
    pub fn present(&self) -> impl Iterator<Item = (&K, &T)> {
        self.rows.iter().filter_map(|(key, row)| match &row.state {
            State::Present(item) => Some((key, item)),
            State::Doubt | State::Absent => None,
        })
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn put(&mut self, key: K, news: News<'_, T>) {
        let News { uid, version, round, item } = news;
        let row =
            Row { state: State::Present(item), uid: uid.to_owned(), version: version.to_owned(), round };
        self.rows.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(uid: &'static str, version: &'static str, item: &'static str) -> News<'static, &'static str> {
        News { uid, version, round: 1, item }
    }

    #[test]
    fn the_echo_of_our_own_write_is_no_news() {
        let mut table = Table::default();
        table.told("a", news("u", "10", "ours"));
        assert!(!table.heard("a", news("u", "10", "ours")));
        assert!(table.heard("a", news("u", "11", "theirs")));
    }

    #[test]
    fn nothing_older_than_our_own_write_is_taken() {
        let mut table = Table::default();
        table.told("a", news("u", "10", "ours"));
        assert!(!table.heard("a", news("u", "9", "before")));
        assert_eq!(table.get("a"), Some(&State::Present("ours")));
        table.told("a", news("u", "9", "before"));
        assert_eq!(table.get("a"), Some(&State::Present("ours")));
    }

    #[test]
    fn a_change_that_no_reader_sees_is_no_news() {
        let mut table = Table::default();
        assert!(table.heard("a", news("u", "10", "same")));
        assert!(!table.heard("a", news("u", "11", "same")));
        assert!(table.heard("a", news("v", "12", "same")));
    }

    #[test]
    fn doubt_is_settled_by_a_read_only_and_keeps_its_floor() {
        let mut table = Table::default();
        table.told("a", news("u", "10", "ours"));
        table.doubt("a");
        assert!(!table.heard("a", news("u", "9", "before")));
        assert!(table.heard("a", news("u", "12", "theirs")));
        assert_eq!(table.get("a"), Some(&State::Doubt));
        table.told("a", news("u", "11", "stale"));
        assert_eq!(table.get("a"), Some(&State::Doubt));
        table.told("a", news("u", "12", "theirs"));
        assert_eq!(table.get("a"), Some(&State::Present("theirs")));
    }

    #[test]
    fn what_we_deleted_does_not_come_back_by_a_late_event() {
        let mut table = Table::default();
        table.told("a", news("u", "10", "ours"));
        table.gone("a", "u", 1);
        assert!(!table.heard("a", news("u", "11", "terminating")));
        assert!(!table.removed(&"a", "u"));
        assert_eq!(table.get("a"), Some(&State::Absent));
        assert!(table.heard("a", news("v", "13", "another")));
        table.gone("a", "u", 1);
        assert_eq!(table.get("a"), Some(&State::Present("another")));
    }

    #[test]
    fn a_deletion_that_we_did_not_make_leaves_nothing_known() {
        let mut table = Table::default();
        table.heard("a", news("u", "10", "x"));
        assert!(!table.removed(&"a", "other"));
        assert!(table.removed(&"a", "u"));
        assert_eq!(table.get("a"), None);
    }

    #[test]
    fn an_initial_list_drops_what_it_did_not_show() {
        let mut table = Table::default();
        table.heard("old", news("u", "10", "x"));
        table.heard("new", News { uid: "v", version: "11", round: 2, item: "y" });
        table.told_absent("none", 1);
        assert!(!table.sweep(2, |key| *key == "new"));
        assert!(table.sweep(2, |_| true));
        assert_eq!((table.get("old"), table.get("none")), (None, None));
        assert_eq!(table.get("new"), Some(&State::Present("y")));
        assert!(!table.sweep(2, |_| true));
    }

    #[test]
    fn absence_is_never_told_over_a_faster_event() {
        let mut table = Table::default();
        table.heard("a", news("u", "10", "x"));
        table.told_absent("a", 1);
        assert_eq!(table.get("a"), Some(&State::Present("x")));
        table.told_absent("b", 1);
        assert_eq!(table.get("b"), Some(&State::Absent));
        table.tidy(|key| *key == "a");
        assert_eq!(table.get("b"), None);
    }
}
