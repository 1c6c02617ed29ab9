//! What a worker shows of its history: metrics, and numbers and notices for `status`.
//!
//! It is the history that is attached to the worker's handle: that of the file, or one that the application has attached. A worker without one
//! shows nothing.

use gatewayworker_client::Gateway;
use gatewayworker_history::{History, PUBLISH_RESULTS, READ_CALLS, READ_RESULTS, STORE_ERRORS, Stats};
use gatewayworker_metrics::{Families, Kind};

/// Reads the attached history; `None` without one.
pub(crate) fn stats(gateway: &Gateway) -> Option<Stats> {
    History::of(gateway).map(|history| history.stats())
}

/// The numbers for Prometheus.
pub(crate) fn metrics(stats: &Stats, into: &mut Families) {
    let store = stats.store;
    let up = into.add(
        Kind::Gauge,
        "gatewayworker_history_up",
        "1 while the store of the history works for this worker; otherwise 0.",
    );
    up.with(vec![("store", store.into())], u64::from(stats.problem.is_none()));
    into.counters(
        "gatewayworker_history_publishes_total",
        "Messages to be kept and sent, by what has become of them.",
        "result",
        PUBLISH_RESULTS.into_iter().zip(stats.publishes),
    );
    let reads = into.add(
        Kind::Counter,
        "gatewayworker_history_reads_total",
        "Reads of the history, by call and by what has come of them; gap: messages are missing.",
    );
    for (call, of_call) in READ_CALLS.into_iter().zip(stats.reads) {
        for (result, count) in READ_RESULTS.into_iter().zip(of_call) {
            reads.with(vec![("call", call.into()), ("result", result.into())], count);
        }
    }
    let errors = into.add(
        Kind::Counter,
        "gatewayworker_history_errors_total",
        "Calls that the store of the history did not answer, by store and by error.",
    );
    for (error, count) in STORE_ERRORS.into_iter().zip(stats.store_errors) {
        errors.with(vec![("store", store.into()), ("error", error.into())], count);
    }
    let Some(kept) = stats.kept else { return };
    into.gauge("gatewayworker_history_kept_groups", "Groups with a history in memory.", kept.groups);
    into.gauge("gatewayworker_history_kept_messages", "Messages of the history in memory.", kept.messages);
    into.gauge(
        "gatewayworker_history_kept_bytes",
        "Bytes of these messages, and what it costs to hold them.",
        kept.bytes,
    );
}

/// The numbers for `status`. The first one names the store, and has the others as its parts.
pub(crate) fn numbers(stats: &Stats) -> Vec<(&'static str, u64)> {
    let [published, failed @ ..] = stats.publishes;
    let failed: u64 = failed.iter().sum::<u64>() + stats.reads.iter().map(|[.., failed]| failed).sum::<u64>();
    let read: u64 = stats.reads.iter().map(|[ok, gap, _]| ok + gap).sum();
    let names = match stats.store {
        "memory" => {
            ["history_memory", "history_memory_published", "history_memory_read", "history_memory_failed"]
        }
        "redis" => ["history_redis", "history_redis_published", "history_redis_read", "history_redis_failed"],
        _ => ["history_nats", "history_nats_published", "history_nats_read", "history_nats_failed"],
    };
    let mut numbers: Vec<_> =
        names.into_iter().zip([published + read + failed, published, read, failed]).collect();
    if let Some(kept) = stats.kept {
        numbers.push(("history_kept", kept.messages));
    }
    numbers
}
