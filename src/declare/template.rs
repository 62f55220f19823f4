//! The templates that values may hold: `{{commit.sha}}`, `{{env}}`, `{{service.name}}` and, in the platform's own, `{{service.team}}`.

/// What a team's file may name.
pub const KNOWN: [&str; 3] = ["commit.sha", "env", "service.name"];

/// Known to version 1, not filled in yet.
pub const UNSUPPORTED: [&str; 1] = ["pr.number"];

/// What the variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `{{commit.sha}}`; `None` leaves it as it stands.
    pub commit: Option<&'a str>,
    /// `{{env}}`.
    pub environment: &'a str,
    /// `{{service.name}}`.
    pub service: &'a str,
    /// `{{service.team}}`.
    pub team: &'a str,
}

/// Replaces each known variable; everything else, also an unknown `{{name}}`, stays as it stands.
pub fn fill(text: &str, values: Values<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = next(rest) {
        let value = match name {
            "commit.sha" => values.commit,
            "env" => Some(values.environment),
            "service.name" => Some(values.service),
            "service.team" => Some(values.team),
            _ => None,
        };
        out.push_str(before);
        match value {
            Some(value) => out.push_str(value),
            None => out.push_str(rest.get(before.len()..rest.len() - after.len()).unwrap_or_default()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Returns the variables that a text names, in order: whatever has the form `{{word}}` or `{{word.word}}`.
pub fn variables(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, name, after)) = next(rest) {
        found.push(name);
        rest = after;
    }
    found
}

/// Tells whether a text names the commit.
pub fn names_commit(text: &str) -> bool {
    variables(text).contains(&"commit.sha")
}

/// The bytes between the braces that are looked at, blanks included.
const LONGEST: usize = 64;

/// Finds the next variable: what is before it, its name, what is after it. Looks a bounded way ahead of each brace.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find("{{") {
        let open = from + at;
        let inner = text.get(open + 2..)?;
        let part = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_. ".contains(b);
        let close = inner.bytes().take(LONGEST).take_while(part).count();
        if let Some(after) = inner.get(close..).and_then(|rest| rest.strip_prefix("}}")) {
            let name = inner.get(..close)?.trim_matches(' ');
            if is_name(name) {
                return Some((text.get(..open)?, name, after));
            }
        }
        from = open + 1;
    }
    None
}

fn is_name(name: &str) -> bool {
    name.len() <= 40
        && name.split('.').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> =
        Values { commit: Some("abc"), environment: "prod", service: "api", team: "pay" };

    #[test]
    fn known_variables_are_filled_and_foreign_braces_left_alone() {
        for (text, filled) in [
            ("{{commit.sha}}", "abc"),
            ("v-{{ commit.sha }}-{{env}}", "v-abc-prod"),
            ("{{service.team}}/{{service.name}}", "pay/api"),
            (
                "{{.Name}} {{ if x }} {{a b}} {{pr.number}} {{env",
                "{{.Name}} {{ if x }} {{a b}} {{pr.number}} {{env",
            ),
            ("{{{env}}}", "{prod}"),
            ("", ""),
        ] {
            assert_eq!(fill(text, VALUES), filled, "{text}");
        }
        assert_eq!(fill("{{commit.sha}}", Values { commit: None, ..VALUES }), "{{commit.sha}}");
    }

    #[test]
    fn names_are_found() {
        assert_eq!(variables("{{a.b}} {{ X }} {{c}}"), ["a.b", "c"]);
        assert!(names_commit("x-{{ commit.sha }}") && !names_commit("x-{{commit}}"));
    }
}
