//! The commands of an inner link: what a frame between a gateway and a worker means.
//!
//! [`Command`] has a variant for each, in both directions. How a command stands in a frame is
//! known only to its file in this folder, which decodes and encodes it; commands that are answered
//! stand in `question`. This file has the enum and picks the file by the number in `cmd`. It moves
//! no bytes over a socket: links read and write [`Frame`]s and come here for their meaning.
//!
//! The numbers and the layouts are those of the original's `GatewayProtocol`.

mod admit;
mod adopt;
mod attach;
mod bind_uid;
mod closed;
mod destroy;
mod done;
mod event_counts;
mod forget;
mod hello;
mod ids;
mod interest;
mod interest_report;
mod join_group;
mod kick;
mod leave_group;
mod on_close;
mod on_connect;
mod on_detached;
mod on_message;
mod on_resumed;
mod on_websocket_connect;
mod origin;
mod payload;
mod ping;
mod publish;
mod report;
mod reported;
mod returned;
mod send_to_all;
mod send_to_group;
mod send_to_one;
mod send_to_uid;
mod set_session;
mod unbind_uid;
mod ungroup;
mod update_session;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::interest::{InterestReport, InterestUpdate};
use crate::{Frame, Question};

pub use crate::code;
pub use done::encode_done;
pub use event_counts::EventCounts;
pub use hello::Hello;
pub use origin::Origin;
pub use payload::{Body, Payload};
pub use send_to_all::Audience;

/// What a frame of an inner link means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A client has connected.
    OnConnect {
        /// The client.
        origin: Origin,
        /// Its session, a serialized PHP array; empty where there is none.
        session: Bytes,
    },
    /// A WebSocket client's handshake.
    OnWebSocketConnect {
        /// The client.
        origin: Origin,
        /// Its session.
        session: Bytes,
        /// A serialized PHP array of `get`, `server` and `cookie`.
        handshake: Bytes,
        /// Ours: whether the gateway waits for [`Admit`](Command::Admit) or
        /// [`Refuse`](Command::Refuse) before the client may go on.
        asks: bool,
    },
    /// A client has sent a message.
    OnMessage {
        /// The client.
        origin: Origin,
        /// Its session, as it was when the event left the gateway.
        session: Bytes,
        /// The message.
        message: Payload,
    },
    /// A client is gone.
    OnClose {
        /// The client.
        origin: Origin,
        /// Its session.
        session: Bytes,
        /// Between our own daemons the name of a [`CloseReason`](crate::CloseReason), perhaps with
        /// a [`ClientCloseFrame`](crate::ClientCloseFrame) behind it; empty from and to PHP.
        reason: Bytes,
    },
    /// Ours: the connection of a client that may come back is cut. The client is there all the same.
    OnDetached {
        /// The client.
        origin: Origin,
        /// Its session.
        session: Bytes,
    },
    /// Ours: such a client has come back. It may come without [`OnDetached`](Command::OnDetached): where the old connection
    /// seemed alive.
    OnResumed {
        /// The client, with its address of now.
        origin: Origin,
        /// Its session.
        session: Bytes,
        /// The new connection's handshake, as in [`OnWebSocketConnect`](Command::OnWebSocketConnect).
        handshake: Bytes,
    },
    /// A sign of life. Between our own daemons it may carry a [`PingBody`](crate::PingBody).
    Ping(Bytes),
    /// The link is a worker's: the gateway may send client events over it.
    WorkerConnect(Hello),
    /// The link is a client library's: it carries commands and questions, no client events.
    ClientConnect(Hello),
    /// Sends to one client.
    SendToOne {
        /// Its connection.
        to: u32,
        /// The message.
        message: Payload,
    },
    /// Sends to many clients.
    SendToAll {
        /// The clients that get it.
        to: Audience,
        /// The message.
        message: Payload,
    },
    /// Sends to all clients of these uids.
    SendToUid {
        /// The uids.
        uids: Vec<Bytes>,
        /// The message.
        message: Payload,
    },
    /// Sends to all members of these groups; a client that is in two of them gets it twice.
    SendToGroup {
        /// The groups.
        groups: Vec<Bytes>,
        /// Connections that do not get it.
        except: Vec<u32>,
        /// The message.
        message: Payload,
    },
    /// Sends a last message if there is one, flushes it, and closes the client.
    Kick {
        /// The connection.
        connection_id: u32,
        /// The last message.
        message: Option<Payload>,
    },
    /// Ours: admits the client with this connection, whose handshake the gateway asked about.
    Admit(u32),
    /// Ours: refuses such a client. A [`Kick`](Command::Kick) with a close code in its ext, where
    /// the original does not look.
    Refuse {
        /// The connection.
        connection_id: u32,
        /// The last message.
        message: Option<Payload>,
        /// The WebSocket close code.
        code: u16,
    },
    /// Ours: makes this call link that of an epoch, which the gateway has named on the event link.
    Attach {
        /// The epoch.
        epoch: u32,
        /// The id of the worker's process, as in its [`Hello`].
        process: u64,
    },
    /// Ours: the worker has handled events. What their handlers said is written.
    Done {
        /// The epoch in which the events came.
        epoch: u32,
        /// How many events, of which clients: the first ones that it has of each.
        counts: EventCounts,
    },
    /// Ours: the worker, which drains, gives back events that it has not finished.
    Return {
        /// The epoch in which the events came.
        epoch: u32,
        /// How many events, of which clients: the last ones that it has of each.
        counts: EventCounts,
        /// The first of them, of each client, may have been handled in part: it is marked as redelivered when it is
        /// given again. The others were not begun.
        is_begun: bool,
    },
    /// Ours: the worker has run `on_close` for the clients with these connections, as it took this
    /// gateway for lost.
    Closed(Vec<u32>),
    /// Ours: a client that another worker had is this worker's from now on.
    Adopt {
        /// The client.
        origin: Origin,
        /// Its session.
        session: Bytes,
    },
    /// Ours: the clients with these connections are the worker's no more, and no handler runs for that.
    Forget(Vec<u32>),
    /// Ours: a gateway tells a subscriber which groups and uids it may have.
    Interest(InterestUpdate),
    /// Ours: a subscriber answers.
    InterestReport(InterestReport),
    /// Ours: an event between workers. A worker sends it to one gateway, which passes it on to all
    /// workers that list `channel` among their features.
    Publish {
        /// The topic.
        topic: Bytes,
        /// The payload, any bytes.
        payload: Bytes,
    },
    /// Ours: what a worker tells a gateway about itself, which answers with [`Reported`](Command::Reported).
    Report {
        /// Counted by the worker on each link.
        number: u32,
        /// The JSON of a [`Report`](crate::report::Report).
        body: Bytes,
    },
    /// Ours: the gateway has read the REPORT with this number.
    Reported(u32),
    /// Closes the client with this connection at once.
    Destroy(u32),
    /// Replaces a session.
    SetSession {
        /// The connection.
        connection_id: u32,
        /// A serialized PHP array, or nothing.
        session: Bytes,
    },
    /// Merges into a session, as PHP's `array_replace_recursive` does.
    UpdateSession {
        /// The connection.
        connection_id: u32,
        /// A serialized PHP array.
        session: Bytes,
    },
    /// Binds a client to a uid.
    BindUid {
        /// The connection.
        connection_id: u32,
        /// The uid.
        uid: Bytes,
    },
    /// Unbinds a client from its uid. The uid is sent but not looked at.
    UnbindUid {
        /// The connection.
        connection_id: u32,
        /// The uid.
        uid: Bytes,
    },
    /// Puts a client into a group.
    JoinGroup {
        /// The connection.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Takes a client out of a group.
    LeaveGroup {
        /// The connection.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Takes every member out of this group.
    Ungroup(Bytes),
    /// Asks a question: the gateway answers it on the same link.
    Ask(Question),
}

/// A whole frame that is no command known here. The next frame can still be read, so the link may
/// go on: the original ignores such a frame as well.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A number that no command has.
    #[error("unknown command {0}")]
    Unknown(u8),
    /// The ext or body of a command is not the JSON it should be.
    #[error("command {cmd}: {source}")]
    Json {
        /// The command.
        cmd: u8,
        /// What is wrong with the JSON.
        source: serde_json::Error,
    },
    /// The ext of a command lacks something.
    #[error("command {cmd}: {what} is missing")]
    Missing {
        /// The command.
        cmd: u8,
        /// The name of the missing key.
        what: &'static str,
    },
}

