//! The case `echo`: each client keeps messages in flight to the application and back, or sends them at a fixed rate.
//!
//! For all echoes of one read, a client writes as many new messages at once, as a busy peer does: with several in flight
//! the server also gets several in a read. `probe` drives one such client too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;

use super::{
    ClientTasks, Outcome, Target, Watch, Window, frames_per_read, is_notice, latency, memory_metrics,
    writes_per_delivery,
};
use crate::args;
use crate::client::{ClientError, ReadBuffer};
use crate::client_set::ClientSet;
use crate::histogram::Histogram;
use crate::pace::{DueMessages, Schedule, pace};
use crate::report::{Metric, Progress};
use crate::wire::{self, opcode};

/// The state that the clients of a round share.
pub(crate) struct Load {
    pub(crate) scratch: RefCell<ReadBuffer>,
    /// The message, encoded.
    frame: Vec<u8>,
    size: usize,
    pub(crate) sent: Cell<u64>,
    pub(crate) echoed: Cell<u64>,
    pub(crate) stop: Cell<bool>,
    /// The latency of messages that were sent before `since`, or at `until` or later, does not count.
    since: Cell<Instant>,
    until: Cell<Option<Instant>>,
    pub(crate) times: RefCell<Histogram>,
    /// The due messages, with a fixed rate.
    pub(crate) dues: Option<Rc<RefCell<DueMessages>>>,
}

impl Load {
    /// The load of messages of `size` bytes. With `paced`, this many clients send at a fixed rate (see `dues`), instead of
    /// keeping messages in flight.
    pub(crate) fn new(size: usize, paced: Option<usize>) -> Self {
        let mut frame = Vec::new();
        wire::encode(opcode::TEXT, &[&b"E"[..], &vec![b'x'; size - 1]].concat(), &mut frame);
        Load {
            scratch: RefCell::new(ReadBuffer::new()),
            frame,
            size,
            sent: Cell::new(0),
            echoed: Cell::new(0),
            stop: Cell::new(false),
            since: Cell::new(Instant::now()),
            until: Cell::new(None),
            times: RefCell::new(Histogram::new()),
            dues: paced.map(|clients| Rc::new(RefCell::new(DueMessages::new(clients)))),
        }
    }

    /// Starts the measurement: messages count from now on.
    pub(crate) fn begin(&self) {
        self.times.borrow_mut().clear();
        self.since.set(Instant::now());
        self.until.set(None);
        self.dues.iter().for_each(|dues| dues.borrow_mut().late.clear());
    }

    /// Ends the measurement: later messages do not count. Earlier ones do when their echo arrives.
    pub(crate) fn end(&self) {
        self.until.set(Some(Instant::now()));
    }

    /// How many messages were sent or are due.
    pub(crate) fn expected(&self) -> u64 {
        self.sent.get() + self.dues.as_ref().map_or(0, |dues| dues.borrow().waiting())
    }

    /// The generator's own delay (p99) in µs, with a fixed rate.
    pub(crate) fn late(&self) -> Option<f64> {
        self.dues.as_ref().map(|dues| dues.borrow().late.percentile(99.0))
    }

    fn book(&self, at: Instant, now: Instant) {
        if at >= self.since.get() && self.until.get().is_none_or(|until| at < until) {
            self.times.borrow_mut().record(now.saturating_duration_since(at));
        }
        self.echoed.set(self.echoed.get() + 1);
    }
}

