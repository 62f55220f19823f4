//! Order of resource versions.

use std::cmp::Ordering;

/// Compares two resource versions of one kind; `None` if they cannot be ordered.
///
/// They are opaque to a client, with one promise: since Kubernetes 1.35 (KEP-5504) they are decimal numbers without leading zeros
/// that grow with every write of the kind, and every server that ever stored in etcd behaved so before it was promised. It is only
/// used to drop what is older than what we know; whatever cannot be ordered is taken as news, so that a server with another form
/// costs a needless pass and never a lost change.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    let decimal = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    if !decimal(left) || !decimal(right) {
        return (left == right).then_some(Ordering::Equal);
    }
    Some(left.len().cmp(&right.len()).then_with(|| left.cmp(right)))
}

/// Returns whether `left` is certainly older than `right`.
pub fn older(left: &str, right: &str) -> bool {
    compare(left, right) == Some(Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_of_any_size() {
        let table = [
            ("9", "10", Some(Ordering::Less)),
            ("10", "9", Some(Ordering::Greater)),
            ("10", "10", Some(Ordering::Equal)),
            ("18446744073709551616", "18446744073709551615", Some(Ordering::Greater)),
            ("", "1", None),
            ("01", "1", None),
            ("1a", "2", None),
            ("a", "a", Some(Ordering::Equal)),
        ];
        for (left, right, expected) in table {
            assert_eq!(compare(left, right), expected, "{left} {right}");
        }
        assert!(older("9", "10") && !older("10", "10") && !older("x", "10"));
    }
}
