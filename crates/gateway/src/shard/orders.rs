//! What commands do to a shard's clients.
//!
//! An order takes effect at once, which for a message means: it is queued at
//! its receivers. They are written to at the end of the turn.

use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, CloseReason, may_close_with, php};
use tracing::{debug, warn};

use super::table::{Client, Key};
use super::{Shard, State};
use crate::config::SlowConsumer;
use crate::order::Order;
use crate::outbox::Flushed;
use crate::outgoing::Outgoing;

impl Shard {
    /// Carries out a link's orders, in order.
    pub(crate) fn obey(self: &Rc<Self>, orders: impl IntoIterator<Item = Order>) {
        let mut state = self.state.borrow_mut();
        for order in orders {
            self.obey_one(&mut state, order);
        }
        self.close_doomed(&mut state);
        self.flush_later();
    }

    fn obey_one(self: &Rc<Self>, state: &mut State, order: Order) {
        match order {
            Order::SendToOne(id, message) => {
                if let Some(key) = state.table.key_of(id) {
                    let encode = |client: &Client| client.door.encode_only(message);
                    self.enqueue(state, key, Turn::Urgent, Reach::Itself, encode);
                }
            }
            Order::SendToSome(ids, message) => {
                let keys: Vec<Key> = ids.into_iter().filter_map(|id| state.table.key_of(id)).collect();
                self.send_to_many(state, keys, Reach::Itself, &[], &message);
            }
            Order::SendToAll { except, message } => {
                let keys: Vec<Key> = state.table.all().collect();
                self.send_to_many(state, keys, Reach::Others, &except, &message);
            }
            Order::SendToUids(uids, message) => {
                for uid in uids.iter() {
                    let keys: Vec<Key> = state.table.uid(uid).collect();
                    self.send_to_many(state, keys, Reach::Others, &[], &message);
                }
            }
            Order::SendToGroups { groups, except, message } => {
                for group in groups.iter() {
                    let keys: Vec<Key> = state.table.group(group).collect();
                    self.send_to_many(state, keys, Reach::Others, &except, &message);
                }
            }
            Order::Kick(id, message, code) => self.kick(state, id, message.as_deref(), code),
            Order::Admit(id) => self.admit(state, id),
            Order::Destroy(id) => {
                if let Some(key) = state.table.key_of(id) {
                    self.close_in(state, key, CloseReason::Destroyed, None);
                }
            }
            Order::SetSession(id, session) => self.set_session(state, id, &session),
            Order::UpdateSession(id, update) => self.update_session(state, id, &update),
            Order::BindUid { connection_id, uid, joined } => {
                state.table.bind_uid(connection_id, &uid, joined)
            }
            Order::UnbindUid(id) => state.table.unbind_uid(id),
            Order::JoinGroup { connection_id, group, joined } => {
                state.table.join_group(connection_id, &group, joined);
            }
            Order::LeaveGroup(id, group) => state.table.leave_group(id, &group),
            Order::Ungroup(group) => state.table.ungroup(&group),
        }
    }

    fn send_to_many(
        &self,
        state: &mut State,
        keys: Vec<Key>,
        reach: Reach,
        except: &[u32],
        message: &Outgoing,
    ) {
        for key in keys {
            if except.binary_search(&key.connection_id()).is_err() {
                self.enqueue(state, key, Turn::Bulk, reach, |client| client.door.encode(message));
            }
        }
    }

    fn kick(self: &Rc<Self>, state: &mut State, id: u32, message: Option<&Outgoing>, refused: Option<u16>) {
        let Some(key) = state.table.key_of(id) else { return };
        let Some(client) = state.table.get(key) else { return };
        // Its last words are not held against it, however much waits before them.
        let mut last = message.map(|message| client.door.encode(message).to_vec()).unwrap_or_default();
        let (reason, code) = match refused {
            None => (CloseReason::Kicked, 1000),
            Some(code) if may_close_with(code) => (CloseReason::Refused, code),
            Some(_) => (CloseReason::Refused, 1008),
        };
        last.extend_from_slice(&client.door.close_frame(code, "").unwrap_or_default());
        self.close_in(state, key, reason, Some(last.into()));
    }

    fn set_session(&self, state: &mut State, id: u32, session: &[u8]) {
        let Some(client) = state.table.by_id(id) else { return };
        let limit = self.shared.config.max_session_bytes;
        if session.len() > limit {
            let (client, bytes) = (ClientId::new(self.shared.address, id), session.len());
            return self.shared.logs.session_not_stored.log(move |times| {
                warn!(%client, bytes, limit, times, "a session over max_session_bytes was not stored");
            });
        }
        // A copy of its own, not a slice of the buffer that the command came in.
        client.session = Bytes::copy_from_slice(session);
    }

