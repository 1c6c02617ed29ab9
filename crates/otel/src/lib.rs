//! Sends the OpenTelemetry spans of a daemon to a collector, by OTLP over HTTP.
//!
//! A daemon that is built with its cargo feature `otel` starts an [`Exporter`], and gives it spans that have ended
//! ([`Exporter::export`]), or makes spans with the SDK's tracer ([`Exporter::provider`]). Neither waits: spans go
//! into a queue with a bound, and a thread sends them (`worker`, `http`). Which events have spans, and what is in
//! them, is the daemons' own.
//!
//! The standard variables of OpenTelemetry say where spans go: `OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_EXPORTER_OTLP_CERTIFICATE` and their forms for
//! traces alone, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`.

mod exporter;
mod http;
mod response;
#[cfg(test)]
mod tests;
mod worker;

pub use exporter::{Exporter, SetupError};
pub use opentelemetry;
pub use opentelemetry_sdk;

/// The limits of an [`Exporter`].
pub mod limits {
    use std::time::Duration;

    /// Spans that wait to be sent at most. Those beyond are lost, and counted.
    pub const QUEUE: usize = 8192;

    /// Spans in one request at most.
    pub const BATCH: usize = 512;

    /// How long a span waits at most until it is sent, with others.
    pub const DELAY: Duration = Duration::from_secs(1);

    /// How long a daemon that stops waits for its last spans to be sent.
    pub const SHUTDOWN: Duration = Duration::from_secs(2);
}
