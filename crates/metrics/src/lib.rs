//! Metrics and health of a daemon over HTTP: `GET /metrics` for Prometheus, `/healthz` and `/readyz` for load
//! balancers and orchestrators, and nothing else.
//!
//! A daemon counts for itself, in plain counters of its own threads. This crate reads them when somebody asks
//! (a [`Source`]), and writes them in the format that the scraper asks for. Without `metrics_listen` none of it runs.
//!
//! - `listen`: the listener, from `metrics_listen`,
//! - `exporter`: the paths and their answers; `accept`: which format a scraper wants,
//! - `families`: what was read, as plain data,
//! - `health`: whether the daemon can do its work, as `status` says it,
//! - `process`: what the system says about the process,
//! - `application`: the metrics that an application adds.
//!
//! The connections, with their limits, are [`gatewayworker_daemon::serve_http`]'s. A daemon calls [`bind`], and
//! [`serve`] beside its own work. The names of all metrics are in `docs/guide/metrics.md`.

mod accept;
mod application;
mod exporter;
mod families;
mod health;
mod listen;
mod process;

pub use application::Metrics;
pub use exporter::{Exporter, Source, serve, serve_on_thread};
pub use families::{Families, Family, Kind, Sample, Value};
pub use health::Health;
pub use listen::{Listener, bind, check, url};

/// The crate of the registry: an application that adds metrics needs the same version.
pub use prometheus_client;