impl Command {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it has an unknown number or unreadable JSON. Questions never fail:
    /// one that cannot be read still has to be answered.
    pub fn decode(mut frame: Frame) -> Result<Self, CommandError> {
        // By reference, or in parts where it is frequent: moving a whole frame costs as much as decoding it.
        let cmd = frame.cmd;
        Ok(match cmd {
            code::ON_CONNECT => on_connect::decode(&mut frame),
            code::ON_WEBSOCKET_CONNECT => on_websocket_connect::decode(&mut frame),
            code::ON_MESSAGE => on_message::decode(Origin::of(&frame), frame.flag, frame.ext, frame.body),
            code::ON_CLOSE => on_close::decode(&mut frame),
            code::ON_DETACHED => on_detached::decode(&mut frame),
            code::ON_RESUMED => on_resumed::decode(&mut frame),
            code::PING => ping::decode(&mut frame),
            code::WORKER_CONNECT => Self::WorkerConnect(hello::decode(&frame)?),
            code::GATEWAY_CLIENT_CONNECT => Self::ClientConnect(hello::decode(&frame)?),
            code::SEND_TO_ONE => send_to_one::decode(frame.connection_id, frame.flag, frame.body),
            code::SEND_TO_ALL => send_to_all::decode(&mut frame)?,
            code::SEND_TO_UID => send_to_uid::decode(&mut frame)?,
            code::SEND_TO_GROUP => send_to_group::decode(&mut frame)?,
            code::KICK => kick::decode(&mut frame),
            code::ADMIT => admit::decode(&mut frame),
            code::DONE => done::decode(frame.connection_id, &frame.body),
            code::ATTACH => attach::decode(frame.connection_id, &frame.body),
            code::RETURN => returned::decode(frame.connection_id, frame.flag, &frame.body),
            code::CLOSED => closed::decode(&frame.body),
            code::ADOPT => adopt::decode(&mut frame),
            code::FORGET => forget::decode(&frame.body),
            code::PUBLISH => publish::decode(&mut frame),
            code::REPORT => report::decode(&mut frame),
            code::REPORTED => reported::decode(frame.connection_id),
            code::INTEREST => interest::decode(&mut frame)?,
            code::INTEREST_REPORT => interest_report::decode(&frame)?,
            code::DESTROY => destroy::decode(&mut frame),
            code::SET_SESSION => set_session::decode(&mut frame),
            code::UPDATE_SESSION => update_session::decode(&mut frame),
            code::BIND_UID => bind_uid::decode(&mut frame),
            code::UNBIND_UID => unbind_uid::decode(&mut frame),
            code::JOIN_GROUP => join_group::decode(&mut frame),
            code::LEAVE_GROUP => leave_group::decode(&mut frame),
            code::UNGROUP => ungroup::decode(&mut frame),
            _ => Self::Ask(Question::decode(frame).ok_or(CommandError::Unknown(cmd))?),
        })
    }

