//! References to images: `registry/path:tag`, as the distribution specification has them.

/// Splits `registry:5000/path:tag` into repository and tag.
pub fn split(reference: &str) -> (&str, Option<&str>) {
    let name = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference.get(name..).and_then(|last| last.find(':')) {
        Some(colon) => {
            let (repository, tag) = reference.split_at(name + colon);
            (repository, tag.strip_prefix(':'))
        }
        None => (reference, None),
    }
}

/// Tells whether a text is a repository as the distribution specification has it, with its registry.
pub fn is_repository(text: &str) -> bool {
    let (host, path) = text.split_once('/').map_or((None, text), |(host, path)| (Some(host), path));
    let host_ok = host.is_none_or(|host| {
        host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
    });
    let component = |part: &str| {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
            && part.chars().all(|c| alphanumeric(c) || "._-".contains(c))
    };
    host_ok && text.len() <= 255 && path.split('/').all(component)
}

/// Tells whether a text is a tag.
pub fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_the_tag_and_not_at_the_port() {
        for (text, expected) in [
            ("r.example.com:5000/a/b", ("r.example.com:5000/a/b", None)),
            ("r.example.com:5000/a/b:1.2", ("r.example.com:5000/a/b", Some("1.2"))),
            ("nginx:1", ("nginx", Some("1"))),
        ] {
            assert_eq!(split(text), expected);
        }
    }

    #[test]
    fn repositories_and_tags_are_what_registries_take() {
        for good in ["ghcr.io/acme/app", "localhost:5000/a", "[::1]:5000/a", "nginx", "r/a/b-c_d.e"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "r/", "/a", "r/A", "r/a:1", "r/a b", "-r/a", "r//a", "r/a-", "r/{{x}}"] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(
            is_tag("v1.2_3-a") && !is_tag("") && !is_tag(".a") && !is_tag("a/b") && !is_tag(&"a".repeat(129))
        );
    }
}
