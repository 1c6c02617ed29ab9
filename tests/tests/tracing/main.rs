//! OpenTelemetry: the spans of an event's way, as a collector gets them from daemons that are built for it.
//!
//! The environment says where spans go, and all tests of a process share it. So each test runs its cluster in a copy
//! of this process ([`with_cluster`]), and is the collector itself.
//!
//! `cargo test --workspace --features gatewayworker-tests/otel --test tracing` runs it: the feature is for these tests
//! alone, and `cargo test --workspace` is without.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod collector;
mod spans;
mod trouble;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use collector::Collector;

/// Says to a copy of this process that it is one.
const IS_COPY: &str = "GATEWAYWORKER_TEST_TRACED";

/// Runs `cluster` in a copy of this process whose spans go to the collector at `endpoint`, and `check` in this one,
/// meanwhile and with the time that the copy has taken behind that. `test` is the name of the test.
fn with_cluster<C, T>(
    test: &str,
    collector: C,
    endpoint: impl FnOnce(&C) -> String,
    cluster: impl Future<Output = ()>,
    check: impl FnOnce(C, &mut dyn FnMut() -> Duration) -> T,
) -> Option<T> {
    if std::env::var_os(IS_COPY).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(cluster);
        return None;
    }
    let started = Instant::now();
    let mut copy = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IS_COPY, "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&collector))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer of-the-test")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended = || {
        assert!(copy.wait().unwrap().success(), "the cluster's process has failed: see above");
        started.elapsed()
    };
    Some(check(collector, &mut ended))
}

/// As [`with_cluster`], with a collector that takes spans, whose spans `check` gets when the cluster has ended.
fn with_spans(test: &str, cluster: impl Future<Output = ()>, check: impl FnOnce(&[collector::Received])) {
    let collector = Collector::start(collector::Behaviour::Takes);
    let endpoint = |collector: &Collector| format!("http://{}", collector.address);
    with_cluster(test, collector, endpoint, cluster, |collector, ended| {
        ended();
        check(&collector.spans());
    });
}
