//! What workers' commands do to a shard's clients: one file for each command.
//!
//! A command's file says which shards it goes to (`route`) and what a shard does (`execute`).
//! [`route`] picks the file when a link has read a [`Command`]; the link hands the
//! [`ShardCommand`]s over in their order. A command takes effect at once, which for a message
//! means: it is queued at its receivers, who are written to at the end of the turn (`flush`).
//!
//! A new command: its bytes in `protocol`, a file here, a variant of [`ShardCommand`], and a line
//! in [`route`] and in [`Shard::execute`].

mod admit;
mod bind_uid;
pub(super) mod closed;
mod destroy;
mod done;
mod join_group;
mod kick;
mod leave_group;
mod returned;
pub(super) mod send_to_all;
mod send_to_group;
mod send_to_one;
mod send_to_uid;
mod set_session;
mod unbind_uid;
mod ungroup;
mod update_session;

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, Command};

use super::Shard;
use super::close::Closer;
use super::counters::DeliveryKind;
use super::effects::{Effect, Notice};
use super::flush::Recipients;
use super::membership_limits::MembershipLimit;
use super::outgoing::Outgoing;
use super::ports::Ports;
use super::shared_frames::SharedFrames;
use super::table::Key;

/// A command as a shard executes it: the message is made ready once for all shards, joining and
/// binding are numbered.
#[derive(Debug, Clone)]
pub enum ShardCommand {
    /// See the file of the same name, as for all.
    SendToOne(send_to_one::SendToOne),
    /// Sends to the clients of a list.
    SendToSome(send_to_all::SendToSome),
    /// Sends to everybody.
    SendToAll(send_to_all::SendToAll),
    /// Sends to uids.
    SendToUid(send_to_uid::SendToUid),
    /// Sends to groups.
    SendToGroup(send_to_group::SendToGroup),
    /// Closes a client after a last message.
    Kick(kick::Kick),
    /// Admits a client.
    Admit(admit::Admit),
    /// Closes a client at once.
    Destroy(destroy::Destroy),
    /// Stores a session.
    SetSession(set_session::SetSession),
    /// Merges into a session.
    UpdateSession(update_session::UpdateSession),
    /// Binds a client to a uid.
    BindUid(bind_uid::BindUid),
    /// Unbinds a client from its uid.
    UnbindUid(unbind_uid::UnbindUid),
    /// Puts a client into a group.
    JoinGroup(join_group::JoinGroup),
    /// Takes a client out of a group.
    LeaveGroup(leave_group::LeaveGroup),
    /// Takes everybody out of a group.
    Ungroup(ungroup::Ungroup),
    /// Ends events that a worker has handled.
    Done(done::Done),
    /// Takes back events that a worker has not begun.
    Return(returned::Return),
    /// Closes clients whose `on_close` has run.
    Closed(closed::Closed),
}

/// Which shards a command goes to.
#[derive(Debug)]
pub(super) enum Routed {
    /// The shard that has this connection.
    Connection(u32, ShardCommand),
    /// All shards.
    All(ShardCommand),
    /// Each shard, those of the connections that it has.
    Split(Vec<u32>, Arc<Outgoing>),
    /// Each shard, those of the connections that it has: CLOSED.
    Closed(Vec<u32>),
    /// Each shard, the events of the connections that it has, and their epoch: DONE, RETURN.
    Counts(Vec<(u32, u32)>, u32, fn(u32, Vec<(u32, u32)>) -> ShardCommand),
}

