//! Queries as a tree that is printed. What comes from outside, such as a pod's name, stands in a matcher only, and is escaped there.

use std::fmt;
use std::time::Duration;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// The series of a name, or of any name, whose labels match.
    Select(&'static str, Vec<Matcher>),
    /// A function of one argument.
    Call(&'static str, Box<Expr>),
    /// An aggregation over all but the labels that are kept.
    By(Fold, Vec<String>, Box<Expr>),
    /// An aggregation over these labels, all others kept.
    Without(Fold, &'static [&'static str], Box<Expr>),
    /// What has the same labels on the right.
    And(Box<Expr>, Box<Expr>),
    /// What equals a number.
    Equals(Box<Expr>, f64),
    /// Somebody's own query, whose brackets were seen to be balanced; it stands in brackets of its own.
    Given(String),
    /// The sum over a window, looked at in steps.
    SumOver(Box<Expr>, Duration, Duration),
    /// One by the other.
    Divide(Box<Expr>, Box<Expr>),
}

/// How series become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Sum,
    Max,
}

/// A condition of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Matcher {
    /// Exactly this value.
    Is(String, String),
    /// One of these values.
    OneOf(String, Vec<String>),
    /// One of these addresses, with any port.
    Addresses(String, Vec<String>),
}

/// Writes a value as a string of the language.
fn quoted(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    write!(f, "\"{}\"", escaped(value))
}

/// Returns a text as it stands between the quotes of a string of the language.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '"' | '\'' | '`' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out
}

/// Writes a text so that as a regular expression (RE2) it means itself.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(label, value) => {
                write!(f, "{label}=")?;
                quoted(f, value)
            }
            Self::OneOf(label, values) => {
                let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
                write!(f, "{label}=~")?;
                quoted(f, &values.join("|"))
            }
            Self::Addresses(label, values) => {
                let one = |ip: &String| {
                    if ip.contains(':') { literal(&format!("[{ip}]:")) } else { literal(&format!("{ip}:")) }
                };
                let values: Vec<String> = values.iter().map(one).collect();
                write!(f, "{label}=~")?;
                quoted(f, &format!("({})[0-9]+", values.join("|")))
            }
        }
    }
}

impl Fold {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(name, matchers) => {
                let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
                write!(f, "{name}{{{}}}", matchers.join(","))
            }
            Self::Call(name, of) => write!(f, "{name}({of})"),
            Self::By(fold, labels, of) => write!(f, "{} by ({}) ({of})", fold.name(), labels.join(",")),
            Self::Without(fold, labels, of) => {
                write!(f, "{} without ({}) ({of})", fold.name(), labels.join(","))
            }
            Self::And(left, right) => write!(f, "({left} and {right})"),
            Self::Equals(of, value) => write!(f, "({of} == {value})"),
            // A comment at its end would swallow the bracket.
            Self::Given(query) => write!(f, "({query}\n)"),
            Self::SumOver(of, window, step) => {
                write!(f, "sum_over_time(({of})[{}s:{}s])", window.as_secs(), step.as_secs())
            }
            Self::Divide(left, right) => write!(f, "({left} / {right})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_outside_mean_themselves() {
        let pods = vec!["web-1".to_owned(), "a.b\"} or vector(1) #\\".to_owned()];
        let select = Expr::Select(
            "up",
            vec![Matcher::Is("namespace".into(), "sh\"op\n".into()), Matcher::OneOf("pod".into(), pods)],
        );
        assert_eq!(
            select.to_string(),
            r#"up{namespace="sh\"op\n",pod=~"web-1|a\\.b\"\\} or vector\\(1\\) #\\\\"}"#
        );
        let addresses = Matcher::Addresses("a".into(), vec!["10.0.0.1".into(), "fd00::1".into()]);
        assert_eq!(addresses.to_string(), r#"a=~"(10\\.0\\.0\\.1:|\\[fd00::1\\]:)[0-9]+""#);
    }

    #[test]
    fn a_tree_is_printed_with_its_brackets() {
        let up = || Box::new(Expr::Select("up", Vec::new()));
        let tree = Expr::By(
            Fold::Max,
            vec!["pod".into()],
            Box::new(Expr::And(Box::new(Expr::Call("timestamp", up())), Box::new(Expr::Equals(up(), 1.0)))),
        );
        assert_eq!(tree.to_string(), "max by (pod) ((timestamp(up{}) and (up{} == 1)))");
        let minute = Duration::from_mins(1);
        let given = || Box::new(Expr::Given("good # mine".into()));
        let slo = Expr::Divide(Box::new(Expr::SumOver(given(), minute * 60, minute)), given());
        assert_eq!(slo.to_string(), "(sum_over_time(((good # mine\n))[3600s:60s]) / (good # mine\n))");
    }
}
