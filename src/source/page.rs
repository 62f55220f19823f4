//! Where a person reads a commit on its forge.

use crate::config::{Forge, RepoUrl, Source, StatusForge};
use crate::model::change::CommitId;

/// Returns the page of a commit; nothing where the forge is not known: it is what the webhook or the statuses of the source speak to, or
/// one of the public ones.
pub(super) fn of_commit(source: &Source, commit: &CommitId) -> Option<String> {
    let (host, root, path) = match &source.url {
        RepoUrl::Local(_) => return None,
        RepoUrl::Http(url) => (url.host_str()?, url.origin().ascii_serialization(), url.path()),
        // Its pages are where those of the public ones are: at the host's own name.
        RepoUrl::Ssh(url) => (url.host.as_str(), format!("https://{}", url.host), url.path.as_str()),
    };
    let forge = forge(source, host)?;
    let path = path.trim_end_matches('/').trim_end_matches(".git").trim_start_matches('/');
    Some(match forge {
        Forge::GitHub | Forge::Gitea => format!("{root}/{path}/commit/{commit}"),
        Forge::GitLab => format!("{root}/{path}/-/commit/{commit}"),
        Forge::BitbucketCloud => format!("{root}/{path}/commits/{commit}"),
        Forge::BitbucketDataCenter => {
            // Clones are under `[context/]scm/PROJECT/name`, pages under `[context/]projects/PROJECT/repos/name`.
            let (context, rest) = match path.split_once("/scm/") {
                Some((context, rest)) => (format!("{context}/"), rest),
                None => (String::new(), path.strip_prefix("scm/")?),
            };
            let (project, name) = rest.split_once('/')?;
            format!("{root}/{context}projects/{project}/repos/{name}/commits/{commit}")
        }
        Forge::Generic | Forge::CdEvents => return None,
    })
}

fn forge(source: &Source, host: &str) -> Option<Forge> {
    let told = source.webhook.as_ref().map(|webhook| webhook.forge);
    let told = told.filter(|forge| !matches!(forge, Forge::Generic | Forge::CdEvents));
    let statuses = source.status.as_ref().map(|target| match target.forge {
        StatusForge::GitHub => Forge::GitHub,
        StatusForge::Gitea => Forge::Gitea,
    });
    told.or(statuses).or(match host {
        "github.com" => Some(Forge::GitHub),
        "gitlab.com" => Some(Forge::GitLab),
        "codeberg.org" => Some(Forge::Gitea),
        "bitbucket.org" => Some(Forge::BitbucketCloud),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_commit_has_a_page_where_its_forge_is_known() {
        let id = "0123456789012345678901234567890123456789";
        let hook = |forge: &str| format!(", webhook: {{forge: {forge}, secret_file: s}}");
        for (url, rest, page) in [
            ("https://github.com/a/b.git", String::new(), Some("https://github.com/a/b/commit/")),
            ("https://gitlab.com/a/b/c", String::new(), Some("https://gitlab.com/a/b/c/-/commit/")),
            ("https://bitbucket.org/a/b", String::new(), Some("https://bitbucket.org/a/b/commits/")),
            (
                "https://git.example.com:3000/a/b.git/",
                hook("gitea"),
                Some("https://git.example.com:3000/a/b/commit/"),
            ),
            ("https://git.example.com/a/b", hook("gitlab"), Some("https://git.example.com/a/b/-/commit/")),
            (
                "https://git.example.com/x/scm/prj/b.git",
                hook("bitbucket-data-center"),
                Some("https://git.example.com/x/projects/prj/repos/b/commits/"),
            ),
            (
                "https://git.example.com/scm/prj/b.git",
                hook("bitbucket-data-center"),
                Some("https://git.example.com/projects/prj/repos/b/commits/"),
            ),
            ("https://git.example.com/a/b", hook("generic"), None),
            ("https://git.example.com/a/b", String::new(), None),
            ("/srv/git/b.git", hook("gitea"), None),
        ] {
            let text = format!(
                "cluster: {{in_cluster: true}}\nenvironments: [{{name: p, namespace: p}}]\nsources: [{{name: s, url: \"{url}\"{rest}}}]\n"
            );
            let config = config::parse(&text, std::path::Path::new("/")).unwrap();
            let source = config.sources.values().next().unwrap();
            let wanted = page.map(|page| format!("{page}{id}"));
            assert_eq!(of_commit(source, &id.parse().unwrap()), wanted, "{url}");
        }
    }
}
