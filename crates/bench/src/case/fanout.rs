//! The cases `fanout` and `group`: senders send to all clients, or each to its own group. The `ledger` counts every
//! delivery: which client has which message of which sender, in order.
//!
//! In a closed loop, a sender sends its next message when the last member has one. With a fixed rate, it sends when a
//! message is due.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;

use super::ledger::{Groups, Ledger};
use super::{
    ClientTasks, Outcome, Target, Watch, Window, frames_per_read, is_notice, latency, memory_metrics,
    writes_per_delivery,
};
use crate::args::{self, Common, Load, Sending};
use crate::client::{ClientError, ReadBuffer};
use crate::client_set::ClientSet;
use crate::open::group_name;
use crate::pace::{DueMessages, Schedule, pace};
use crate::report::{Metric, Progress};
use crate::wire::{self, opcode};

/// The length of a message's header, after its prefix: 4 hex digits for the sender, 8 for the message's number.
const HEAD: usize = 12;

/// The settings of a round, for both cases.
pub(crate) struct Plan<'a> {
    common: &'a Common,
    load: &'a Load,
    groups: Groups,
    sending: Sending,
    /// Whether messages begin with `G<group> ` and not with `B`.
    to_group: bool,
}

impl<'a> From<&'a args::Fanout> for Plan<'a> {
    fn from(fanout: &'a args::Fanout) -> Self {
        let &args::Fanout { ref common, ref load, clients, sending } = fanout;
        let groups = Groups { clients, size: clients, senders: sending.senders };
        Plan { common, load, groups, sending, to_group: false }
    }
}

impl<'a> From<&'a args::Group> for Plan<'a> {
    fn from(group: &'a args::Group) -> Self {
        let &args::Group { ref common, ref load, clients, group_size, sending } = group;
        let groups = Groups { clients, size: group_size.min(clients), senders: sending.senders };
        Plan { common, load, groups, sending, to_group: true }
    }
}

/// The state that the clients of a round share.
pub(super) struct Shared {
    scratch: RefCell<ReadBuffer>,
    pub(super) ledger: RefCell<Ledger>,
    dues: Rc<RefCell<DueMessages>>,
    paced: bool,
    /// Each message is written by itself.
    separate_writes: bool,
    size: usize,
}

impl Shared {
    /// The state of a round; see [`Ledger::new`] for `in_flight`.
    pub(super) fn new(groups: Groups, in_flight: u32, paced: bool, size: usize) -> Self {
        Shared {
            scratch: RefCell::new(ReadBuffer::new()),
            ledger: RefCell::new(Ledger::new(groups, in_flight)),
            dues: Rc::new(RefCell::new(DueMessages::new(groups.senders as usize))),
            paced,
            separate_writes: false,
            size,
        }
    }

    /// The same, with each message written by itself or not.
    fn with_separate_writes(mut self, separate_writes: bool) -> Self {
        self.separate_writes = separate_writes;
        self
    }
}

