//! The heartbeats of the worker: a thread that shows every gateway that this process lives, and tells those that want
//! to know what it does. The interest links live on it, too.
//!
//! Handlers may hold up every thread of the other runtimes. This thread runs none. It never waits for the socket of an
//! event link or a call link: it tries to write. `serve` starts it, links register with it. It judges nobody. `reports`
//! makes what it tells, the core's [`Reporting`] says when. The client library's interest links are tasks of its
//! runtime: all gateways' first joins wait for their answers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::report::Report;
use gatewayworker_protocol::{Command, PingBody};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use crate::clock;
use crate::core::{NextReport, Reporting};

/// What an event link shares with the heartbeats.
#[derive(Debug, Clone)]
struct EventLink {
    writer: Weak<LinkWriter>,
    /// Where the gateway takes reports.
    reporting: Option<Arc<Mutex<Reporting>>>,
}

type Links = Arc<Mutex<Vec<EventLink>>>;

/// The runtime of the thread, before it is started. Its tasks run from then on.
#[derive(Debug)]
pub(crate) struct HeartbeatRuntime {
    handle: Handle,
    /// `None` once the thread has it.
    runtime: Option<Runtime>,
}

impl HeartbeatRuntime {
    /// # Errors
    /// The system has no descriptors left for it.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// What tasks are spawned with.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs its tasks on this thread until `until` is ready.
    fn run(mut self, until: impl Future<Output = ()>) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(until);
        }
    }
}

impl Drop for HeartbeatRuntime {
    fn drop(&mut self) {
        // Where the thread was not started: within a task no runtime may be dropped that waits for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The heartbeats of a worker. Dropping them ends the thread.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    event_links: Links,
    /// Wakes the thread, which ends when this is dropped.
    wake: mpsc::Sender<()>,
}

impl Heartbeats {
    /// Starts the thread, which writes to each event link and each attached call link of `worker` once
    /// in an `interval`, and reports what `report` returns.
    pub(crate) fn start(
        runtime: HeartbeatRuntime,
        worker: WorkerHandle,
        interval: Duration,
        mut report: impl FnMut() -> Option<Report> + Send + 'static,
    ) -> io::Result<Self> {
        let event_links = Links::default();
        let links = event_links.clone();
        let (wake, mut woken) = mpsc::channel(1);
        let interval_us = interval.as_micros() as u64;
        let beats = async move {
            let mut next_beat_us = clock::now_us() + interval_us;
            loop {
                let now_us = clock::now_us();
                if now_us >= next_beat_us {
                    beat(&links);
                    worker.ping_links();
                    next_beat_us = now_us + interval_us;
                }
                let until_us = next_beat_us.min(report_due(&links, now_us, &mut report));
                let wait = Duration::from_micros(until_us.saturating_sub(clock::now_us()));
                if timeout(wait, woken.recv()).await == Ok(None) {
                    return;
                }
            }
        };
        thread::Builder::new().name("heartbeats".into()).spawn(move || runtime.run(beats))?;
        Ok(Self { event_links, wake })
    }

    /// Writes heartbeats to an event link until it is dropped, and reports if its gateway takes them.
    pub(crate) fn add(&self, writer: &Arc<LinkWriter>, reporting: Option<Arc<Mutex<Reporting>>>) {
        let link = EventLink { writer: Arc::downgrade(writer), reporting };
        self.event_links.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        match self.wake.try_send(()) {
            // Full: it is about to look.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Closed(())) => {}
        }
    }
}

fn beat(links: &Links) {
    links.lock().unwrap_or_else(PoisonError::into_inner).retain(|link| {
        let Some(writer) = link.writer.upgrade() else { return false };
        // What waits is a sign of life, too; and where the gateway reads nothing, no pings pile up.
        if writer.written() == writer.pushed() {
            let _ = writer.push_over(|out| Command::Ping(PingBody::Empty.encode()).encode(out));
        }
        writer.flush_directly();
        true
    });
}

/// Sends the reports that are due. Returns when the next one is.
fn report_due(links: &Links, now_us: u64, report: &mut impl FnMut() -> Option<Report>) -> u64 {
    let links = links.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // The same for all gateways, and only where one is due.
    let mut common = None;
    let mut next_us = u64::MAX;
    for EventLink { writer, reporting } in links {
        let (Some(writer), Some(reporting)) = (writer.upgrade(), reporting) else { continue };
        let mut reporting = reporting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        if now_us >= reporting.next_deadline_us() {
            // A gateway that reads nothing at the moment gets none.
            let is_written = writer.written() == writer.pushed();
            match is_written.then(|| common.get_or_insert_with(&mut *report).as_ref()).flatten() {
                Some(common) => next = reporting.begin(clock::now_us()).map(|next| (common, next)),
                None => reporting.postpone(now_us),
            }
        }
        next_us = next_us.min(reporting.next_deadline_us());
        drop(reporting);
        if let Some((common, next)) = next {
            send(&writer, common, next);
        }
    }
    next_us
}

fn send(writer: &LinkWriter, common: &Report, next: NextReport) {
    let report = Report {
        round_trip_us: next.round_trip.map(|round_trip| round_trip.us),
        answered: next.round_trip.map_or(0, |round_trip| round_trip.number),
        unanswered_ms: next.unanswered_us / 1000,
        ..common.clone()
    };
    let command = Command::Report { number: next.number, body: report.to_json().into() };
    let _ = writer.push_over(|out| command.encode(out));
    writer.flush_directly();
}
