//! What a server's headers say of how much it may still be asked: GitHub's and GitLab's `X-RateLimit-*` and `RateLimit-*`, and the two
//! forms of the `RateLimit` header of the IETF's drafts. Pure.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use jiff::fmt::rfc2822;

/// The longest that a server is left alone for it.
const LONGEST: u64 = 3_600;
/// A reset beyond this is a time, in seconds since 1970, and no number of seconds from now.
const TIMES: u64 = 1_000_000_000;

/// Returns how long nothing is left, if nothing is.
pub(in crate::source) fn spent(headers: &HeaderMap) -> Option<Duration> {
    let number = |names: &[&str]| names.iter().find_map(|name| text(headers, name)?.parse::<u64>().ok());
    let (left, reset) = match text(headers, "ratelimit").and_then(draft) {
        Some(found) => found,
        None => (
            number(&["x-ratelimit-remaining", "ratelimit-remaining"])?,
            number(&["x-ratelimit-reset", "ratelimit-reset"])?,
        ),
    };
    let seconds = if reset > TIMES { reset.saturating_sub(server_time(headers)?) } else { reset };
    (left == 0).then(|| Duration::from_secs(seconds.min(LONGEST)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Reads `limit=100, remaining=0, reset=50` and `"default";r=0;t=50`.
fn draft(text: &str) -> Option<(u64, u64)> {
    let value = |names: [&str; 2]| {
        text.split([',', ';']).find_map(|part| {
            let (name, value) = part.trim().split_once('=')?;
            names.contains(&name).then(|| value.parse::<u64>().ok())?
        })
    };
    Some((value(["remaining", "r"])?, value(["reset", "t"])?))
}

/// The server's own clock, in seconds since 1970.
fn server_time(headers: &HeaderMap) -> Option<u64> {
    let date =
        rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text(headers, DATE.as_str())?);
    u64::try_from(date.ok()?.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_left_is_said_in_several_ways() {
        let (date, now) = ("Thu, 01 Jan 2026 12:00:00 GMT", 1_767_268_800_u64);
        let time = (now + 90).to_string();
        for (given, seconds) in [
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", time.as_str())], Some(90)),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")], Some(30)),
            (vec![("ratelimit-remaining", "0"), ("ratelimit-reset", "99999")], Some(3_600)),
            (vec![("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "30")], None),
            (vec![("x-ratelimit-remaining", "0")], None),
            (vec![("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "30")], None),
            (vec![("ratelimit", "limit=100, remaining=0, reset=50")], Some(50)),
            (vec![("ratelimit", "limit=100, remaining=7, reset=50")], None),
            (vec![("ratelimit", r#""default";r=0;t=20"#)], Some(20)),
            (vec![("ratelimit", "?")], None),
            (vec![], None),
        ] {
            let clock = [("date", date)];
            let headers: HeaderMap = given
                .iter()
                .chain(&clock)
                .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(spent(&headers), seconds.map(Duration::from_secs), "{given:?}");
        }
        let blind: HeaderMap = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", time.as_str())]
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        assert_eq!(spent(&blind), None, "a time of a server that does not tell its own");
    }
}
