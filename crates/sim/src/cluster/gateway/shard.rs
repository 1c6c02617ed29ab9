//! A shard of a simulated gateway: the real core, the messages that wait for it, and the effects it asks for.
//!
//! It is what `shard/mod.rs` and `shard/ending.rs` of the gateway are. Messages from links on other shards wait for
//! a turn, and so does a flush; all else is an input at once.

use std::collections::VecDeque;
use std::sync::Arc;

use gatewayworker_gateway::internals::{
    Effect, Finished, Flushed, Gone, Isolated, Key, Notice, ShardCommand,
};
use gatewayworker_protocol::CloseReason;

use super::super::ports::{Core, SimConnection, WorkerLink};
use super::{Gateway, Stage, Wake};
use crate::closing::{Closing, flush};
use crate::cluster::observer::Observer;
use crate::model::Context;

/// Messages that wait for a shard before a link that sends one more waits for room.
pub(super) const CHANNEL: usize = 4;

/// Messages that a shard takes in one turn.
const AT_ONCE: usize = 2;

/// What links send to other shards.
pub(super) enum ShardMessage {
    Commands(Vec<ShardCommand>),
    Ask(Box<dyn FnOnce(&Core)>),
    /// A worker drains.
    WorkerDrains(Arc<WorkerLink>),
    /// A worker is gone, and all that has come from it stands before this message.
    WorkerGone(Arc<WorkerLink>, Gone),
    /// The gateway is cut off from everybody: close these clients.
    CloseIsolated(Isolated),
    Unheard(bool),
    /// Close everybody, over so many ms.
    Stop(u64),
}

/// A shard and what waits for it.
pub(super) struct ShardNode {
    pub(super) core: Core,
    pub(super) messages: VecDeque<ShardMessage>,
    flush_is_planned: bool,
    messages_are_planned: bool,
}

impl ShardNode {
    pub(super) fn new(core: Core) -> Self {
        Self { core, messages: VecDeque::new(), flush_is_planned: false, messages_are_planned: false }
    }
}

impl Gateway {
    /// Gives a shard an input, and carries out what it asks for.
    pub(super) fn input<R>(
        &mut self,
        shard: usize,
        observer: &mut Observer,
        context: &mut Context<'_>,
        input: impl FnOnce(&mut Core) -> R,
    ) -> R {
        let result = input(&mut self.shards[shard].core);
        self.carry_out(shard, observer, context);
        result
    }

    /// Carries out what a shard asks for after an input.
    pub(super) fn carry_out(&mut self, shard: usize, observer: &mut Observer, context: &mut Context<'_>) {
        let node = &mut self.shards[shard];
        // The next deadline is looked at after each step in any case.
        let signals = node.core.take_signals();
        if signals.flush && !node.flush_is_planned {
            node.flush_is_planned = true;
            let delay_ms = context.rng.below(2);
            context.turn_after(delay_ms, Wake::Flush(shard).encode());
        }
        while let Some(effect) = self.shards[shard].core.next_effect() {
            match effect {
                Effect::WaitWritable(key) => self.wait_writable(shard, key),
                Effect::Finish(finished) => self.finish(*finished, observer, context),
                Effect::Resume(key) => self.resume_reader(shard, key, context),
                Effect::Log(Notice::EventsMiscounted { client, worker, events }) => {
                    observer.sees("events-are-counted", || {
                        format!("{worker} has finished {events} events of {client} too many")
                    });
                }
                Effect::Log(Notice::Undeliverable { client, command, tries }) => {
                    context.note(|| format!("{command} of {client} is undeliverable after {tries} tries"));
                    observer.is_undeliverable(client, command);
                }
                // No client has a token, no operator reads along here, and no event is sampled.
                Effect::NewToken(..) | Effect::Admitted(_) | Effect::Traced(_) | Effect::Span(_) => {}
                Effect::Log(notice) => context.note(|| format!("{notice:?}")),
            }
        }
    }

