//! Addresses for pods: each pod has one of its own in 127.0.0.0/8, and with it every port.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

/// The next address; never given twice in one process.
///
/// The second number follows from the process id, so that test processes that run side by side seldom meet; where they
/// do, a port that is taken shows, and the pod tries the next address.
pub(super) fn next() -> Ipv4Addr {
    static GIVEN: AtomicU32 = AtomicU32::new(1);
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    let block = 1 + std::process::id() % 250;
    let base = u32::from(Ipv4Addr::new(127, 0, 0, 0)) + (block << 16);
    // 65 000 pods a process are enough; then it starts again.
    let host = 1 + number % 65_000;
    Ipv4Addr::from(base + host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_differ() {
        let (one, two) = (next(), next());
        assert!(one.is_loopback() && two.is_loopback());
        assert_ne!(one, two);
    }
}
