//! What to enter where in a forge, so that it calls: the table of `docs/webhooks.md`.

use crate::config::Forge;

/// How a webhook is set up in one forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// The page in the forge.
    pub place: &'static str,
    /// The field that the secret goes to.
    pub secret: &'static str,
    /// The events to choose.
    pub events: &'static str,
}

/// Returns how the webhook of a forge is set up.
pub fn setup(forge: Forge) -> Setup {
    let of = |place, secret, events| Setup { place, secret, events };
    match forge {
        Forge::GitHub => of(
            "repository → Settings → Webhooks → Add webhook",
            "*Secret*",
            "*Let me select*: Pushes, Pull requests, Pull request reviews",
        ),
        Forge::GitLab => of(
            "project → Settings → Webhooks → Add new webhook",
            "*Signing token*, or *Secret token*",
            "Push events, Tag push events, Merge request events",
        ),
        Forge::Gitea => of(
            "repository → Settings → Webhooks → Add webhook → Gitea or Forgejo",
            "*Secret*",
            "*Custom events*: Push, Pull Request, Pull Request Synchronized, Pull Request Labeled, Pull Request Reviewed",
        ),
        Forge::BitbucketCloud => of(
            "Repository settings → Webhooks → Add webhook",
            "*Secret*",
            "Repository: Push; Pull request: Created, Updated, Approved, Approval removed, Changes Request created, Changes Request removed, Merged, Declined",
        ),
        Forge::BitbucketDataCenter => of(
            "Repository settings → Webhooks → Create webhook",
            "*Secret*",
            "Repository: Push; Pull request: Opened, Source branch updated, Approved, Unapproved, Needs work, Merged, Declined, Deleted",
        ),
        Forge::Generic => of(
            "whoever sends it",
            "the key that signs, by Standard Webhooks or in `signature_header`",
            "any: each proven request is a hint",
        ),
        Forge::CdEvents => of(
            "whoever sends it",
            "the key that signs, by Standard Webhooks",
            "dev.cdevents.change.merged, dev.cdevents.artifact.published",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_says_the_same() {
        let text = include_str!("../../../docs/webhooks.md");
        for forge in
            [Forge::GitHub, Forge::GitLab, Forge::Gitea, Forge::BitbucketCloud, Forge::BitbucketDataCenter]
        {
            let Setup { place, secret, events } = setup(forge);
            let row = format!("| {place} | {secret} | {events} |");
            assert!(text.contains(&row), "{}: {row}", forge.name());
        }
    }
}
