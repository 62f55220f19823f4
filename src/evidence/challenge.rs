//! What a registry's 401 asks for: the `WWW-Authenticate` header (RFC 9110 §11.6.1, and the token authentication of the distribution
//! specification). Pure.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from `realm`.
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// The name of the registry there.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
    /// User and password with each request.
    Basic,
}

/// Reads one header that holds one challenge; `None` for a scheme that is not spoken here.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `name="value", name=value`: what does not follow the form ends the list.
fn parameters(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']);
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => after
                .split_once(',')
                .map_or((after.trim().to_owned(), ""), |(value, tail)| (value.trim().to_owned(), tail)),
        };
        found.push((name, value));
        rest = tail;
    }
    found
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or("")),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: &str| text.to_owned();
        Challenge::Bearer { realm: own(realm), service: service.map(own), scope: scope.map(own) }
    }

    #[test]
    fn challenges() {
        let cases = [
            (
                r#"Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.test/token",
                    Some("registry.test"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (
                r#"bearer Realm="https://a.test/t" , service=x"#,
                Some(bearer("https://a.test/t", Some("x"), None)),
            ),
            (r#"Bearer realm="a\"b""#, Some(bearer("a\"b", None, None))),
            ("Bearer service=x", None),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate abc", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(header in "\\PC{0,200}") {
            let _ = parse(&header);
            let _ = parse(&format!("Bearer {header}"));
        }
    }
}
