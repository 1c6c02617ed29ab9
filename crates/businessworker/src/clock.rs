//! The worker's clock: milliseconds, cheap enough to be read for each event.
//!
//! It is the kernel's, so that it is right at once after the process was stopped for a while.

use std::sync::OnceLock;
use std::time::Duration;

// Tests may stop it.
use tokio::time::Instant;

/// Returns the milliseconds since any start. Exact to some milliseconds.
#[cfg(all(target_os = "linux", not(test)))]
pub(crate) fn now_ms() -> u64 {
    use nix::time::{ClockId, clock_gettime};

    match clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) {
        Ok(now) => Duration::from(now).as_millis().try_into().unwrap_or(u64::MAX),
        Err(_) => elapsed_ms(),
    }
}

/// Returns the milliseconds since any start.
#[cfg(any(not(target_os = "linux"), test))]
pub(crate) fn now_ms() -> u64 {
    elapsed_ms()
}

/// Returns the microseconds since any other start: exact, and dearer.
pub(crate) fn now_us() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

fn elapsed_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed: Duration = START.get_or_init(Instant::now).elapsed();
    elapsed.as_millis().try_into().unwrap_or(u64::MAX)
}