/// Routes a command. Returns `None` where it is none of the shards', or names a uid or group that
/// nobody may have. `caller` is the peer that has sent it; `number` returns the next number in the order of joining and
/// binding.
pub(super) fn route(command: Command, caller: &Closer, number: impl FnOnce() -> u64) -> Option<Routed> {
    match command {
        Command::SendToOne { to, message } => Some(send_to_one::route(to, message)),
        Command::SendToAll { to, message } => Some(send_to_all::route(to, message)),
        Command::SendToUid { uids, message } => Some(send_to_uid::route(uids, message)),
        Command::SendToGroup { groups, except, message } => {
            Some(send_to_group::route(groups, except, message))
        }
        Command::Kick { connection_id, message } => Some(kick::route(connection_id, message, None, caller)),
        Command::Refuse { connection_id, message, code } => {
            Some(kick::route(connection_id, message, Some(code), caller))
        }
        Command::Admit(connection_id) => Some(admit::route(connection_id)),
        Command::Destroy(connection_id) => Some(destroy::route(connection_id, caller)),
        Command::SetSession { connection_id, session } => Some(set_session::route(connection_id, session)),
        Command::UpdateSession { connection_id, session } => {
            Some(update_session::route(connection_id, session))
        }
        Command::BindUid { connection_id, uid } => bind_uid::route(connection_id, uid, number),
        Command::UnbindUid { connection_id, .. } => Some(unbind_uid::route(connection_id)),
        Command::JoinGroup { connection_id, group } => join_group::route(connection_id, group, number),
        Command::LeaveGroup { connection_id, group } => Some(leave_group::route(connection_id, group)),
        Command::Ungroup(group) => Some(ungroup::route(group)),
        Command::Done { epoch, counts } => Some(done::route(epoch, counts)),
        Command::Return { epoch, counts, is_begun } => Some(returned::route(epoch, counts, is_begun)),
        Command::Closed(connection_ids) => Some(closed::route(connection_ids)),
        Command::Ask(_)
        | Command::WorkerConnect(_)
        | Command::ClientConnect(_)
        | Command::Publish { .. }
        | Command::Interest(_)
        | Command::InterestReport(_)
        | Command::Attach { .. }
        | Command::Adopt { .. }
        | Command::Forget(_)
        | Command::Report { .. }
        | Command::Reported(_)
        | Command::Ping(_)
        | Command::OnConnect { .. }
        | Command::OnWebSocketConnect { .. }
        | Command::OnMessage { .. }
        | Command::OnClose { .. }
        | Command::OnDetached { .. }
        | Command::OnResumed { .. } => None,
    }
}

impl<P: Ports> Shard<P> {
    /// Executes a link's commands, in order.
    pub fn execute(&mut self, commands: impl IntoIterator<Item = ShardCommand>) {
        for command in commands {
            self.execute_one(command);
        }
        self.close_pending();
    }

    fn execute_one(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::SendToOne(command) => command.execute(self),
            ShardCommand::SendToSome(command) => command.execute(self),
            ShardCommand::SendToAll(command) => command.execute(self),
            ShardCommand::SendToUid(command) => command.execute(self),
            ShardCommand::SendToGroup(command) => command.execute(self),
            ShardCommand::Kick(command) => command.execute(self),
            ShardCommand::Admit(command) => command.execute(self),
            ShardCommand::Destroy(command) => command.execute(self),
            ShardCommand::SetSession(command) => command.execute(self),
            ShardCommand::UpdateSession(command) => command.execute(self),
            ShardCommand::BindUid(command) => command.execute(self),
            ShardCommand::UnbindUid(command) => command.execute(self),
            ShardCommand::JoinGroup(command) => command.execute(self),
            ShardCommand::LeaveGroup(command) => command.execute(self),
            ShardCommand::Ungroup(command) => command.execute(self),
            ShardCommand::Done(command) => command.execute(self),
            ShardCommand::Return(command) => command.execute(self),
            ShardCommand::Closed(command) => command.execute(self),
        }
    }

    /// Sends to those of `keys` whose connections are not in `except`, which is sorted.
    fn send_to_many(&mut self, kind: DeliveryKind, keys: Vec<Key>, except: &[u32], message: &Outgoing) {
        let recipients = if kind == DeliveryKind::Client { Recipients::One } else { Recipients::Many };
        let shards = self.settings.shards;
        let mut frames = SharedFrames::new(message, &mut self.last_shared, shards, keys.len());
        let mut delivered = 0;
        for key in keys {
            if except.binary_search(&key.connection_id()).is_err() {
                delivered += u64::from(self.enqueue_shared(key, recipients, &mut frames));
            }
        }
        frames.keep(&mut self.last_shared);
        self.settings.counters.count_deliveries(kind, delivered);
        self.effects.signals.broadcast |= delivered > 1;
    }
}

impl<P: Ports> Shard<P> {
    /// Notes a command that was not executed, because its client has as much as it may have.
    fn note_refused(&mut self, connection_id: u32, executed: Result<(), MembershipLimit>) {
        if let Err(limit) = executed {
            let client = ClientId::new(self.settings.address, connection_id);
            self.effects.list.push_back(Effect::Log(Notice::CommandRefused { client, limit }));
        }
    }
}

/// A list of connections that are left out, sorted to be searched.
fn sorted(mut connection_ids: Vec<u32>) -> Arc<[u32]> {
    connection_ids.sort_unstable();
    connection_ids.into()
}

/// Whether a uid or group may have this name: it is none that PHP calls empty.
fn is_name(name: &Bytes) -> bool {
    !name.is_empty() && name.as_ref() != b"0"
}
