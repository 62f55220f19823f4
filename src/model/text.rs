//! Text that others wrote, made harmless and short before it is kept or shown.

/// Makes one line of what others wrote: control characters, which could steer a terminal, become spaces.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if harmful(c) || c == '\n' { ' ' } else { c }).collect()
}

/// Makes what others wrote harmless and keeps its lines.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if harmful(c) && c != '\n' { ' ' } else { c }).collect()
}

/// Control characters, and those that turn the direction of what follows.
fn harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts a text to so many characters, with `…` at the cut.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d"), "a [31mb c d");
        assert_eq!(clean_lines("a\r\nb\u{7}"), "a \nb ");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
