//! Clients that have shaken hands and are not in yet.
//!
//! A worker that answers is asked about each handshake. Until it has said that the
//! client may come in, the client gets what is for itself alone; broadcasts, and what
//! its groups and uids get, are held back until it is in, and it is not listed.
//! The wait is bounded: who is not admitted in time is closed, and so is who waits
//! for the word of a worker that has died.
//!
//! What is not here: the door, which has let the client in as far as this.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::FLAG_ASKS;
use gatewayworker_protocol::{CloseReason, Frame};
use tokio::sync::Notify;
use tracing::debug;

use super::events::note;
use super::orders::{Reach, Turn};
use super::table::{Client, Key};
use super::{Shard, State};
use crate::config::SlowConsumer;
use crate::websocket::encode;

/// Who waits, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    /// When each has to be decided about, the first first. Who is decided about stays
    /// as long as somebody stands before.
    waiting: RefCell<VecDeque<(u64, Key)>>,
    /// Somebody stands at the front who did not.
    changed: Notify,
    /// Somebody has been decided about.
    decided: Notify,
}

#[cfg(test)]
impl Admissions {
    /// Makes the admission task panic.
    pub(super) fn harm(&self) {
        std::mem::forget(self.waiting.borrow_mut());
        self.changed.notify_one();
    }
}

impl Shard {
    /// Tells the worker how a client has come, and asks whether it may stay, if that is
    /// a worker that answers.
    pub(super) fn tell_handshake(&self, state: &mut State, key: Key, handshake: &[u8]) {
        let Some(client) = state.table.get(key) else { return };
        let frame = self.origin(client).frame(code::ON_WEBSOCKET_CONNECT);
        let told = self.push(client, |client, link, out| {
            let flag = if link.features.admission { FLAG_ASKS } else { 0 };
            Frame { flag, ..frame.clone() }.encode_with(out, &client.session, handshake);
        });
        if client.worker.features.admission {
            state.table.undecided(key);
            let mut waiting = self.admissions.waiting.borrow_mut();
            match told.is_some() {
                true => waiting.push_back((self.now_ms() + self.shared.config.admission_timeout_ms, key)),
                // There is no worker left to ask.
                false => waiting.push_front((0, key)),
            }
            if waiting.len() == 1 || told.is_none() {
                self.admissions.changed.notify_one();
            }
        }
        if let Some(link) = told {
            note(&mut state.links, link);
        }
    }

    /// A client is in, and gets what was held back.
    pub(super) fn admit(&self, state: &mut State, id: u32) {
        let Some(key) = state.table.key_of(id) else { return };
        let Some(held) = state.table.decided(key) else { return };
        for frame in held.frames {
            self.enqueue(state, key, Turn::Urgent, Reach::Itself, |_| frame);
        }
        self.admissions.decided.notify_waiters();
        self.forget_decided(state);
    }

    /// Keeps a message to many until the client is in.
    pub(super) fn hold_back(&self, state: &mut State, key: Key, frame: impl FnOnce(&Client) -> Bytes) {
        let Some(client) = state.table.get(key) else { return };
        let frame = frame(client);
        if !client.hold(frame) && client.door.slow_consumer == SlowConsumer::Close {
            state.doomed.push((key, CloseReason::SlowConsumer));
        }
    }

    /// Waits until some client is decided about, whichever.
    pub(crate) async fn decision(&self) {
        self.admissions.decided.notified().await;
    }

    pub(super) async fn decide_for_ever(self: Rc<Self>) {
        let mut workers = self.shared.workers.changes();
        loop {
            let until_ms = self.admissions.waiting.borrow().front().map(|(until_ms, _)| *until_ms);
            let left = Duration::from_millis(until_ms.unwrap_or_default().saturating_sub(self.now_ms()));
            tokio::select! {
                () = tokio::time::sleep(left), if until_ms.is_some() => self.close_late(),
                () = self.admissions.changed.notified() => {}
                _ = workers.changed() => self.close_orphans(),
            }
        }
    }

    /// Closes those whose time is over.
    fn close_late(self: &Rc<Self>) {
        let now_ms = self.now_ms();
        loop {
            let next = self.admissions.waiting.borrow().front().copied();
            match next {
                Some((until_ms, key)) if until_ms <= now_ms => {
                    self.admissions.waiting.borrow_mut().pop_front();
                    self.send_away(key, "it was not said in time that you may come in");
                }
                _ => return self.forget_decided(&mut self.state.borrow_mut()),
            }
        }
    }

    /// Closes those whose worker has died: whether they may come in nobody will say.
    fn close_orphans(self: &Rc<Self>) {
        let keys: Vec<Key> = self.admissions.waiting.borrow().iter().map(|(_, key)| *key).collect();
        for key in keys {
            let orphan = {
                let mut state = self.state.borrow_mut();
                state.table.get(key).is_some_and(|client| !client.worker.may_answer())
            };
            if orphan {
                self.send_away(key, "who was to say whether you may come in is gone");
            }
        }
        self.forget_decided(&mut self.state.borrow_mut());
    }

    fn send_away(self: &Rc<Self>, key: Key, why: &str) {
        let undecided = self.state.borrow_mut().table.get(key).is_some_and(|client| client.is_undecided());
        if undecided {
            debug!(client = key.connection_id(), why, "not admitted");
            self.close(key, CloseReason::NotAdmitted, Some(encode::close(Some(1013), why)));
            self.admissions.decided.notify_waiters();
        }
    }

    fn forget_decided(&self, state: &mut State) {
        let mut waiting = self.admissions.waiting.borrow_mut();
        while let Some((_, key)) = waiting.front()
            && !state.table.get(*key).is_some_and(|client| client.is_undecided())
        {
            waiting.pop_front();
        }
        if waiting.is_empty() {
            // There may have been a crowd.
            waiting.shrink_to(64);
        }
    }
}
