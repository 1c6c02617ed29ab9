//! An inner link of a simulated gateway: a worker's, or a client library's, as `link.rs` of the gateway has it.
//!
//! The core's [`LinkState`] reads commands out of its bytes. What it says before a question takes effect first,
//! and what it says next waits for the answer. A link waits where a shard's channel is full. `epochs` has what
//! both links of a worker are together.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use gatewayworker_gateway::internals::{Gone, LinkEvent, LinkState, Liveness};
use gatewayworker_protocol::{Command, MAX_LARGE_FRAME_LEN, Question, SecretKey, frame_answer};

use super::gathering::Gathering;
use super::shard::ShardMessage;
use super::{Gateway, Wake};
use crate::cluster::observer::Observer;
use crate::cluster::ports::{Core, SimLink};
use crate::link_buffer::LinkBuffer;
use crate::model::Context;
use crate::network::{ReadOutcome, Socket};

/// How long a link may take to end, in ms: so long that a worker with slow handlers has read everything.
pub(super) const FINISH_TIMEOUT_MS: u64 = 8_000;

/// What a step reads of a link at most, in bytes.
const SCRATCH: usize = 4 * 1024;

/// A link.
pub(super) struct Link {
    pub(super) socket: Rc<Socket>,
    shard: usize,
    pub(super) writer: SimLink,
    pub(super) state: LinkState,
    buffer: BytesMut,
    /// The epoch that it belongs to.
    pub(super) epoch: Option<u32>,
    /// Once both links of its epoch are there.
    pub(super) liveness: Option<Liveness>,
    /// When the worker is pinged next, on its event link.
    pub(super) next_ping_ms: Option<u64>,
    pub(super) doing: Doing,
    is_woken: bool,
}

/// What a link is doing.
pub(super) enum Doing {
    /// It reads commands.
    Read,
    /// It hands commands over to shards, and then asks this, if there is a question.
    HandOver(Option<Question>),
    /// It waits for the parts of an answer.
    Gather(Gathering),
    /// It waits for room for an answer.
    Answer(Bytes),
    /// It hands over what its worker has closed, waits until that is done, and then belongs to an epoch.
    Attach(Attaching),
    /// Its epoch is over, or never was: what has arrived is read and handed over.
    ReadOut,
    /// It hands over what it has, and then ends; true where the peer may still read.
    End(bool),
    /// It writes what is left, and reads to the peer's end.
    Finish { until_ms: u64 },
}

/// A link that waits until every shard has executed what was handed over.
pub(super) struct Attaching {
    epoch: u32,
    process: u64,
    /// Shards that are to be asked.
    unasked: usize,
    /// Shards that have not come to the question.
    missing: Rc<Cell<usize>>,
}

impl Attaching {
    pub(super) fn new(epoch: u32, process: u64, shards: usize) -> Self {
        Self { epoch, process, unasked: shards, missing: Rc::new(Cell::new(shards)) }
    }
}

impl Gateway {
    pub(super) fn accept_link(&mut self, socket: Socket, context: &mut Context<'_>) {
        let number = self.next_number;
        self.next_number += 1;
        let socket = Rc::new(socket);
        self.sockets.insert(socket.id(), Wake::Link(number));
        let writer = SimLink::new(LinkBuffer::new(socket.clone(), self.options.link_bytes));
        let shards = self.shards.len();
        let link = Link {
            shard: context.rng.below(shards as u64) as usize,
            socket,
            writer,
            state: LinkState::new(SecretKey::default(), MAX_LARGE_FRAME_LEN, shards),
            buffer: BytesMut::new(),
            epoch: None,
            liveness: None,
            next_ping_ms: None,
            doing: Doing::Read,
            is_woken: false,
        };
        self.links.insert(number, link);
    }

