//! What tests see and disturb: a log of requests, and faults that a hook chooses.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::request::{Request, Verb};

/// One request that was answered, or whose answer was withheld.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Counts from 1 over the server's life.
    pub number: u64,
    /// What was asked.
    pub verb: Verb,
    /// The API group; empty for core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for a cluster-wide request.
    pub namespace: String,
    /// The object's name; empty if the request names none.
    pub name: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The HTTP code that was answered; 0 if the answer was withheld.
    pub code: u16,
    /// Whether a change was asked for, dry run or not.
    pub mutating: bool,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// The caller's `User-Agent`.
    pub user_agent: String,
    /// The user that the caller impersonated, or empty.
    pub impersonated: String,
    /// The field manager.
    pub field_manager: String,
    /// The body of a mutating request; null otherwise.
    pub body: Arc<Value>,
    /// The store's version after the request.
    pub version: u64,
}

/// What happens to a request instead of an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Refused with a code before it has an effect, after `retry_after` seconds to be tried again.
    Status {
        /// The HTTP code.
        code: u16,
        /// The `reason` of the answered status, such as `TooManyRequests`.
        reason: String,
        /// The `message` of the answered status.
        message: String,
        /// `Retry-After` in seconds.
        retry_after: Option<u32>,
    },
    /// No effect, and never an answer.
    Hang,
    /// No effect, and the connection breaks.
    Drop,
    /// It has its effect, and the connection breaks before the answer.
    ApplyThenDrop,
    /// It has its effect, and never an answer.
    ApplyThenHang,
    /// It is answered after this time.
    Delay(Duration),
    /// The caller dies here: the token is cancelled, before the effect or after it, and no answer comes.
    Kill {
        /// What the test's wiring listens to.
        token: CancellationToken,
        /// Whether the request still has its effect.
        after_effect: bool,
    },
}

impl Fault {
    /// A refusal with the usual reason of its code: 403, 409, 429 (with a second to wait), 500 and others.
    pub fn status(code: u16) -> Self {
        let (reason, retry_after) = match code {
            401 => ("Unauthorized", None),
            403 => ("Forbidden", None),
            404 => ("NotFound", None),
            409 => ("Conflict", None),
            422 => ("Invalid", None),
            429 => ("TooManyRequests", Some(1)),
            503 => ("ServiceUnavailable", Some(1)),
            _ => ("InternalError", None),
        };
        Self::Status {
            code,
            reason: reason.to_owned(),
            message: format!("injected: {code} {reason}"),
            retry_after,
        }
    }
}

type Hook = Arc<dyn Fn(&Request) -> Option<Fault> + Send + Sync>;

/// How many requests the log keeps.
const KEPT: usize = 100_000;

/// The log and the hook.
#[derive(Default)]
pub(crate) struct Probe {
    hook: Mutex<Option<Hook>>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    count: u64,
    entries: VecDeque<Logged>,
}

impl Probe {
    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        *lock(&self.hook) = hook;
    }

    /// The fault that the hook chooses. The hook runs without a lock held, so it may call the server.
    pub(crate) fn fault(&self, request: &Request) -> Option<Fault> {
        let hook = lock(&self.hook).clone();
        hook.and_then(|hook| hook(request))
    }

    pub(crate) fn record(&self, request: &Request, code: u16, version: u64) {
        let mutating = request.verb.is_mutating();
        let mut log = lock(&self.log);
        log.count += 1;
        let number = log.count;
        log.entries.push_back(Logged {
            number,
            verb: request.verb,
            group: request.group.clone(),
            kind: request.kind.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            subresource: request.subresource.clone(),
            code,
            mutating,
            dry_run: request.dry_run,
            user_agent: request.user_agent.clone(),
            impersonated: request.impersonated.clone(),
            field_manager: request.field_manager.clone(),
            body: if mutating { Arc::clone(&request.body) } else { Arc::default() },
            version,
        });
        if log.entries.len() > KEPT {
            log.entries.pop_front();
        }
    }

    pub(crate) fn entries(&self) -> Vec<Logged> {
        lock(&self.log).entries.iter().cloned().collect()
    }

    pub(crate) fn take(&self) -> VecDeque<Logged> {
        std::mem::take(&mut lock(&self.log).entries)
    }

    pub(crate) fn clear(&self) {
        lock(&self.log).entries.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
