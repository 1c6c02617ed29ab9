//! Ports for daemons that cannot be told to take any.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that systems hand out by themselves: a daemon that restarts must
/// not find a client's connection on its port.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that is free, and that no other test of this process gets.
///
/// # Panics
/// When there is none.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two processes begin at different places.
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