/// Runs one round.
///
/// # Errors
/// A client could not open or lost its connection, the load stalled, or a process could not be measured.
pub(crate) async fn run(echo: &args::Echo, target: &Target, progress: &Progress) -> Result<Outcome> {
    let memory_before = target.memory()?;
    let opened = target.opening(&echo.common, echo.clients).run(false, progress).await?;

    let paced = echo.rate.map(|_| echo.clients as usize);
    let shared = Rc::new(Load::new(echo.load.size as usize, paced));
    let mut clients = ClientTasks::new();
    let client_set = ClientSet::new(opened.clients);
    for index in 0..echo.clients as usize {
        clients.spawn_local(drive(client_set.clone(), index, shared.clone(), echo.in_flight));
    }
    if let Some((rate, dues)) = echo.rate.zip(shared.dues.clone()) {
        clients.spawn_local(pace(Schedule::new(Instant::now(), rate), dues));
    }
    let (count, expected) = (|| shared.echoed.get(), || shared.expected());
    let mut watch = Watch { clients, progress, unit: "echoes", count: &count, expected: &expected };
    watch.run("warming up", echo.load.warmup).await?;

    shared.begin();
    let reads_before = (shared.scratch.borrow().reads, shared.scratch.borrow().frames);
    let echoed_before = count();
    let segments_before = client_set.segments();
    let window = Window::open(target)?;
    watch.run("measuring", echo.load.duration).await?;
    let used = window.close()?;
    let echoed = count() - echoed_before;
    let writes = writes_per_delivery(&client_set, segments_before, echoed);
    let frames = frames_per_read(&shared.scratch.borrow(), reads_before);
    let memory_after = target.memory()?;

    // The figures include the latency of messages that are due or in flight at the end, so wait for them.
    shared.stop.set(true);
    shared.dues.iter().for_each(|dues| dues.borrow_mut().stop());
    let lost = watch.drain().await?;
    let late = shared.late().map(|late| Metric::new("generator_late_p99", "µs", late));
    let metrics = [used.cost("cpu_per_echo", echoed), used.rate("echoes", echoed)];
    let others = [late, writes, frames, Some(Metric::new("lost", "", lost as f64))];
    let metrics = metrics.into_iter().chain(used.part_costs("echo", echoed));
    let metrics = metrics.chain(latency("latency", &shared.times.borrow())).chain(others);
    let memory = memory_metrics(["rss_before", "pss_before"], memory_before)
        .chain(memory_metrics(["rss_after", "pss_after"], memory_after));
    Ok(Outcome {
        metrics: metrics.chain(used.busy()).chain(memory).flatten().collect(),
        fault: (lost > 0).then(|| format!("{lost} of {} messages did not come back", expected())),
    })
}

/// Drives one client: sends, and counts echoes, until its connection ends.
pub(crate) async fn drive(
    client_set: ClientSet,
    index: usize,
    shared: Rc<Load>,
    in_flight: u32,
) -> ClientError {
    let mut sent = VecDeque::new();
    let send = |sent: &mut VecDeque<Instant>, at, out: &mut Vec<u8>| {
        sent.push_back(at);
        out.extend_from_slice(&shared.frame);
        shared.sent.set(shared.sent.get() + 1);
    };
    if shared.dues.is_none() {
        let mut client = client_set.client(index);
        (0..in_flight).for_each(|_| send(&mut sent, Instant::now(), client.out()));
    }
    poll_fn(|cx| {
        let mut client = client_set.client(index);
        if let Some(dues) = &shared.dues {
            let full = client.unsent() > 0;
            while client.has_room(cx) {
                let Some(at) = dues.borrow_mut().take(index, Instant::now(), full) else { break };
                send(&mut sent, at, client.out());
            }
            dues.borrow_mut().wake(index, cx);
        }
        client.poll(cx, &shared.scratch, |now, payload, out| {
            if payload.first() != Some(&b'E') || payload.len() != shared.size {
                let known = is_notice(payload) || payload.first() == Some(&b'B');
                return known.then_some(()).ok_or_else(|| ClientError::unexpected(payload));
            }
            let at = sent
                .pop_front()
                .ok_or_else(|| ClientError::Unexpected("an echo without a message".into()))?;
            shared.book(at, now);
            if shared.dues.is_none() && !shared.stop.get() {
                send(&mut sent, now, out);
            }
            Ok(())
        })
    })
    .await
}
