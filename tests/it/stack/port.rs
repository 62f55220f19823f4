//! Ports that a server can be started on, and started on again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// Below the range that Linux hands out to outgoing connections, so that no connection takes the port of a server that is
/// stopped for a while and must come back on it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// Each process begins somewhere else: two test binaries seldom try the same port at the same moment.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let spread = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    AtomicU16::new(u16::try_from(spread).unwrap_or(0))
});

/// Returns a port of 127.0.0.1 that nobody listens on and that this process has not handed out lately.
pub fn free() -> anyhow::Result<u16> {
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free between {FIRST} and {}", FIRST + COUNT)
}