    pub(super) fn flush_shard(&mut self, shard: usize, observer: &mut Observer, context: &mut Context<'_>) {
        self.shards[shard].flush_is_planned = false;
        let has_more = self.input(shard, observer, context, Core::flush);
        if has_more && !self.shards[shard].flush_is_planned {
            self.shards[shard].flush_is_planned = true;
            context.turn_after(0, Wake::Flush(shard).encode());
        }
    }

    /// Puts a message into a shard's channel. Who sends has looked at [`has_room`](Self::has_room).
    pub(super) fn send(&mut self, shard: usize, message: ShardMessage, context: &mut Context<'_>) {
        let node = &mut self.shards[shard];
        node.messages.push_back(message);
        if !node.messages_are_planned {
            node.messages_are_planned = true;
            let delay_ms = context.rng.below(4);
            context.turn_after(delay_ms, Wake::Messages(shard).encode());
        }
    }

    pub(super) fn has_room(&self, shard: usize) -> bool {
        self.shards[shard].messages.len() < CHANNEL
    }

    pub(super) fn run_messages(&mut self, shard: usize, observer: &mut Observer, context: &mut Context<'_>) {
        self.shards[shard].messages_are_planned = false;
        for _ in 0..AT_ONCE {
            let Some(message) = self.shards[shard].messages.pop_front() else { break };
            match message {
                ShardMessage::Commands(commands) => {
                    self.input(shard, observer, context, |core| core.execute(commands));
                }
                ShardMessage::Ask(question) => question(&self.shards[shard].core),
                ShardMessage::WorkerDrains(worker) => {
                    self.input(shard, observer, context, |core| core.worker_drains(&worker));
                }
                ShardMessage::WorkerGone(worker, how) => {
                    self.input(shard, observer, context, |core| core.worker_gone(&worker, how));
                }
                ShardMessage::CloseIsolated(which) => {
                    self.input(shard, observer, context, |core| core.close_isolated(which));
                }
                ShardMessage::Unheard(is_unheard) => {
                    self.input(shard, observer, context, |core| core.set_unheard(is_unheard));
                }
                ShardMessage::Stop(spread_ms) => {
                    let now_ms = context.now_ms;
                    let spread = std::time::Duration::from_millis(spread_ms);
                    self.input(shard, observer, context, |core| core.begin_stop(spread, now_ms));
                }
            }
        }
        let node = &mut self.shards[shard];
        if !node.messages.is_empty() {
            node.messages_are_planned = true;
            context.turn_after(0, Wake::Messages(shard).encode());
        }
        self.wake_links(context);
    }

    fn wait_writable(&mut self, shard: usize, key: Key) {
        let Some(connection) = self.shards[shard].core.connection(key) else { return };
        if let Some(client) = self.clients.get_mut(&connection.number)
            && let Stage::Open(open) = &mut client.stage
        {
            open.waits_writable = true;
        }
    }

    /// Ends the connection of a client that is out of the table.
    fn finish(
        &mut self,
        finished: Finished<SimConnection>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let Finished { connection, mut outbox, id, reason, ending, .. } = finished;
        context.note(|| format!("client {id} is let go: {reason}"));
        observer.lets_go(id, reason);
        let is_over = match flush(&connection.socket, &mut outbox) {
            Flushed::Broken => true,
            Flushed::Empty => ending.at_once || ending.has_left,
            Flushed::Blocked => ending.at_once || reason == CloseReason::TimedOut,
        };
        if is_over {
            return self.forget_client(connection.number);
        }
        let is_slow = reason == CloseReason::SlowConsumer;
        let closing = Closing::new(outbox, ending.with_close_frame, is_slow, context.now_ms);
        if let Some(client) = self.clients.get_mut(&connection.number) {
            client.stage = Stage::Closing(closing);
        }
        self.advance_closing(connection.number, context.now_ms);
    }
}
