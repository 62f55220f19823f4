//! The last words of a container, as they may stand in a verdict that everybody reads: one line, short, without what looks like a
//! credential.

/// Characters of the line that are kept.
const LINE: usize = 160;
/// From this length on a word of letters and digits together is taken for a credential.
const KEY: usize = 24;
/// What stands before a credential.
const NAMES: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "apikey", "api_key", "authorization", "credential"];
/// What replaces it.
const HIDDEN: &str = "***";

/// Returns the last line that says anything; empty if none does.
pub fn last_words(text: &str) -> String {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut hide_next = false;
    let words = line.split_whitespace().map(|word| {
        let hidden = std::mem::take(&mut hide_next);
        let lower = word.to_lowercase();
        let scheme = matches!(lower.as_str(), "bearer" | "basic");
        hide_next = scheme || named(&lower).is_some_and(|rest| rest.len() <= 1);
        if hidden && !scheme { HIDDEN.to_owned() } else { shown(word, &lower) }
    });
    let words: Vec<String> = words.collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(LINE).collect()
}

/// Returns what follows the name of a credential and its `=` or `:`, these included.
fn named(lower: &str) -> Option<&str> {
    let at = lower.find(['=', ':'])?;
    let (name, rest) = lower.split_at(at);
    NAMES.iter().any(|known| name.contains(known)).then_some(rest)
}

fn shown(word: &str, lower: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        return format!("{scheme}://{HIDDEN}@{host}");
    }
    if let Some(rest) = named(lower).filter(|rest| rest.len() > 1)
        && let Some(name) = word.get(..word.len().saturating_sub(rest.len()).saturating_add(1))
    {
        return format!("{name}{HIDDEN}");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=_-./".contains(c);
    let mixed =
        word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_ascii_uppercase());
    let key = word.len() >= KEY && mixed && word.chars().all(plain);
    if key { HIDDEN.to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told_and_no_credential() {
        for (text, expected) in [
            ("", ""),
            ("one\nmigration 7 failed\n\n", "migration 7 failed"),
            ("cannot reach postgres://app:hunter2@db/pay", "cannot reach postgres://***@db/pay"),
            ("DB_PASSWORD=hunter2 is wrong", "DB_PASSWORD=*** is wrong"),
            ("password: hunter2", "password: ***"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("key AKIAIOSFODNN7EXAMPLE12345 refused", "key *** refused"),
            ("/app/target/classes/com/acme/migrations/V7.sql", "***"),
            ("panicked at src/main.rs:7:5", "panicked at src/main.rs:7:5"),
        ] {
            assert_eq!(last_words(text), expected, "{text}");
        }
        assert_eq!(last_words(&"é ".repeat(1_000)).chars().count(), LINE);
    }
}
