//! Watches: the changes of one kind after a version, as a stream of JSON lines.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    super::json,
    core::{Body, Core, selectors},
    error::ApiError,
    events,
    kinds::KindSpec,
    render::{Form, Writer},
    request::Request,
    selector::{FieldSelector, LabelSelector},
    store::{Change, is_at},
};

/// One watch under way.
struct Watch {
    core: Arc<Core>,
    kind: Arc<KindSpec>,
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    form: Form,
    include: String,
    /// Everything up to this version was sent.
    cursor: u64,
    lines: VecDeque<Bytes>,
    changes: watch::Receiver<u64>,
    /// When the watch ends by itself.
    end: Option<Instant>,
    bookmarks: Option<(Instant, Duration)>,
    shutdown: CancellationToken,
    over: bool,
}

/// Starts the watch that `request` asks for.
pub(crate) fn start(
    core: &Arc<Core>,
    request: &Request,
    form: Form,
    shutdown: CancellationToken,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
    let (labels, fields) = selectors(&request.spec, request)?;
    let now = Instant::now();
    let interval = core.settings().bookmark_interval;
    let seconds: Option<u64> = request.parameter("timeoutSeconds").parse().ok();
    let mut watch = Watch {
        core: core.clone(),
        kind: request.spec.clone(),
        namespace: request.namespace.clone(),
        labels,
        fields,
        form,
        include: request.parameter("includeObject").to_owned(),
        cursor: 0,
        lines: VecDeque::new(),
        changes: core.store().subscribe(),
        end: seconds.map(|seconds| now + Duration::from_secs(seconds)),
        bookmarks: (request.parameter("allowWatchBookmarks") == "true").then(|| (now + interval, interval)),
        shutdown,
        over: false,
    };
    watch.begin(request)?;
    Ok(stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((line, watch))
    }))
}

impl Watch {
    /// Without a version the present objects come first, as if they had just been added.
    fn begin(&mut self, request: &Request) -> Result<(), ApiError> {
        let initial = request.parameter("sendInitialEvents") == "true";
        let from = request.parameter("resourceVersion");
        if !initial && !matches!(from, "" | "0") {
            self.cursor = from.parse().map_err(|_| {
                ApiError::bad_request(format!("Invalid value: {from:?}: resource version must be a number"))
            })?;
            return Ok(());
        }
        if let Body::List { items, version } = self.core.execute(request)?.body {
            self.cursor = version;
            for item in items {
                self.push("ADDED", &item);
            }
        }
        if initial {
            let bookmark = self.writer().bookmark(self.cursor, true);
            self.push_raw("BOOKMARK", &bookmark);
        }
        Ok(())
    }

    fn writer(&self) -> Writer<'_> {
        Writer { form: self.form, kind: &self.kind, now: self.core.clock.now(), include: &self.include }
    }

    fn push(&mut self, what: &str, object: &Value) {
        let object = self.writer().object(object);
        self.push_raw(what, &object);
    }

    fn push_raw(&mut self, what: &str, object: &Value) {
        let mut line = json!({"type": what, "object": object}).to_string();
        line.push('\n');
        self.lines.push_back(Bytes::from(line));
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.changes.mark_unchanged();
            self.collect();
            if self.lines.is_empty() && !self.over {
                self.wait().await;
            }
        }
    }

    /// Takes up what happened since the cursor.
    fn collect(&mut self) {
        let core = self.core.clone();
        let store = core.store();
        let Some(changes) = store.since(self.cursor) else {
            let gone =
                ApiError::expired(format!("too old resource version: {} ({})", self.cursor, store.oldest()));
            self.push_raw("ERROR", &gone.status);
            self.over = true;
            return;
        };
        for change in changes {
            if is_at(change, &self.kind) {
                self.take_up(change);
            }
        }
        self.cursor = self.cursor.max(store.version());
    }

    /// What leaves the selection is a deletion to this watch, what enters it an addition.
    fn take_up(&mut self, change: &Change) {
        let namespace = json::text(&change.new, &["metadata", "namespace"]);
        if !self.namespace.is_empty() && namespace != self.namespace {
            return;
        }
        let chosen = |object: &Value| self.labels.matches(object) && self.fields.matches(object);
        let new = events::outward(&self.kind, change.new.clone());
        let before = change.old.as_ref().is_some_and(|old| chosen(&events::outward(&self.kind, old.clone())));
        let after = !change.deleted && chosen(&new);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.push("ADDED", &new),
            (true, true) => self.push("MODIFIED", &new),
            (true, false) => self.push("DELETED", &new),
        }
    }

    async fn wait(&mut self) {
        let never = Instant::now() + Duration::from_hours(24);
        let (end, bookmark) = (self.end.unwrap_or(never), self.bookmarks.map_or(never, |(at, _)| at));
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => self.over = true,
            changed = self.changes.changed() => self.over = changed.is_err(),
            () = tokio::time::sleep_until(end), if self.end.is_some() => {
                self.over = true;
                if self.bookmarks.is_some() {
                    self.send_bookmark();
                }
            }
            () = tokio::time::sleep_until(bookmark), if self.bookmarks.is_some() => {
                self.send_bookmark();
                self.bookmarks = self.bookmarks.map(|(at, interval)| (at + interval, interval));
            }
        }
    }

    fn send_bookmark(&mut self) {
        let bookmark = self.writer().bookmark(self.cursor, false);
        self.push_raw("BOOKMARK", &bookmark);
    }
}
