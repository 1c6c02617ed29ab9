//! Echo: each client keeps messages on their way to the business code and back, or offers them at a fixed rate.
//!
//! Echoes that came in one read are followed by one write of as many new messages, as a busy peer would do it: with
//! several in flight the server, too, finds several in a read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;

use super::{
    Clients, Outcome, Target, Watch, Window, frames_per_read, is_notice, latency, memory_metrics,
    writes_per_delivery,
};
use crate::args;
use crate::client::{Lost, Scratch};
use crate::crowd::Crowd;
use crate::histogram::Histogram;
use crate::pace::{Dues, Schedule, pace};
use crate::report::{Metric, Progress};
use crate::wire::{self, opcode};

struct Shared {
    scratch: RefCell<Scratch>,
    /// The one message, encoded.
    frame: Vec<u8>,
    size: usize,
    sent: Cell<u64>,
    echoed: Cell<u64>,
    stop: Cell<bool>,
    /// Messages from before count in no time.
    since: Cell<Instant>,
    times: RefCell<Histogram>,
    /// With a fixed rate: what is due.
    dues: Option<Rc<RefCell<Dues>>>,
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
        stop: Cell::new(false),
        since: Cell::new(Instant::now()),
        times: RefCell::new(Histogram::new()),
        dues: echo.rate.map(|_| Rc::new(RefCell::new(Dues::new(echo.clients as usize)))),
    });
    let mut clients = Clients::new();
    let crowd = Crowd::new(opened.clients);
    for index in 0..echo.clients as usize {
        clients.spawn_local(drive(crowd.clone(), index, shared.clone(), echo.in_flight));
    }
    if let Some((rate, dues)) = echo.rate.zip(shared.dues.clone()) {
        clients.spawn_local(pace(Schedule::new(Instant::now(), rate), dues));
    }
    let waiting = || shared.dues.as_ref().map_or(0, |dues| dues.borrow().waiting());
    let (count, owed) = (|| shared.echoed.get(), || shared.sent.get() + waiting());
    let mut watch = Watch { clients, progress, unit: "echoes", count: &count, owed: &owed };
    watch.run("warming up", echo.load.warmup).await?;

    shared.times.borrow_mut().clear();
    shared.since.set(Instant::now());
    shared.dues.iter().for_each(|dues| dues.borrow_mut().late.clear());
    let reads_before = (shared.scratch.borrow().reads, shared.scratch.borrow().frames);
    let echoed_before = count();
    let segments_before = crowd.segments();
    let window = Window::open(target)?;
    watch.run("measuring", echo.load.duration).await?;
    let used = window.close()?;
    let echoed = count() - echoed_before;
    let writes = writes_per_delivery(&crowd, segments_before, echoed);
    let frames = frames_per_read(&shared.scratch.borrow(), reads_before);
    let memory_after = target.memory()?;

    // What was due or under way is waited for: how long it took belongs to the figures.
    shared.stop.set(true);
    shared.dues.iter().for_each(|dues| dues.borrow_mut().stop());
    let lost = watch.drain().await?;
    let late = |dues: &Rc<RefCell<Dues>>| {
        Metric::new("generator_late_p99", "µs", dues.borrow().late.percentile(99.0))
    };
    let metrics = [used.cost("cpu_per_echo", echoed), used.rate("echoes", echoed)];
    let others = [shared.dues.as_ref().map(late), writes, frames, Some(Metric::new("lost", "", lost as f64))];
    let metrics = metrics.into_iter().chain(latency("latency", &shared.times.borrow())).chain(others);
    let memory = memory_metrics(["rss_before", "pss_before"], memory_before)
        .chain(memory_metrics(["rss_after", "pss_after"], memory_after));
    Ok(Outcome {
        metrics: metrics.chain(used.busy()).chain(memory).flatten().collect(),
        fault: (lost > 0).then(|| format!("{lost} of {} messages did not come back", owed())),
    })
}

async fn drive(crowd: Crowd, index: usize, shared: Rc<Shared>, in_flight: u32) -> Lost {
    let mut sent = VecDeque::new();
    let send = |sent: &mut VecDeque<Instant>, at, out: &mut Vec<u8>| {
        sent.push_back(at);
        out.extend_from_slice(&shared.frame);
        shared.sent.set(shared.sent.get() + 1);
    };
    if shared.dues.is_none() {
        let mut client = crowd.client(index);
        (0..in_flight).for_each(|_| send(&mut sent, Instant::now(), client.out()));
    }
    poll_fn(|cx| {
        let mut client = crowd.client(index);
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
                let text = || String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
                return if is_notice(payload) { Ok(()) } else { Err(Lost::Wrong(format!("{:?}", text()))) };
            }
            let at = sent.pop_front().ok_or_else(|| Lost::Wrong("an echo of nothing".into()))?;
            if at >= shared.since.get() {
                shared.times.borrow_mut().record(now.saturating_duration_since(at));
            }
            shared.echoed.set(shared.echoed.get() + 1);
            if shared.dues.is_none() && !shared.stop.get() {
                send(&mut sent, now, out);
            }
            Ok(())
        })
    })
    .await
}
