//! Fan-out: senders broadcast to every client, and every delivery is counted: which client has which broadcast of which
//! sender, in order. A broadcast is done, and its sender's next one goes out, when the last client has it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use anyhow::Result;

use super::{
    Clients, Outcome, Target, Watch, Window, frames_per_read, is_notice, memory_metrics, writes_per_delivery,
};
use crate::args;
use crate::client::{Lost, Scratch};
use crate::crowd::Crowd;
use crate::histogram::Histogram;
use crate::report::{Metric, Progress};
use crate::wire::{self, opcode};

/// `B`, 4 hex digits of the sender, 8 of the broadcast's number.
const HEAD: usize = 13;

/// What has been sent and what has come: pure, no sockets.
struct Ledger {
    clients: u32,
    senders: Vec<Sender>,
    /// By client, then sender: the number expected next.
    expected: Vec<u32>,
    deliveries: u64,
    /// Deliveries that came twice or not in their sender's order.
    misplaced: u64,
    stop: bool,
    delivery_times: Histogram,
    broadcast_times: Histogram,
}

struct Sender {
    /// Broadcasts to send now.
    due: u32,
    /// The number of the first in `flying`.
    first: u32,
    /// Not done: when it was sent, and how many clients lack it.
    flying: VecDeque<(Instant, u32)>,
    waker: Option<Waker>,
}

impl Ledger {
    fn new(clients: u32, senders: u32, in_flight: u32) -> Self {
        let sender = || Sender { due: in_flight, first: 0, flying: VecDeque::new(), waker: None };
        Ledger {
            clients,
            senders: (0..senders).map(|_| sender()).collect(),
            expected: vec![0; clients as usize * senders as usize],
            deliveries: 0,
            misplaced: 0,
            stop: false,
            delivery_times: Histogram::new(),
            broadcast_times: Histogram::new(),
        }
    }

    /// The number of the sender's next broadcast, if one is due.
    fn next(&mut self, sender: usize, now: Instant) -> Option<u32> {
        let clients = self.clients;
        let sender = &mut self.senders[sender];
        sender.due = sender.due.checked_sub(1)?;
        sender.flying.push_back((now, clients));
        Some(sender.first + sender.flying.len() as u32 - 1)
    }

    /// `None`: nobody sent that.
    fn delivered(&mut self, client: usize, from: usize, number: u32, now: Instant) -> Option<()> {
        let senders = self.senders.len();
        let sender = self.senders.get_mut(from)?;
        if number >= sender.first + sender.flying.len() as u32 {
            return None;
        }
        let expected = &mut self.expected[client * senders + from];
        if number != *expected {
            self.misplaced += 1;
            if number < *expected {
                return Some(());
            }
        }
        *expected = number + 1;
        self.deliveries += 1;
        // Not yet had by this client, so it is not done and stands in the queue.
        let (at, lacking) = sender.flying.get_mut((number - sender.first) as usize)?;
        self.delivery_times.record(now - *at);
        *lacking -= 1;
        if *lacking == 0 {
            self.broadcast_times.record(now - *at);
            while sender.flying.front().is_some_and(|(_, lacking)| *lacking == 0) {
                sender.flying.pop_front();
                sender.first += 1;
            }
            if !self.stop {
                sender.due += 1;
                sender.waker.iter().for_each(Waker::wake_by_ref);
            }
        }
        Some(())
    }

    /// No sender sends again.
    fn stop(&mut self) {
        self.stop = true;
        self.senders.iter_mut().for_each(|sender| sender.due = 0);
    }

    /// Deliveries of all that was sent.
    fn owed(&self) -> u64 {
        let sent = |sender: &Sender| u64::from(sender.first) + sender.flying.len() as u64;
        self.senders.iter().map(sent).sum::<u64>() * u64::from(self.clients)
    }
}

/// Runs one round.
///
/// # Errors
/// A client could not open or was lost, nothing came back, or a process could not be measured.
pub(crate) async fn run(fanout: &args::Fanout, target: &Target, progress: &Progress) -> Result<Outcome> {
    let memory_before = target.memory()?;
    let opened = target.opening(&fanout.common, fanout.clients).run(false, progress).await?;

    let scratch = Rc::new(RefCell::new(Scratch::new()));
    let ledger = Rc::new(RefCell::new(Ledger::new(fanout.clients, fanout.senders, fanout.in_flight)));
    let mut clients = Clients::new();
    let crowd = Crowd::new(opened.clients);
    for index in 0..fanout.clients as usize {
        let size = fanout.load.size as usize;
        clients.spawn_local(drive(crowd.clone(), index, size, scratch.clone(), ledger.clone()));
    }
    let (count, owed) = (|| ledger.borrow().deliveries, || ledger.borrow().owed());
    let mut watch = Watch { clients, progress, unit: "deliveries", count: &count, owed: &owed };
    watch.run("warming up", fanout.load.warmup).await?;

    ledger.borrow_mut().delivery_times = Histogram::new();
    ledger.borrow_mut().broadcast_times = Histogram::new();
    let reads_before = (scratch.borrow().reads, scratch.borrow().frames);
    let deliveries_before = count();
    let segments_before = crowd.segments();
    let window = Window::open(target)?;
    watch.run("measuring", fanout.load.duration).await?;
    let used = window.close()?;
    let deliveries = count() - deliveries_before;
    let writes = writes_per_delivery(&crowd, segments_before, deliveries);
    let delivery_times = std::mem::replace(&mut ledger.borrow_mut().delivery_times, Histogram::new());
    let broadcast_times = std::mem::replace(&mut ledger.borrow_mut().broadcast_times, Histogram::new());
    let memory_after = target.memory()?;

    ledger.borrow_mut().stop();
    let lost = watch.drain().await?;
    let (owed, misplaced) = (owed(), ledger.borrow().misplaced);
    let metrics = [
        used.cost("cpu_per_delivery", deliveries),
        used.rate("deliveries", deliveries),
        Some(Metric::new("delivery_p50", "µs", delivery_times.percentile(50.0))),
        Some(Metric::new("delivery_p99", "µs", delivery_times.percentile(99.0))),
        Some(Metric::new("broadcast_p50", "µs", broadcast_times.percentile(50.0))),
        Some(Metric::new("broadcast_p99", "µs", broadcast_times.percentile(99.0))),
        writes,
        frames_per_read(&scratch.borrow(), reads_before),
        Some(Metric::new("lost", "", lost as f64)),
        Some(Metric::new("misplaced", "", misplaced as f64)),
    ];
    let memory = memory_metrics(["rss_before", "pss_before"], memory_before)
        .chain(memory_metrics(["rss_after", "pss_after"], memory_after));
    Ok(Outcome {
        metrics: metrics.into_iter().chain(used.busy()).chain(memory).flatten().collect(),
        fault: (lost + misplaced > 0).then(|| {
            format!("{lost} of {owed} deliveries did not come, {misplaced} came twice or out of order")
        }),
    })
}