    fn update_session(&self, state: &mut State, id: u32, update: &[u8]) {
        let Some(client) = state.table.by_id(id) else { return };
        match php::merge_sessions(&client.session, update, self.shared.config.max_session_bytes) {
            Ok(merged) => self.set_session(state, id, &merged),
            Err(error) => {
                let (client, error) = (ClientId::new(self.shared.address, id), error.to_string());
                self.shared.logs.session_not_stored.log(move |times| {
                    warn!(%client, error, times, "a session that cannot be merged was left as it was");
                });
            }
        }
    }

    /// Sends a frame that no worker asked for: a pong, a heartbeat.
    pub(crate) fn send_frame(self: &Rc<Self>, key: Key, frame: Bytes) {
        let mut state = self.state.borrow_mut();
        self.send_frame_in(&mut state, key, frame);
        self.close_doomed(&mut state);
        self.flush_later();
    }

    pub(super) fn send_frame_in(&self, state: &mut State, key: Key, frame: Bytes) {
        self.enqueue(state, key, Turn::Bulk, Reach::Itself, |_| frame);
    }

    /// Queues a frame at a client, and the client for its turn to be flushed, or to
    /// be closed if it does not read.
    pub(super) fn enqueue(
        &self,
        state: &mut State,
        key: Key,
        turn: Turn,
        reach: Reach,
        frame: impl FnOnce(&Client) -> Bytes,
    ) {
        let Some(client) = state.table.get(key) else { return };
        if client.is_undecided() && reach == Reach::Others {
            return self.hold_back(state, key, frame);
        }
        let frame = frame(client);
        match queue(client, frame, self.shared.outbox_budget, &mut state.blocked_bytes) {
            Queued::Waiting => match (client.turn, turn) {
                (None, Turn::Bulk) => state.bulk.push_back(key),
                // It may be in line for its slice already, and then stays there for nothing.
                (None | Some(Turn::Bulk), Turn::Urgent) => state.urgent.push(key),
                (Some(_), _) => return,
            },
            Queued::Elsewhere => return,
            Queued::TooSlow => return state.doomed.push((key, CloseReason::SlowConsumer)),
        }
        client.turn = Some(turn);
    }

    pub(super) fn close_doomed(self: &Rc<Self>, state: &mut State) {
        for (key, reason) in std::mem::take(&mut state.doomed) {
            let Some(client) = state.table.get(key) else { continue };
            let last = client.door.close_frame(1008, reason.as_str());
            self.close_in(state, key, reason, last);
        }
    }
}

/// When a client is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// First: it was sent something of its own.
    Urgent,
    /// In a slice: so were many.
    Bulk,
}

/// Whom a message is for: when a client gets it that is not admitted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This client: at once.
    Itself,
    /// Everybody, a group, a uid: once it is in.
    Others,
}

/// What became of a frame for a client.
enum Queued {
    /// It is queued, and the client has to be flushed.
    Waiting,
    /// Its socket is full, and another task sees to it; or it was dropped as configured.
    Elsewhere,
    /// The client does not read, and has to go.
    TooSlow,
}

fn queue(client: &mut Client, frame: Bytes, budget: usize, blocked_bytes: &mut usize) -> Queued {
    let fits = |client: &Client, blocked_bytes: usize| {
        // A single frame over the limit still goes out, as in the original.
        client.outbox.is_empty()
            || (client.outbox.bytes() + frame.len() <= client.door.outbox_bytes
                && !(client.blocked.is_some() && blocked_bytes + frame.len() > budget))
    };
    if !fits(client, *blocked_bytes) {
        // It is slow only if its socket is full: perhaps much came in one turn.
        if client.blocked.is_none() && client.outbox.flush(&client.socket) == Flushed::Broken {
            return Queued::Elsewhere;
        }
        if !fits(client, *blocked_bytes) {
            return match client.door.slow_consumer {
                SlowConsumer::Close => Queued::TooSlow,
                SlowConsumer::DropNewest => {
                    debug!(
                        client = client.connection_id,
                        bytes = frame.len(),
                        "a message to a slow client was dropped"
                    );
                    Queued::Elsewhere
                }
            };
        }
    }
    let before = client.outbox.bytes();
    client.outbox.push(frame);
    if client.blocked.is_some() {
        *blocked_bytes += client.outbox.bytes() - before;
    }
    if client.blocked.is_some() { Queued::Elsewhere } else { Queued::Waiting }
}