    /// Goes on with a link as far as it can, and reads from it at most once.
    pub(super) fn run_link(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) {
        loop {
            let Some(link) = self.links.get_mut(&number) else { return };
            match &mut link.doing {
                Doing::Read => match link.state.next(&mut link.buffer, || {
                    self.next_seq += 1;
                    self.next_seq
                }) {
                    Ok(Some(event)) => self.take_event(number, event, context),
                    Ok(None) if link.state.pending.iter().any(|pending| !pending.is_empty()) => {
                        link.doing = Doing::HandOver(None);
                    }
                    Ok(None) => match link.read() {
                        ReadOutcome::Bytes(_) => {
                            if let Some(liveness) = &mut link.liveness {
                                liveness.heard(context.now_ms);
                            }
                            // Others have their turn before its commands take effect.
                            return context.read_again(link.socket.id());
                        }
                        ReadOutcome::Empty => return,
                        outcome => self.end_link(number, outcome == ReadOutcome::End, context),
                    },
                    Err(error) => {
                        context.note(|| format!("link {number} is closed: {error}"));
                        self.end_link(number, false, context);
                    }
                },
                Doing::Attach(attaching) => {
                    let (epoch, process) = (attaching.epoch, attaching.process);
                    match self.pass_barrier(number, observer, context) {
                        true => self.attach(number, epoch, process, observer, context),
                        false => return,
                    }
                }
                Doing::ReadOut => {
                    loop {
                        let Some(link) = self.links.get_mut(&number) else { return };
                        let next = link.state.next(&mut link.buffer, || {
                            self.next_seq += 1;
                            self.next_seq
                        });
                        match next {
                            Ok(Some(LinkEvent::Draining)) => drop(self.set_draining(number)),
                            // Questions get no answer.
                            Ok(Some(_)) => {}
                            Ok(None) | Err(_) => break,
                        }
                    }
                    if !self.hand_over(number, observer, context) {
                        return;
                    }
                    let Some(link) = self.links.get_mut(&number) else { return };
                    if !matches!(link.read(), ReadOutcome::Bytes(_)) {
                        return self.is_read_out(number, observer, context);
                    }
                }
                Doing::HandOver(question) => {
                    let question = question.take();
                    if !self.hand_over(number, observer, context) {
                        if let Some(link) = self.links.get_mut(&number) {
                            link.doing = Doing::HandOver(question);
                        }
                        return;
                    }
                    let shards = self.shards.len();
                    let Some(link) = self.links.get_mut(&number) else { return };
                    link.doing = match question {
                        Some(question) => Doing::Gather(Gathering::new(question, shards)),
                        None => Doing::Read,
                    };
                }
                Doing::Gather(gathering) => {
                    if let Some(answer) = gathering.poll() {
                        link.doing = Doing::Answer(answer);
                    } else if !self.ask_shards(number, context) {
                        return;
                    }
                }
                Doing::Answer(answer) => {
                    // A peer that asks and does not read gets no further.
                    if link.writer.buffer.is_full() && !link.writer.buffer.is_closed() {
                        return;
                    }
                    let answer = std::mem::take(answer);
                    let _ = link.writer.buffer.push(|out| frame_answer(&answer, out));
                    link.writer.buffer.flush();
                    link.doing = Doing::Read;
                }
                Doing::End(in_peace) => {
                    let in_peace = *in_peace;
                    if !self.hand_over(number, observer, context) {
                        return;
                    }
                    let Some(link) = self.links.get_mut(&number) else { return };
                    if !in_peace {
                        return self.forget_link(number);
                    }
                    link.writer.buffer.finish();
                    link.doing = Doing::Finish { until_ms: context.now_ms + FINISH_TIMEOUT_MS };
                }
                Doing::Finish { .. } => {
                    let is_written = link.writer.buffer.is_let_go();
                    // Where it was us who ended the link, the peer may still be speaking.
                    let is_read = link.discard();
                    if is_written && is_read {
                        self.forget_link(number);
                    }
                    return;
                }
            }
        }
    }

