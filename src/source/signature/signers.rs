//! Files of allowed SSH keys, in the form of `allowed_signers` (see ALLOWED SIGNERS in ssh-keygen(1)): a line a key, with limits.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::ssh::{NAMESPACE, PublicKey};
use super::{KeysError, Refusal};

/// An allowed key with its limits.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: PublicKey,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Limits {
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Signer {
    /// Tells whether the line allows this key to sign commits now.
    pub(super) fn permits(&self, now: Timestamp) -> Result<(), Refusal> {
        let key = || self.key.fingerprint();
        if self.limits.namespaces.as_ref().is_some_and(|patterns| !listed(patterns, NAMESPACE)) {
            return Err(Refusal::Unfit(key(), "namespaces= does not allow for git"));
        }
        match (self.limits.after, self.limits.before) {
            (Some(after), _) if now < after => Err(Refusal::NotYet(key(), after)),
            (_, Some(before)) if now > before => Err(Refusal::Expired(key(), before)),
            _ => Ok(()),
        }
    }
}

/// Reads every line. Names of signers are not compared: each key of the file may sign.
pub(super) fn parse(text: &str) -> Result<Vec<Signer>, KeysError> {
    let mut signers = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        signers.push(signer(line).map_err(|reason| KeysError::Line { line: number, reason })?);
    }
    Ok(signers)
}

fn signer(line: &str) -> Result<Signer, String> {
    let mut words = split(line, |c| c == ' ' || c == '\t')?.into_iter().filter(|word| !word.is_empty());
    let mut next = || words.next().ok_or_else(|| "write NAME [OPTIONS] TYPE KEY".to_owned());
    next()?;
    let word = next()?;
    let is_type = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix));
    let (limits, algorithm) = if is_type { (Limits::default(), word) } else { (limits(word)?, next()?) };
    let key = PublicKey::parse(algorithm, next()?)?;
    Ok(Signer { key, limits })
}

fn limits(options: &str) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for option in split(options, |c| c == ',')? {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let twice = match name.to_ascii_lowercase().as_str() {
            "namespaces" => limits.namespaces.replace(value.to_owned()).is_some(),
            "valid-after" => limits.after.replace(time(value)?).is_some(),
            "valid-before" => limits.before.replace(time(value)?).is_some(),
            "cert-authority" => {
                return Err("cert-authority is not supported: write the signers' own keys".to_owned());
            }
            _ => {
                return Err(format!(
                    "there is no option {name:?}: write namespaces, valid-after or valid-before"
                ));
            }
        };
        if twice {
            return Err(format!("the option {name} stands there twice"));
        }
    }
    Ok(limits)
}

/// Reads `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, with or without `Z`. Always UTC: what a daemon enforces does not hang on its time zone.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is not a time: write YYYYMMDD or YYYYMMDDHHMMSSZ (UTC)");
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let part = |from: usize, to: usize| {
        if digits.len() <= from { Some(0) } else { digits.get(from..to)?.parse::<i8>().ok() }
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let year = digits.get(0..4).and_then(|year| year.parse::<i16>().ok()).ok_or_else(wrong)?;
    let parts = [part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14)];
    let [Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts else { return Err(wrong()) };
    let date = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| wrong())?;
    date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| wrong())
}

/// Splits at separators that are not within double quotes.
fn split(text: &str, separator: impl Fn(char) -> bool) -> Result<Vec<&str>, String> {
    if text.matches('"').count() % 2 == 1 {
        return Err("a quotation mark is not closed".to_owned());
    }
    let mut within = false;
    let parts = text.split(|c: char| {
        within ^= c == '"';
        !within && separator(c)
    });
    Ok(parts.collect())
}

/// Tells whether a list of patterns (`*`, `?`, `!` for "not") names a word, as PATTERNS in `ssh_config(5)` says.
fn listed(patterns: &str, word: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',').map(str::trim) {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern.as_bytes(), word.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(pattern.as_bytes(), word.as_bytes()),
        }
    }
    found
}

fn matches(pattern: &[u8], word: &[u8]) -> bool {
    // The set of places in the pattern that can be reached, one letter of the word at a time: never more than both lengths multiplied.
    let skip = |mut places: Vec<bool>| {
        for (place, letter) in pattern.iter().enumerate() {
            if *letter == b'*'
                && places.get(place) == Some(&true)
                && let Some(next) = places.get_mut(place + 1)
            {
                *next = true;
            }
        }
        places
    };
    let mut places = vec![false; pattern.len() + 1];
    if let Some(first) = places.first_mut() {
        *first = true;
    }
    let mut places = skip(places);
    for byte in word {
        let mut next = vec![false; pattern.len() + 1];
        for (place, letter) in pattern.iter().enumerate() {
            if places.get(place) != Some(&true) {
                continue;
            }
            let to = if *letter == b'*' { place } else { place + 1 };
            if (matches!(letter, b'*' | b'?') || letter == byte)
                && let Some(reached) = next.get_mut(to)
            {
                *reached = true;
            }
        }
        places = skip(next);
    }
    places.last() == Some(&true)
}
