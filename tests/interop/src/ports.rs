//! Ports for daemons that cannot listen on port 0.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port. All are below the system's ephemeral ports, so that no client's connection takes the port of a daemon
/// that restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// Returns a free port that no other test of this process gets.
///
/// # Panics
/// No port is free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each process begins at another port.
    let offset = (std::process::id().wrapping_mul(197) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (offset + n) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} to {} is free", FIRST + COUNT);
}
