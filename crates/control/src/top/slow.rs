//! What the screen Slow of `top` shows: the handlers that run for long, and those that took most of the last minute.
//!
//! A worker tells each gateway the same of itself. Here it counts once.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use gatewayworker_client::inspect::{GatewayReport, HandlerTimes, WorkerHandlers};

/// A handler that runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) event: String,
    pub(super) client: String,
    pub(super) worker: String,
    pub(super) ms: u64,
}

/// What the handler of an event took on a worker.
#[derive(Debug)]
pub(super) struct ByTime {
    pub(super) event: String,
    pub(super) worker: String,
    pub(super) times: HandlerTimes,
}

impl ByTime {
    /// Returns how long a call took on average, in milliseconds.
    pub(super) fn average_ms(&self) -> f64 {
        self.times.total_ms as f64 / self.times.count.max(1) as f64
    }
}

/// Returns the handlers that run, the longest first.
pub(super) fn running(workers: &[WorkerHandlers]) -> Vec<Running> {
    let all = workers.iter().flat_map(|worker| worker.handlers.longest.iter().map(move |one| (worker, one)));
    let mut all: Vec<Running> = all
        .map(|(worker, one)| Running {
            event: one.event.clone(),
            client: one.client.clone().unwrap_or_default(),
            worker: worker.key.clone(),
            // It has gone on since the worker has reported it.
            ms: one.ms + worker.report_age_ms,
        })
        .collect();
    all.sort_by_key(|one| Reverse(one.ms));
    // No two handlers of a client run side by side.
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.client.clone()));
    all
}

/// Returns the handlers of all workers, that with the most time first.
pub(super) fn by_time(gateways: &[GatewayReport]) -> Vec<ByTime> {
    let mut seen = BTreeSet::new();
    let workers = gateways.iter().flat_map(|gateway| &gateway.workers);
    // One without a process is not seen twice for the same: its key is its own.
    let workers = workers.filter(|worker| seen.insert(worker.process.as_ref().unwrap_or(&worker.key)));
    let all = workers.filter_map(|worker| Some((worker, worker.handlers.as_ref()?)));
    let mut all: Vec<ByTime> = all
        .flat_map(|(worker, handlers)| {
            handlers.events.iter().map(|(event, times)| ByTime {
                event: event.clone(),
                worker: worker.key.clone(),
                times: *times,
            })
        })
        .collect();
    all.sort_by_key(|one| Reverse((one.times.total_ms, one.times.count)));
    all
}

#[cfg(test)]
pub(super) mod tests {
    use gatewayworker_client::inspect::{HandlersReport, RunningHandler, WorkerReport};

    use super::*;

    /// What a worker reports, without and with clients.
    pub(crate) fn handlers() -> (Option<HandlersReport>, Vec<WorkerHandlers>) {
        let client = Some("7f00000108fc86622f2b".to_owned());
        let times = HandlerTimes { count: 4, total_ms: 2000, max_ms: 1200 };
        let handlers = HandlersReport {
            running: 1,
            events: [("on_message".to_owned(), times)].into(),
            longest: vec![RunningHandler { event: "on_message".into(), client, ms: 12_000 }],
            ..HandlersReport::default()
        };
        let named =
            WorkerHandlers { key: "10.0.0.2:Chat:0".into(), report_age_ms: 500, handlers: handlers.clone() };
        (Some(handlers.without_clients()), vec![named])
    }

    #[test]
    fn a_handler_that_two_gateways_know_of_is_shown_once_with_its_longer_time() {
        let (_, mut workers) = handlers();
        workers.push(WorkerHandlers { report_age_ms: 2000, ..workers[0].clone() });
        let running = running(&workers);
        assert_eq!(running.len(), 1);
        assert_eq!((running[0].client.as_str(), running[0].ms), ("7f00000108fc86622f2b", 14_000));
    }

    #[test]
    fn a_worker_of_two_gateways_counts_once_and_the_slowest_comes_first() {
        let worker = |process: &str, total_ms| {
            let times = HandlerTimes { count: 2, total_ms, max_ms: 9 };
            let events = [("on_message".to_owned(), times), ("on_close".to_owned(), HandlerTimes::default())];
            WorkerReport {
                key: format!("key of {process}"),
                process: Some(process.into()),
                handlers: Some(HandlersReport { events: events.into(), ..HandlersReport::default() }),
                ..WorkerReport::default()
            }
        };
        let gateway = |workers| GatewayReport { workers, ..GatewayReport::default() };
        let silent = WorkerReport { key: "php".into(), ..WorkerReport::default() };
        let gateways =
            [gateway(vec![worker("a", 10), silent]), gateway(vec![worker("a", 10), worker("b", 40)])];
        let all = by_time(&gateways);
        let shown: Vec<_> = all.iter().map(|one| (&*one.worker, &*one.event, one.average_ms())).collect();
        assert_eq!(shown[..2], [("key of b", "on_message", 20.0), ("key of a", "on_message", 5.0)]);
        assert_eq!(shown.len(), 4);
    }
}