    fn take_event(&mut self, number: u32, event: LinkEvent, context: &mut Context<'_>) {
        let Some(link) = self.links.get_mut(&number) else { return };
        match event {
            LinkEvent::Worker { key, features, process: Some(process), .. } => {
                let key = format!("{}:{key}", link.socket.peer());
                self.begin_epoch(number, key, process, features, context);
            }
            LinkEvent::Worker { key, .. } => context.note(|| format!("{key} acknowledges nothing")),
            LinkEvent::Attach { epoch, process } => self.begin_attach(number, epoch, process, context),
            LinkEvent::Draining => self.worker_drains(number, context),
            LinkEvent::Question(question) => link.doing = Doing::HandOver(Some(question)),
            LinkEvent::Publish(_) | LinkEvent::Subscribe | LinkEvent::InterestReport(_) => {}
            LinkEvent::Report { number: report, body } => self.take_report(number, report, &body, context),
            LinkEvent::Ignored(error) => context.note(|| format!("link {number}: {error}")),
        }
    }

    /// Answers a worker's report, and keeps it.
    fn take_report(&mut self, number: u32, report: u32, body: &[u8], context: &mut Context<'_>) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let _ = link.writer.buffer.push(|out| Command::Reported(report).encode(out));
        link.writer.buffer.flush();
        if let (Ok(Some(new)), Some(worker)) = (
            link.state.read_report(body, context.now_ms),
            link.epoch.and_then(|epoch| self.epochs.get(&epoch)).and_then(|epoch| epoch.worker()),
        ) {
            worker.keep_report(new.report, context.now_ms);
        }
    }

    /// A link has ended, or is to end: with its epoch, or alone.
    fn end_link(&mut self, number: u32, in_peace: bool, context: &mut Context<'_>) {
        let Some(link) = self.links.get_mut(&number) else { return };
        match link.epoch {
            Some(epoch) => self.end_epoch(epoch, Gone::Ended, context),
            None => link.doing = Doing::End(in_peace),
        }
    }

    /// Hands over what stands before ATTACH, and waits until every shard has executed it; true when that is so.
    fn pass_barrier(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) -> bool {
        if !self.hand_over(number, observer, context) {
            return false;
        }
        loop {
            let Some(link) = self.links.get_mut(&number) else { return false };
            let Doing::Attach(attaching) = &mut link.doing else { return false };
            let Some(shard) = attaching.unasked.checked_sub(1) else { return attaching.missing.get() == 0 };
            let missing = attaching.missing.clone();
            if link.shard == shard {
                missing.set(missing.get() - 1);
            } else if self.shards[shard].messages.len() < super::shard::CHANNEL {
                let ask = move |_: &Core| missing.set(missing.get() - 1);
                self.send(shard, ShardMessage::Ask(Box::new(ask)), context);
            } else {
                return false;
            }
            if let Some(Link { doing: Doing::Attach(attaching), .. }) = self.links.get_mut(&number) {
                attaching.unasked = shard;
            }
        }
    }

    /// Hands commands over to the shards; false where a channel is full.
    fn hand_over(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) -> bool {
        for shard in 0..self.shards.len() {
            let Some(link) = self.links.get_mut(&number) else { return false };
            if link.state.pending[shard].is_empty() {
                continue;
            }
            if link.shard != shard && self.shards[shard].messages.len() >= super::shard::CHANNEL {
                return false;
            }
            let commands = std::mem::take(&mut link.state.pending[shard]);
            if link.shard == shard {
                self.input(shard, observer, context, |core| core.execute(commands));
            } else {
                self.send(shard, ShardMessage::Commands(commands), context);
            }
        }
        true
    }

