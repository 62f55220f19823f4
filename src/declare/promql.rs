//! What can be seen of a PromQL query without a server: that there is one, that its quotes and brackets end, and that templates stand
//! where they can be escaped. The rest its Prometheus says.

use crate::model::gate::VARIABLES;

/// The longest query.
pub(super) const LONGEST: usize = 2_000;

/// Tells what is wrong with a query, and how to mend it.
pub(super) fn check(text: &str) -> Result<(), (String, &'static str)> {
    if text.trim().is_empty() {
        return Err(("it is empty".to_owned(), "write for example sum(rate(checkout_ok_total[5m]))"));
    }
    if text.len() > LONGEST {
        return Err((
            format!("it has {} bytes, at most {LONGEST} are read", text.len()),
            "make it shorter, with a recording rule for example",
        ));
    }
    let mut open: Vec<char> = Vec::new();
    let mut chars = text.char_indices();
    let mut nothing = true;
    while let Some((at, c)) = chars.next() {
        let rest = text.get(at..).unwrap_or_default();
        match c {
            '"' | '\'' | '`' => {
                let length = string(rest, c).ok_or((
                    format!("a string that begins with {c} does not end"),
                    "end it with the same quote",
                ))?;
                let inside = rest.get(1..length - 1).unwrap_or_default();
                if c == '`' && names_variable(inside) {
                    let what = "a template stands in backquotes, where nothing can be escaped".to_owned();
                    return Err((what, "put it in double quotes"));
                }
                chars = text.char_indices();
                chars.nth(text.get(..at + length).unwrap_or_default().chars().count() - 1);
                nothing = false;
            }
            '#' => {
                let length = rest.find('\n').unwrap_or(rest.len());
                chars = text.char_indices();
                chars.nth((text.get(..at + length).unwrap_or_default().chars().count()).saturating_sub(1));
            }
            '{' if names_variable(rest) && rest.starts_with("{{") => {
                return Err((
                    "a template stands outside of quotes".to_owned(),
                    "write for example version=\"{{version}}\"",
                ));
            }
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => {
                let wanted = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(wanted) {
                    return Err((format!("{c} closes what {wanted} did not open"), "look at its brackets"));
                }
            }
            c => nothing &= c.is_whitespace(),
        }
    }
    match open.pop() {
        Some(c) => Err((format!("{c} is not closed"), "look at its brackets")),
        None if nothing => Err(("it is empty".to_owned(), "write a query, not a comment alone")),
        None => Ok(()),
    }
}

/// Returns the bytes of the string that begins here, both quotes included.
fn string(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn names_variable(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let name = after.split_once("}}").map(|(name, _)| name.trim());
        if name.is_some_and(|name| VARIABLES.contains(&name)) {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_a_query_is_told() {
        for fine in [
            "up",
            "sum(rate(a_total{version=\"{{version}}\",x='}',y=`\\`}[5m])) / sum(rate(b_total[5m]))",
            "a # a comment with ( in it\n + b",
            "{__name__=~\"a|\\\"b\"}",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (bad, what) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("# nothing", "it is empty"),
            ("sum(rate(a[5m])", "( is not closed"),
            ("sum(a))", ") closes what ( did not open"),
            ("a[5m}", "} closes what { did not open"),
            ("a{b=\"c}", "a string that begins with \" does not end"),
            ("a{b='c\\'}", "a string that begins with ' does not end"),
            ("a{{{version}}}", "a template stands outside of quotes"),
            ("{{version}}", "a template stands outside of quotes"),
            ("a{b=`{{version}}`}", "a template stands in backquotes, where nothing can be escaped"),
        ] {
            assert_eq!(check(bad).map_err(|(found, _)| found), Err(what.to_owned()), "{bad}");
        }
        assert!(check(&"a".repeat(LONGEST + 1)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}", odd in "[\"'`#{}()\\[\\]\\\\ä\n]{0,40}") {
            let _ = check(&text);
            let _ = check(&odd);
        }
    }
}
