//! What links ask of shards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Command, Payload, Question};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::answer::Part;
use crate::door::Place;
use crate::outgoing::Outgoing;

/// What a shard finds in its mailbox.
pub(crate) enum Mail {
    /// A connection at a client door.
    Client(std::net::TcpStream, Arrival),
    /// A connection at the inner door.
    Link(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
    /// Commands of one link, in order.
    Orders(Vec<Order>),
    /// A question, answered for the shard's own clients.
    Ask(Arc<Question>, oneshot::Sender<Part>),
    /// Close everybody over so much time, and say when that is done.
    Stop(Duration, oneshot::Sender<()>),
    /// End the shard.
    End,
}

/// A client that has come to a door.
pub(crate) struct Arrival {
    pub(crate) peer: SocketAddr,
    pub(crate) place: Place,
}

/// A command as a shard carries it out: the message made ready once for all
/// shards, joining and binding numbered.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    SendToOne(u32, Payload),
    SendToSome(Vec<u32>, Arc<Outgoing>),
    SendToAll {
        except: Arc<[u32]>,
        message: Arc<Outgoing>,
    },
    SendToUids(Arc<[Bytes]>, Arc<Outgoing>),
    SendToGroups {
        groups: Arc<[Bytes]>,
        except: Arc<[u32]>,
        message: Arc<Outgoing>,
    },
    /// With a close code, the client was refused.
    Kick(u32, Option<Arc<Outgoing>>, Option<u16>),
    Admit(u32),
    Destroy(u32),
    SetSession(u32, Bytes),
    UpdateSession(u32, Bytes),
    BindUid {
        connection_id: u32,
        uid: Bytes,
        joined: u64,
    },
    UnbindUid(u32),
    JoinGroup {
        connection_id: u32,
        group: Bytes,
        joined: u64,
    },
    LeaveGroup(u32, Bytes),
    Ungroup(Bytes),
}

/// Whom an order goes to.
pub(crate) enum Orders {
    /// The shard that has this connection.
    One(u32, Order),
    /// All of them.
    All(Order),
    /// Each shard those of the connections that it has.
    Split(Vec<u32>, Arc<Outgoing>),
}

impl Orders {
    /// What a command asks of the shards, or nothing if it is none of theirs, or
    /// names a uid or group that nobody may have. `number` gives the next number
    /// in the order of joining and binding.
    pub(crate) fn of(command: Command, number: impl FnOnce() -> u64) -> Option<Self> {
        let outgoing = |message| Arc::new(Outgoing::new(message));
        let sorted = |mut ids: Vec<u32>| -> Arc<[u32]> {
            ids.sort_unstable();
            ids.into()
        };
        Some(match command {
            Command::SendToOne { to, message } => Self::One(to, Order::SendToOne(to, message)),
            Command::SendToAll { to: Audience::Only(ids), message } => Self::Split(ids, outgoing(message)),
            Command::SendToAll { to, message } => {
                let except = if let Audience::Except(ids) = to { sorted(ids) } else { Arc::default() };
                Self::All(Order::SendToAll { except, message: outgoing(message) })
            }
            Command::SendToUid { uids, message } => {
                Self::All(Order::SendToUids(uids.into(), outgoing(message)))
            }
            Command::SendToGroup { groups, except, message } => Self::All(Order::SendToGroups {
                groups: groups.into(),
                except: sorted(except),
                message: outgoing(message),
            }),
            Command::Kick { connection_id: id, message } => {
                Self::One(id, Order::Kick(id, message.map(outgoing), None))
            }
            Command::Refuse { connection_id: id, message, code } => {
                Self::One(id, Order::Kick(id, message.map(outgoing), Some(code)))
            }
            Command::Admit(id) => Self::One(id, Order::Admit(id)),
            Command::Destroy(id) => Self::One(id, Order::Destroy(id)),
            Command::SetSession { connection_id: id, session } => {
                Self::One(id, Order::SetSession(id, session))
            }
            Command::UpdateSession { connection_id: id, session } => {
                Self::One(id, Order::UpdateSession(id, session))
            }
            Command::BindUid { connection_id, uid } if is_name(&uid) => {
                Self::One(connection_id, Order::BindUid { connection_id, uid, joined: number() })
            }
            Command::UnbindUid { connection_id, .. } => {
                Self::One(connection_id, Order::UnbindUid(connection_id))
            }
            Command::JoinGroup { connection_id, group } if is_name(&group) => {
                Self::One(connection_id, Order::JoinGroup { connection_id, group, joined: number() })
            }
            Command::LeaveGroup { connection_id, group } => {
                Self::One(connection_id, Order::LeaveGroup(connection_id, group))
            }
            Command::Ungroup(group) => Self::All(Order::Ungroup(group)),
            Command::BindUid { .. }
            | Command::JoinGroup { .. }
            | Command::Ask(_)
            | Command::WorkerConnect(_)
            | Command::ClientConnect(_)
            | Command::Publish { .. }
            | Command::Ping(_)
            | Command::OnConnect { .. }
            | Command::OnWebSocketConnect { .. }
            | Command::OnMessage { .. }
            | Command::OnClose { .. } => return None,
        })
    }
}

/// What PHP does not call empty.
fn is_name(name: &Bytes) -> bool {
    !name.is_empty() && name.as_ref() != b"0"
}