/// Runs one round.
///
/// # Errors
/// A client could not open or lost its connection, the load stalled, or a process could not be measured.
pub(crate) async fn run(plan: Plan<'_>, target: &Target, progress: &Progress) -> Result<Outcome> {
    let Plan { common, load, groups, sending, to_group } = plan;
    let Sending { rate, in_flight, separate_writes, .. } = sending;
    let memory_before = target.memory()?;
    let mut opening = target.opening(common, groups.clients);
    opening.group_size = to_group.then_some(groups.size);
    let opened = opening.run(false, progress).await?;

    let in_flight = if rate.is_some() { 0 } else { in_flight };
    let shared = Shared::new(groups, in_flight, rate.is_some(), load.size as usize);
    let shared = Rc::new(shared.with_separate_writes(separate_writes));
    let client_set = ClientSet::new(opened.clients);
    let mut clients = ClientTasks::new();
    for index in 0..groups.clients as usize {
        let prefix = if to_group { format!("G{} ", group_name(index, groups.size)) } else { "B".into() };
        let sender = groups.sender(index);
        clients.spawn_local(drive(client_set.clone(), index, sender, prefix, shared.clone()));
    }
    if let Some(rate) = rate {
        clients.spawn_local(pace(Schedule::new(Instant::now(), rate), shared.dues.clone()));
    }
    let (ledger, dues) = (&shared.ledger, &shared.dues);
    let count = || ledger.borrow().deliveries;
    let expected = || ledger.borrow().expected() + dues.borrow().waiting();
    let mut watch = Watch { clients, progress, unit: "deliveries", count: &count, expected: &expected };
    watch.run("warming up", load.warmup).await?;

    ledger.borrow_mut().since = Instant::now();
    dues.borrow_mut().late.clear();
    let reads_before = (shared.scratch.borrow().reads, shared.scratch.borrow().frames);
    let (deliveries_before, done_before) = (count(), ledger.borrow().done);
    let segments_before = client_set.segments();
    let window = Window::open(target)?;
    watch.run("measuring", load.duration).await?;
    let used = window.close()?;
    let (deliveries, done) = (count() - deliveries_before, ledger.borrow().done - done_before);
    let writes = writes_per_delivery(&client_set, segments_before, deliveries);
    let frames = frames_per_read(&shared.scratch.borrow(), reads_before);
    let memory_after = target.memory()?;

    // The figures include the latency of messages that are due or in flight at the end, so wait for them.
    ledger.borrow_mut().stop();
    dues.borrow_mut().stop();
    let lost = watch.drain().await?;
    let expected = expected();
    let ledger = ledger.borrow();
    let misplaced = ledger.misplaced;
    let [cost, rate_name, times] = if to_group {
        ["cpu_per_message", "messages", "message"]
    } else {
        ["cpu_per_broadcast", "broadcasts", "broadcast"]
    };
    let metrics = [
        used.cost("cpu_per_delivery", deliveries),
        used.cost(cost, done),
        used.rate("deliveries", deliveries),
        used.rate(rate_name, done),
    ];
    let losses = [
        rate.map(|_| Metric::new("generator_late_p99", "µs", dues.borrow().late.percentile(99.0))),
        writes,
        frames,
        Some(Metric::new("lost", "", lost as f64)),
        Some(Metric::new("misplaced", "", misplaced as f64)),
    ];
    let memory = memory_metrics(["rss_before", "pss_before"], memory_before)
        .chain(memory_metrics(["rss_after", "pss_after"], memory_after));
    let times = latency("delivery", &ledger.delivery_times).chain(latency(times, &ledger.message_times));
    Ok(Outcome {
        metrics: metrics
            .into_iter()
            .chain(times)
            .chain(losses)
            .chain(used.busy())
            .chain(memory)
            .flatten()
            .collect(),
        fault: (lost + misplaced > 0).then(|| {
            format!(
                "{lost} of {expected} deliveries did not arrive, {misplaced} arrived twice or out of order"
            )
        }),
    })
}

/// Drives one client: sends if it is a sender, and counts deliveries, until its connection ends.
pub(super) async fn drive(
    client_set: ClientSet,
    index: usize,
    sender: Option<usize>,
    prefix: String,
    shared: Rc<Shared>,
) -> ClientError {
    let Shared { ref scratch, ref ledger, ref dues, paced, separate_writes, size } = *shared;
    let mut message = String::new();
    poll_fn(|cx| {
        let mut client = client_set.client(index);
        if let Some(sender) = sender {
            let full = client.unsent() > 0;
            let mut ledger = ledger.borrow_mut();
            loop {
                let now = Instant::now();
                let at = if !paced {
                    ledger.credit(sender, cx).then_some(now)
                } else if client.has_room(cx) {
                    dues.borrow_mut().take(sender, now, full)
                } else {
                    None
                };
                let Some(at) = at else { break };
                let number = ledger.sent(sender, at);
                message.clear();
                // Writing to a String cannot fail.
                let _ = write!(message, "{prefix}{sender:04x}{number:08x}");
                message.extend(std::iter::repeat_n('x', size - message.len().min(size)));
                wire::encode(opcode::TEXT, message.as_bytes(), client.out());
                if separate_writes {
                    client.write_now(cx);
                }
            }
            if paced {
                dues.borrow_mut().wake(sender, cx);
            }
        }
        client.poll(cx, scratch, |now, payload, _| {
            let rest = payload.strip_prefix(prefix.as_bytes()).filter(|_| payload.len() == size);
            let known = match rest.and_then(head) {
                Some((sender, number)) => ledger.borrow_mut().delivered(index, sender, number, now),
                None => is_notice(payload).then_some(()),
            };
            known.ok_or_else(|| ClientError::unexpected(payload))
        })
    })
    .await
}

/// Parses the header of a message: its sender and number.
pub(super) fn head(rest: &[u8]) -> Option<(usize, u32)> {
    let (head, _) = rest.split_first_chunk::<HEAD>()?;
    let hex = |digits: &[u8]| {
        digits.iter().try_fold(0u32, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
    };
    Some((hex(&head[..4])? as usize, hex(&head[4..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_sender_and_number() {
        assert_eq!(head(b"00ff00000102xxx"), Some((255, 258)));
        assert_eq!(head(b"00ff000001"), None);
        assert_eq!(head(b"00zz00000102xxx"), None);
    }
}
