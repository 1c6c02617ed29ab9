//! What a daemon counts, and what keeps it from its work, for those who ask: `gatewayworker status` by way of the
//! supervisor, and the health endpoints. The daemon registers how to read them; `supervised.rs` reads them when the
//! supervisor asks, `gatewayworker-metrics` when a load balancer does.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::LineWriter;
use crate::child_protocol::ChildStatus;

/// The stats and problems of a daemon. Clones are the same.
#[derive(Clone, Default)]
pub struct Stats(Arc<Sources>);

#[derive(Default)]
struct Sources {
    stats: OnceLock<Box<ReadStats>>,
    problems: OnceLock<Box<ReadSentences>>,
    notices: OnceLock<Box<ReadSentences>>,
    log: Option<LineWriter>,
}

/// Returns each number by its name, in the order in which to show them.
type ReadStats = dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync;

/// Returns a sentence for each problem, or for each notice.
type ReadSentences = dyn Fn() -> Vec<String> + Send + Sync;

impl Stats {
    /// The stats of a process that logs to `log`; the lines which the log drops are one of them.
    pub(crate) fn of(log: LineWriter) -> Self {
        Self(Arc::new(Sources { log: Some(log), ..Sources::default() }))
    }

    /// Registers `read`, which returns the stats. It is called from any thread, whenever somebody asks, and must not
    /// block. A second call changes nothing.
    pub fn provide(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        let _ = self.0.stats.set(Box::new(read));
    }

    /// Registers `read`, which returns what keeps the daemon from its work at the moment, each as a sentence that
    /// says what to do: "the gateway has no worker: …". It is called as the one of [`Stats::provide`] is.
    pub fn provide_problems(&self, read: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let _ = self.0.problems.set(Box::new(read));
    }

    /// Registers `read`, which returns what an operator has to mend though the daemon does its work at the moment, each as a
    /// sentence: "the federation is not connected to NATS: …". A daemon with notices is ready; `status` shows them. It is
    /// called as the one of [`Stats::provide`] is.
    pub fn provide_notices(&self, read: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let _ = self.0.notices.set(Box::new(read));
    }

    /// Returns what keeps the daemon from its work at the moment; `None` while it has not registered how to read
    /// that, as it starts.
    pub fn problems(&self) -> Option<Vec<String>> {
        self.0.problems.get().map(|read| read())
    }

    /// Reads all of it; empty as long as the daemon has registered nothing. `log_lines_dropped` is there only where
    /// there are some.
    pub(crate) fn read(&self) -> ChildStatus {
        let Sources { stats, notices, log, .. } = &*self.0;
        let stats = stats.get().map(|read| read()).unwrap_or_default();
        let dropped = log.as_ref().map(LineWriter::dropped).filter(|dropped| *dropped > 0);
        let all = stats.into_iter().chain(dropped.map(|dropped| ("log_lines_dropped", dropped)));
        ChildStatus {
            stats: all.map(|(name, number)| (name.to_owned(), number.into())).collect(),
            problems: self.problems().unwrap_or_default(),
            notices: notices.get().map(|read| read()).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stats").field(&self.read()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn stats_are_read_when_asked_for_and_keep_their_order() {
        let stats = Stats::default();
        assert_eq!(stats.read().to_string(), "{}");
        let count = Arc::new(AtomicU64::new(1));
        let counted = count.clone();
        stats.provide(move || vec![("workers", counted.load(Ordering::Relaxed)), ("clients", 7)]);
        count.store(2, Ordering::Relaxed);
        assert_eq!(stats.read().to_string(), r#"{"workers":2,"clients":7}"#);
        stats.provide_problems(|| vec!["there is no worker".into()]);
        let with_problem = r#"{"workers":2,"clients":7,"problems":["there is no worker"]}"#;
        assert_eq!(stats.read().to_string(), with_problem);
        stats.provide_notices(|| vec!["NATS is away".into()]);
        assert_eq!(stats.read().notices, ["NATS is away"]);
        assert_eq!(stats.problems().unwrap().len(), 1, "a notice is no problem");
    }
}
