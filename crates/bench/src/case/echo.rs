//! Echo: each client keeps messages on their way to the business code and back, or offers them at a fixed rate.
//!
//! Echoes that came in one read are followed by one write of as many new messages, as a busy peer would do it: with
//! several in flight the server, too, finds several in a read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::Sleep;

use super::{
    Clients, Outcome, Target, Watch, Window, frames_per_read, is_notice, memory_metrics, writes_per_delivery,
};
use crate::args;
use crate::client::{Lost, Scratch};
use crate::crowd::Crowd;
use crate::histogram::Histogram;
use crate::report::{Metric, Progress};
use crate::wire::{self, opcode};

/// With a fixed rate, a client holds back when so many of its messages are unanswered.
const MAX_UNANSWERED: usize = 4096;

struct Shared {
    scratch: RefCell<Scratch>,
    /// The one message, encoded.
    frame: Vec<u8>,
    size: usize,
    sent: Cell<u64>,
    echoed: Cell<u64>,
    /// Messages that were due, but held back.
    held_back: Cell<u64>,
    stop: Cell<bool>,
    times: RefCell<Histogram>,
}

/// Runs one round.
///
/// # Errors
/// A client could not open or was lost, nothing came back, or a process could not be measured.
pub(crate) async fn run(echo: &args::Echo, target: &Target, progress: &Progress) -> Result<Outcome> {
    let memory_before = target.memory()?;
    let opened = target.opening(&echo.common, echo.clients).run(false, progress).await?;

    let size = echo.load.size as usize;
    let mut frame = Vec::new();
    wire::encode(opcode::TEXT, &[&b"E"[..], &vec![b'x'; size - 1]].concat(), &mut frame);
    let shared = Rc::new(Shared {
        scratch: RefCell::new(Scratch::new()),
        frame,
        size,
        sent: Cell::new(0),
        echoed: Cell::new(0),
        held_back: Cell::new(0),
        stop: Cell::new(false),
        times: RefCell::new(Histogram::new()),
    });
    let mut clients = Clients::new();
    let start = Instant::now();
    let crowd = Crowd::new(opened.clients);
    for index in 0..echo.clients {
        let pace = echo.rate.map(|rate| Pace::new(start, rate, index, echo.clients));
        clients.spawn_local(drive(crowd.clone(), index as usize, shared.clone(), echo.in_flight, pace));
    }
    let (count, owed) = (|| shared.echoed.get(), || shared.sent.get());
    let mut watch = Watch { clients, progress, unit: "echoes", count: &count, owed: &owed };
    watch.run("warming up", echo.load.warmup).await?;

    *shared.times.borrow_mut() = Histogram::new();
    let reads_before = (shared.scratch.borrow().reads, shared.scratch.borrow().frames);
    let echoed_before = count();
    let segments_before = crowd.segments();
    let window = Window::open(target)?;
    watch.run("measuring", echo.load.duration).await?;
    let used = window.close()?;
    let echoed = count() - echoed_before;
    let writes = writes_per_delivery(&crowd, segments_before, echoed);
    let times = shared.times.replace(Histogram::new());
    let memory_after = target.memory()?;

    shared.stop.set(true);
    let lost = watch.drain().await?;
    let metrics = [
        used.cost("cpu_per_echo", echoed),
        used.rate("echoes", echoed),
        Some(Metric::new("latency_p50", "µs", times.percentile(50.0))),
        Some(Metric::new("latency_p99", "µs", times.percentile(99.0))),
        Some(Metric::new("latency_max", "µs", times.max())),
        writes,
        frames_per_read(&shared.scratch.borrow(), reads_before),
        Some(Metric::new("lost", "", lost as f64)),
        echo.rate.map(|_| Metric::new("held_back", "", shared.held_back.get() as f64)),
    ];
    let memory = memory_metrics(["rss_before", "pss_before"], memory_before)
        .chain(memory_metrics(["rss_after", "pss_after"], memory_after));
    Ok(Outcome {
        metrics: metrics.into_iter().chain(used.busy()).chain(memory).flatten().collect(),
        fault: (lost > 0).then(|| format!("{lost} of {} messages did not come back", owed())),
    })
}

async fn drive(
    crowd: Crowd,
    index: usize,
    shared: Rc<Shared>,
    in_flight: u32,
    mut pace: Option<Pace>,
) -> Lost {
    let mut sent = VecDeque::new();
    let send = |sent: &mut VecDeque<Instant>, now, out: &mut Vec<u8>| {
        sent.push_back(now);
        out.extend_from_slice(&shared.frame);
        shared.sent.set(shared.sent.get() + 1);
    };
    if pace.is_none() {
        let mut client = crowd.client(index);
        (0..in_flight).for_each(|_| send(&mut sent, Instant::now(), client.out()));
    }
    poll_fn(|cx| {
        let mut client = crowd.client(index);
        if let Some(pace) = pace.as_mut().filter(|_| !shared.stop.get()) {
            for _ in 0..pace.due(cx) {
                if sent.len() < MAX_UNANSWERED {
                    send(&mut sent, Instant::now(), client.out());
                } else {
                    shared.held_back.set(shared.held_back.get() + 1);
                }
            }
        }
        client.poll(cx, &shared.scratch, |now, payload, out| {
            if payload.first() != Some(&b'E') || payload.len() != shared.size {
                let text = || String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
                return if is_notice(payload) { Ok(()) } else { Err(Lost::Wrong(format!("{:?}", text()))) };
            }
            let at = sent.pop_front().ok_or_else(|| Lost::Wrong("an echo of nothing".into()))?;
            shared.times.borrow_mut().record(now - at);
            shared.echoed.set(shared.echoed.get() + 1);
            if pace.is_none() && !shared.stop.get() {
                send(&mut sent, now, out);
            }
            Ok(())
        })
    })
    .await
}

/// When a client's messages are due: its share of the whole rate, the clients spread evenly over the period. The
/// clock is a millisecond's, so that messages due within one go out together; latency counts from the actual send.
struct Pace {
    next: Instant,
    every: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(start: Instant, rate: u32, index: u32, clients: u32) -> Self {
        let every = Duration::from_secs(1) * clients / rate;
        let next = start + every * index / clients;
        Pace { next, every, sleep: Box::pin(tokio::time::sleep_until(next.into())) }
    }

    /// How many are due now; the task is woken when the next one is.
    fn due(&mut self, cx: &mut Context<'_>) -> u32 {
        let mut due = 0;
        loop {
            while self.next <= Instant::now() {
                due += 1;
                self.next += self.every;
            }
            self.sleep.as_mut().reset(self.next.into());
            if self.sleep.as_mut().poll(cx).is_pending() {
                return due;
            }
        }
    }
}