    /// Asks shards for their parts: our own at once. Returns whether that was anything.
    fn ask_shards(&mut self, number: u32, context: &mut Context<'_>) -> bool {
        let mut has_asked = false;
        loop {
            let Some(link) = self.links.get_mut(&number) else { return false };
            let Doing::Gather(gathering) = &mut link.doing else { return false };
            let (own, asks) = (link.shard, gathering.asks.clone());
            let Some(shard) = asks.borrow().front().map(|(shard, _)| *shard) else { return has_asked };
            if shard != own && !self.has_room(shard) {
                return false;
            }
            let Some((_, ask)) = asks.borrow_mut().pop_front() else { return false };
            has_asked = true;
            match shard == own {
                true => ask(&self.shards[shard].core),
                false => self.send(shard, ShardMessage::Ask(ask), context),
            }
        }
    }

    pub(super) fn forget_link(&mut self, number: u32) {
        if let Some(link) = self.links.remove(&number) {
            link.writer.buffer.close();
            self.sockets.remove(&link.socket.id());
        }
    }

    /// Plans a turn for links that wait for shards, and for those that have failed.
    pub(super) fn wake_links(&mut self, context: &mut Context<'_>) {
        for (number, link) in &mut self.links {
            if !matches!(link.doing, Doing::Read) {
                link.wake(*number, context);
            }
        }
    }

    /// Ends links that have failed or were finished, and flushes those that want it.
    pub(super) fn look_after_links(&mut self, observer: &mut Observer, context: &mut Context<'_>) {
        let (mut ended, mut finished) = (Vec::new(), Vec::new());
        for (number, link) in &mut self.links {
            if link.writer.take_wants_flush() {
                link.writer.buffer.flush();
            }
            if !link.writer.buffer.is_closed() || !matches!(link.doing, Doing::Read) {
                continue;
            }
            if link.writer.buffer.is_broken() || link.epoch.is_none() {
                ended.push((*number, !link.writer.buffer.is_broken()));
            } else if link.writer.buffer.is_let_go() {
                finished.push(*number);
            }
        }
        for (number, in_peace) in ended {
            self.end_link(number, in_peace, context);
            self.links.get_mut(&number).into_iter().for_each(|link| link.wake(number, context));
        }
        finished.into_iter().for_each(|number| self.let_go(number, observer, context));
    }

    /// The clients are gone: every link ends.
    pub(super) fn stop_links(&mut self, context: &mut Context<'_>) {
        self.close_epochs();
        for (number, link) in &mut self.links {
            if !matches!(link.doing, Doing::End(_) | Doing::Finish { .. }) {
                link.doing = Doing::End(true);
                link.wake(*number, context);
            }
        }
    }

    pub(super) fn time_out_links(&mut self, now_ms: u64) {
        let due = |link: &Link| matches!(link.doing, Doing::Finish { until_ms } if until_ms <= now_ms);
        let due: Vec<u32> =
            self.links.iter().filter(|(_, link)| due(link)).map(|(number, _)| *number).collect();
        due.into_iter().for_each(|number| self.forget_link(number));
    }
}

impl Link {
    pub(super) fn wake(&mut self, number: u32, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_woken, true) {
            let delay_ms = context.rng.below(2);
            context.turn_after(delay_ms, Wake::Link(number).encode());
        }
    }

    pub(super) fn woken(&mut self) {
        self.is_woken = false;
    }

    pub(super) fn read(&mut self) -> ReadOutcome {
        let mut scratch = [0; SCRATCH];
        let outcome = self.socket.try_read(&mut scratch);
        if let ReadOutcome::Bytes(n) = outcome {
            self.buffer.extend_from_slice(&scratch[..n]);
        }
        outcome
    }

    /// Drops what has come; returns whether nothing more will.
    fn discard(&mut self) -> bool {
        loop {
            self.buffer.clear();
            match self.read() {
                ReadOutcome::Bytes(_) => {}
                ReadOutcome::Empty => return false,
                ReadOutcome::End | ReadOutcome::Reset => return true,
            }
        }
    }
}
