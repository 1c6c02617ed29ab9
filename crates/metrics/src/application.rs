//! The metrics that an application adds to its worker's. `exporter` writes them behind the worker's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::{Metric, Registry};

/// The metrics of an application. Clones are the same.
///
/// Register each metric once, and keep a clone of it to count with. Names should begin with the application's own
/// name; `gatewayworker_` and `process_` are taken. A counter is registered without `_total`, which is appended.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Registers a metric; `help` is a sentence for people, without its full stop.
    pub fn register(&self, name: impl Into<String>, help: impl Into<String>, metric: impl Metric) {
        self.with_registry(|registry| registry.register(name, help, metric));
    }

    /// Calls `f` with the registry, for what [`Metrics::register`] does not have: units, prefixes, collectors.
    pub fn with_registry<T>(&self, f: impl FnOnce(&mut Registry) -> T) -> T {
        // What is registered stays as it is when `f` panics.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
