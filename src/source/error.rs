//! What can go wrong between a repository and us. None of it empties a desired state.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::auth::AuthError;
use crate::config::{SecretError, TagRange};
use crate::model::change::CommitId;

/// An error of a foreign crate, boxed.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a source could not be read. The sentence says how to mend it; the cause follows as `source`.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No connection, or it broke.
    #[error("cannot reach the repository")]
    Unreachable(#[source] Cause),
    /// It took longer than a look may.
    #[error("the repository did not answer within {}", crate::model::duration::format(*.0))]
    TimedOut(Duration),
    /// The daemon stops.
    #[error("the look was given up because the daemon stops")]
    Stopped,
    /// 401: no credentials, or wrong ones.
    #[error("the repository answers 401: {0}")]
    Unauthorized(&'static str),
    /// 403.
    #[error("the repository answers 403: these credentials may not read it")]
    Forbidden,
    /// 404, or no such folder.
    #[error("there is no repository at this address, or these credentials may not see it")]
    NotFound,
    /// 429, or 503 with a time.
    #[error("the repository asks to be left alone for a while ({status})")]
    Throttled {
        /// The status.
        status: u16,
        /// How long, as the server said; at most an hour.
        after: Option<Duration>,
    },
    /// Any other status that is no success.
    #[error("the repository answers {0}")]
    Status(u16),
    /// A redirect; following it could carry credentials elsewhere.
    #[error(
        "the repository answers {status} and sends us to {to}: write the new address in the configuration"
    )]
    Redirected {
        /// The status.
        status: u16,
        /// Scheme, host and path of the new address, cut to 200 characters.
        to: String,
    },
    /// The branch is not there.
    #[error("there is no branch {0}: nothing is deleted because of that")]
    NoBranch(String),
    /// No tag of the form is in the range.
    #[error("no {0} names a commit: nothing is deleted because of that")]
    NoTag(TagRange),
    /// The tag that is deployed is not the highest any more, because it is gone.
    #[error(
        "the tag {gone} is gone: its version stays and nothing older is taken. Push the tag again or a higher one; to go back on purpose write ref: {{semver: \"={}\"}}",
        now.as_deref().unwrap_or("1.2.3")
    )]
    TagGone {
        /// The tag.
        gone: String,
        /// The highest version that is left.
        now: Option<String>,
    },
    /// The tag that is deployed names another commit now.
    #[error(
        "the tag {tag} was moved from {from} to {to}: what it named stays. Give the new commit a tag of its own; a tag that moves is not taken"
    )]
    TagMoved {
        /// The tag.
        tag: String,
        /// The commit that it named, cut.
        from: String,
        /// The commit that it names, cut.
        to: String,
    },
    /// There are more tags than are looked through.
    #[error(
        "there are more than {limit} tags {pattern}: narrow them down, for example tags: \"payments/v*\" under ref"
    )]
    TooManyTags {
        /// The form of the tags.
        pattern: String,
        /// The limit.
        limit: usize,
    },
    /// The pinned commit cannot be had.
    #[error(
        "the commit {0} is not given: either the repository does not have it, or its server gives no commit by its id alone. Push a tag that names it and write ref: {{semver: \"=1.2.3\"}}"
    )]
    NoCommit(CommitId),
    /// Objects are missing or damaged.
    #[error("the repository's objects cannot be read")]
    Corrupt(#[source] Cause),
    /// The server speaks something else.
    #[error("fetch from the repository")]
    Fetch(#[source] Cause),
    /// Larger than what is read.
    #[error("{what} has {size}, at most {limit} are read")]
    TooLarge {
        /// What.
        what: String,
        /// How much of it, with its unit.
        size: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A symbolic link or a submodule where a file or folder is read.
    #[error("{path} is {kind}: only plain files and folders are read")]
    NotPlain {
        /// The path.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A commit is not signed as the source asks for.
    #[error("commit {commit} {reason}. The last good version stays")]
    Untrusted {
        /// The commit's id, cut.
        commit: String,
        /// Why, and how to mend it; goes on after the commit.
        reason: String,
    },
    /// The keys that commits must be signed with cannot be read.
    #[error("no commit is accepted while the keys in {} cannot be read", file.display())]
    Keys {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// The credentials cannot be read.
    #[error("read the source's credentials")]
    Secret(#[source] SecretError),
    /// The source cannot prove itself, or the server does not.
    #[error(transparent)]
    Auth(AuthError),
    /// The cache cannot be written, or not be read.
    #[error("cannot keep the mirror in {}: {fix}; what runs goes on", folder.display())]
    Cache {
        /// The mirror's folder.
        folder: PathBuf,
        /// What to do.
        fix: &'static str,
        /// What the system says.
        #[source]
        cause: Cause,
    },
    /// The watcher of a local repository could not be set up; it is polled.
    #[error("watch the local repository")]
    Watch(#[source] Cause),
}

impl GitError {
    /// Tells whether waiting may help without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut(_)
            | Self::Stopped
            | Self::Throttled { .. }
            | Self::Corrupt(_)
            | Self::Fetch(_)
            | Self::Cache { .. }
            | Self::Watch(_) => true,
            Self::Status(status) => *status >= 500,
            Self::Unauthorized(_)
            | Self::Forbidden
            | Self::NotFound
            | Self::Redirected { .. }
            | Self::NoBranch(_)
            | Self::NoTag(_)
            | Self::TagGone { .. }
            | Self::TagMoved { .. }
            | Self::TooManyTags { .. }
            | Self::NoCommit(_)
            | Self::TooLarge { .. }
            | Self::NotPlain { .. }
            | Self::Untrusted { .. }
            | Self::Keys { .. }
            | Self::Secret(_)
            | Self::Auth(_) => false,
        }
    }

    /// Tells whether an answer to our own short question may be the question's fault, so that gix should ask in its own way.
    /// What the server or the network says of every request alike is none.
    pub(super) fn is_surprise(&self) -> bool {
        match self {
            // Refused at the door is no surprise; a pooled connection that broke is.
            Self::Unreachable(cause) => {
                cause.downcast_ref::<reqwest::Error>().is_none_or(|error| !error.is_connect())
            }
            Self::Status(status) => *status < 500,
            Self::TimedOut(_) | Self::Redirected { .. } | Self::Fetch(_) | Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    /// Returns the sentence with its causes, each once, cut to 600 characters.
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect()
    }

    /// Tells whether a disk, its rights or its room are the cause; then nothing is wrong with what it holds, nor with the server.
    pub(super) fn is_fault(error: &gix::Error) -> bool {
        error.iter_errors().any(|cause| fix(cause).is_some())
    }

    /// Makes one of what went wrong with a mirror's folder.
    pub(super) fn cache(folder: &Path, cause: impl Into<Cause>) -> Self {
        const OTHER: &str = "see that cache_dir names a folder that can be written";
        let cause = cause.into();
        let fix = match cause.downcast_ref::<gix::Error>() {
            Some(error) => error.iter_errors().find_map(fix),
            None => fix(&*cause),
        };
        Self::Cache { folder: folder.to_owned(), fix: fix.unwrap_or(OTHER), cause }
    }

    pub(super) fn corrupt(cause: impl Into<Cause>) -> Self {
        Self::Corrupt(cause.into())
    }
}

/// Returns what helps against a fault of a disk; nothing if it is none.
fn fix(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<io::Error>()?;
    // EIO, ENFILE, EMFILE: they have no kind of their own.
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge, _) => {
            Some("make room there, or write a lower cache_limit")
        }
        (ErrorKind::ReadOnlyFilesystem, _) => {
            Some("mount it so that it can be written, or write another cache_dir")
        }
        (ErrorKind::PermissionDenied, Some(_)) => {
            Some("let this user write there, or write another cache_dir")
        }
        (_, Some(5)) => Some("the disk answers with an error: replace it, or write another cache_dir"),
        (_, Some(23 | 24)) => Some("too many files are open: raise the limit of open files"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_disk_says_how_to_mend_it() {
        let full = std::fs::write("/dev/full", "x").unwrap_err();
        for (error, said) in [
            (full, "cannot keep the mirror in /m: make room there"),
            (io::Error::from_raw_os_error(27), "make room there"),
            (io::Error::from_raw_os_error(122), "make room there"),
            (io::Error::from_raw_os_error(30), "mount it so that it can be written"),
            (io::Error::from_raw_os_error(13), "let this user write there"),
            (io::Error::from_raw_os_error(5), "replace it"),
            (io::Error::from_raw_os_error(24), "raise the limit of open files"),
            (io::Error::from_raw_os_error(20), "see that cache_dir names a folder"),
        ] {
            let (code, cause) = (error.raw_os_error().unwrap(), error.to_string());
            let direct = GitError::cache(Path::new("/m"), io::Error::from_raw_os_error(code)).sentence();
            assert!(direct.contains(said) && direct.contains(&cause), "{direct}");
            let wrapped = gix::Error::from_error(error);
            assert_eq!(GitError::is_fault(&wrapped), code != 20);
            let wrapped = GitError::cache(Path::new("/m"), wrapped).sentence();
            assert!(wrapped.contains(said), "{wrapped}");
        }
        assert!(!GitError::is_fault(&gix::Error::from_error(io::Error::other("the server is away"))));
    }
}