async fn drive(
    crowd: Crowd,
    index: usize,
    size: usize,
    scratch: Rc<RefCell<Scratch>>,
    ledger: Rc<RefCell<Ledger>>,
) -> Lost {
    let sends = index < ledger.borrow().senders.len();
    let mut message = vec![b'x'; size];
    poll_fn(|cx| {
        let mut client = crowd.client(index);
        if sends {
            let mut ledger = ledger.borrow_mut();
            while let Some(number) = ledger.next(index, Instant::now()) {
                // The head always fits: a message has at least 16 bytes.
                let _ = write!(&mut message[..HEAD], "B{index:04x}{number:08x}");
                wire::encode(opcode::TEXT, &message, client.out());
            }
            if !ledger.senders[index].waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                ledger.senders[index].waker = Some(cx.waker().clone());
            }
        }
        client.poll(cx, &scratch, |now, payload, _| {
            let known = match head(payload).filter(|_| payload.len() == size) {
                Some((sender, number)) => ledger.borrow_mut().delivered(index, sender, number, now),
                None => is_notice(payload).then_some(()),
            };
            let text = || String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
            known.ok_or_else(|| Lost::Wrong(format!("{:?}", text())))
        })
    })
    .await
}

/// Sender and number of a broadcast.
fn head(payload: &[u8]) -> Option<(usize, u32)> {
    let (head, _) = payload.split_first_chunk::<HEAD>()?;
    if head[0] != b'B' {
        return None;
    }
    let hex = |digits: &[u8]| {
        digits.iter().try_fold(0u32, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
    };
    Some((hex(&head[1..5])? as usize, hex(&head[5..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_sender_and_number() {
        assert_eq!(head(b"B00ff00000102xxx"), Some((255, 258)));
        assert_eq!(head(b"B00ff000001"), None);
        assert_eq!(head(b"{00ff00000102xxx"), None);
        assert_eq!(head(b"B00zz00000102xxx"), None);
    }

    #[test]
    fn a_broadcast_is_done_when_the_last_client_has_it() {
        let now = Instant::now();
        let mut ledger = Ledger::new(3, 1, 1);
        assert_eq!((ledger.next(0, now), ledger.next(0, now)), (Some(0), None));
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(2, 0, 0, now).unwrap();
        assert_eq!(ledger.next(0, now), None);
        ledger.delivered(1, 0, 0, now).unwrap();
        assert_eq!(ledger.next(0, now), Some(1));
        assert_eq!((ledger.owed(), ledger.deliveries, ledger.misplaced), (6, 3, 0));
    }

    #[test]
    fn broadcasts_in_flight_may_be_done_in_any_order() {
        let now = Instant::now();
        let mut ledger = Ledger::new(1, 2, 2);
        assert_eq!([0, 0, 1].map(|sender| ledger.next(sender, now)), [Some(0), Some(1), Some(0)]);
        ledger.delivered(0, 1, 0, now).unwrap();
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(0, 0, 1, now).unwrap();
        assert_eq!((ledger.owed(), ledger.deliveries, ledger.misplaced), (3, 3, 0));
        assert_eq!(ledger.next(0, now), Some(2));
    }

    #[test]
    fn twice_skipped_and_unsent_are_told_apart() {
        let now = Instant::now();
        let mut ledger = Ledger::new(2, 1, 3);
        (0..3).for_each(|_| assert!(ledger.next(0, now).is_some()));
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(0, 0, 0, now).unwrap();
        assert_eq!((ledger.deliveries, ledger.misplaced), (1, 1));
        ledger.delivered(0, 0, 2, now).unwrap();
        assert_eq!((ledger.deliveries, ledger.misplaced), (2, 2));
        assert_eq!(ledger.delivered(0, 0, 3, now), None);
        assert_eq!(ledger.delivered(0, 1, 0, now), None);
    }

    #[test]
    fn a_stopped_ledger_sends_no_more() {
        let now = Instant::now();
        let mut ledger = Ledger::new(1, 1, 2);
        ledger.next(0, now).unwrap();
        ledger.stop();
        ledger.delivered(0, 0, 0, now).unwrap();
        assert_eq!(ledger.next(0, now), None);
    }
}
