//! The watch for who can reach the gateway: every second it looks whether a register and a worker are there.
//!
//! The core's [`IsolationTimer`] and [`UnheardTimer`] conclude, and the shards are told. These are two loops, as the
//! first ends when the gateway begins to stop, which closes all clients anyway, and may be turned off. The
//! second runs to the end, as closes may have to be marked while the gateway stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::core::isolation::Isolated;
use crate::core::isolation_timer::IsolationTimer;
use crate::core::unheard_timer::UnheardTimer;
use crate::gateway_state::GatewayState;
use crate::shard::ShardMessage;

const TICK: Duration = Duration::from_secs(1);

/// The default of `isolated_after_ms`: after so long at most without a register, workers may have taken the
/// gateway for lost (`gateway_lost_after_ms`, 30 s).
const UNHEARD_AFTER: Duration = Duration::from_secs(20);

/// How long the end of a link takes at most, beside `link_timeout_ms`: it is read out, and the shards are told.
const LINK_ENDS: Duration = Duration::from_secs(10);

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Closes the clients of a gateway that is cut off: without a worker and a register for
/// `isolated_after_ms`.
pub(super) async fn watch_isolation(shared: Arc<GatewayState>) {
    let after = Duration::from_millis(shared.config.isolated_after_ms);
    if after.is_zero() {
        return std::future::pending().await;
    }
    let started = Instant::now();
    let mut isolation = IsolationTimer::new(after);
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let has_worker = !shared.workers.all().is_empty();
        let now_ms = started.elapsed().as_millis() as u64;
        let Some(which) = isolation.tick(shared.registers.in_touch(), has_worker, now_ms) else { continue };
        if which == Isolated::TakenOver {
            let clients = shared.clients.load(Ordering::Relaxed);
            error!(
                clients,
                "the gateway is cut off: no worker is linked and no register connected for isolated_after_ms: \
                 it closes its clients, so that they turn to other gateways"
            );
        }
        shared.tell_shards(|| ShardMessage::CloseIsolated(which)).await;
    }
}

/// Tells the shards whether workers may have taken the gateway for lost, as it was unheard. Runs until the
/// gateway ends: one that stops has left the registers, and workers that are not linked may take it for lost, too.
pub(super) async fn watch_contact(shared: Arc<GatewayState>, shutdown: CancellationToken) {
    let after = match Duration::from_millis(shared.config.isolated_after_ms) {
        Duration::ZERO => UNHEARD_AFTER,
        // It may wait longer to close its clients. Workers do not.
        after => after.min(UNHEARD_AFTER),
    };
    let settling = 2 * Duration::from_millis(shared.config.link_timeout_ms) + LINK_ENDS;
    let mut unheard = UnheardTimer::new(after, settling, TICK);
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let has_worker = shared.workers.len() > 0;
        let Some(is_unheard) = unheard.tick(shared.registers.in_touch(), has_worker, awake_or_not_ms())
        else {
            continue;
        };
        if is_unheard && !shutdown.is_cancelled() {
            warn!(
                "no register has heard of the gateway for a while, or its process was stopped: workers that are not \
                 linked may have taken it for lost and run on_close, which is marked as redelivered if it runs again"
            );
        }
        shared.tell_shards(|| ShardMessage::Unheard(is_unheard)).await;
    }
}

/// Returns the milliseconds since any start, with the time for which the host slept.
#[cfg(target_os = "linux")]
fn awake_or_not_ms() -> u64 {
    use nix::time::{ClockId, clock_gettime};

    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(now) => Duration::from(now).as_millis().try_into().unwrap_or(u64::MAX),
        Err(_) => elapsed_ms(),
    }
}

/// Returns the milliseconds since any start.
#[cfg(not(target_os = "linux"))]
fn awake_or_not_ms() -> u64 {
    elapsed_ms()
}

fn elapsed_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
