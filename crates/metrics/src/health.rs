//! Whether a daemon can do its work. It says the same as `gatewayworker status`, as both read the daemon's
//! [`Stats`]. `exporter` answers `/readyz` with it.

use gatewayworker_daemon::Stats;
use tokio_util::sync::CancellationToken;

/// The health of a daemon. Clones are the same.
#[derive(Debug, Clone)]
pub struct Health {
    stats: Stats,
    draining: CancellationToken,
}

impl Health {
    /// The health of a daemon that registers its problems at `stats`, and drains from when `draining` is cancelled.
    pub fn new(stats: Stats, draining: CancellationToken) -> Self {
        Self { stats, draining }
    }

    /// Returns a sentence for each reason why the daemon should get no work; none while it is ready.
    pub fn problems(&self) -> Vec<String> {
        if self.draining.is_cancelled() {
            return vec!["draining".into()];
        }
        self.stats.problems().unwrap_or_else(|| vec!["starting".into()])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_daemon_is_ready_between_its_start_and_its_drain_while_it_has_no_problem() {
        let (stats, draining) = (Stats::default(), CancellationToken::new());
        let health = Health::new(stats.clone(), draining.clone());
        assert_eq!(health.problems(), ["starting"]);
        let is_alone = Arc::new(AtomicBool::new(true));
        stats.provide_problems({
            let is_alone = is_alone.clone();
            move || Vec::from_iter(is_alone.load(Ordering::Relaxed).then(|| "it has no worker".to_owned()))
        });
        assert_eq!(health.problems(), ["it has no worker"]);
        is_alone.store(false, Ordering::Relaxed);
        assert_eq!(health.problems(), [""; 0]);
        draining.cancel();
        assert_eq!(health.problems(), ["draining"]);
    }
}