    /// Appends the command's frame to `out`.
    ///
    /// # Panics
    /// When ext and body together are over 4 GiB; callers keep them under
    /// [`MAX_FRAME_LEN`](crate::MAX_FRAME_LEN).
    pub fn encode(self, out: &mut BytesMut) {
        self.into_frame().encode(out);
    }

    /// The command's frame.
    pub fn into_frame(self) -> Frame {
        match self {
            Self::OnConnect { origin, session } => on_connect::encode(origin, session),
            Self::OnWebSocketConnect { origin, session, handshake, asks } => {
                on_websocket_connect::encode(origin, session, handshake, asks)
            }
            Self::OnMessage { origin, session, message } => on_message::encode(origin, session, message),
            Self::OnClose { origin, session, reason } => on_close::encode(origin, session, reason),
            Self::OnDetached { origin, session } => on_detached::encode(origin, session),
            Self::OnResumed { origin, session, handshake } => on_resumed::encode(origin, session, handshake),
            Self::Ping(body) => ping::encode(body),
            Self::WorkerConnect(hello) => hello::encode(code::WORKER_CONNECT, &hello),
            Self::ClientConnect(hello) => hello::encode(code::GATEWAY_CLIENT_CONNECT, &hello),
            Self::SendToOne { to, message } => send_to_one::encode(to, message),
            Self::SendToAll { to, message } => send_to_all::encode(to, message),
            Self::SendToUid { uids, message } => send_to_uid::encode(&uids, message),
            Self::SendToGroup { groups, except, message } => send_to_group::encode(&groups, &except, message),
            Self::Kick { connection_id, message } => kick::encode(connection_id, message),
            Self::Refuse { connection_id, message, code } => {
                kick::encode_refusal(connection_id, message, code)
            }
            Self::Admit(connection_id) => admit::encode(connection_id),
            Self::Attach { epoch, process } => attach::encode(epoch, process),
            Self::Done { epoch, counts } => done::encode(epoch, &counts),
            Self::Return { epoch, counts, is_begun } => returned::encode(epoch, &counts, is_begun),
            Self::Closed(connection_ids) => closed::encode(&connection_ids),
            Self::Adopt { origin, session } => adopt::encode(origin, session),
            Self::Forget(connection_ids) => forget::encode(&connection_ids),
            Self::Interest(update) => interest::encode(update),
            Self::InterestReport(report) => interest_report::encode(report),
            Self::Publish { topic, payload } => publish::encode(topic, payload),
            Self::Report { number, body } => report::encode(number, body),
            Self::Reported(number) => reported::encode(number),
            Self::Destroy(connection_id) => destroy::encode(connection_id),
            Self::SetSession { connection_id, session } => set_session::encode(connection_id, session),
            Self::UpdateSession { connection_id, session } => update_session::encode(connection_id, session),
            Self::BindUid { connection_id, uid } => bind_uid::encode(connection_id, uid),
            Self::UnbindUid { connection_id, uid } => unbind_uid::encode(connection_id, uid),
            Self::JoinGroup { connection_id, group } => join_group::encode(connection_id, group),
            Self::LeaveGroup { connection_id, group } => leave_group::encode(connection_id, group),
            Self::Ungroup(group) => ungroup::encode(group),
            Self::Ask(question) => question.encode(),
        }
    }
}

/// Reads JSON in the ext of a frame of command `cmd`.
fn read_json(cmd: u8, ext: &[u8]) -> Result<Value, CommandError> {
    serde_json::from_slice(ext).map_err(|source| CommandError::Json { cmd, source })
}
