//! What a frame means.
//!
//! One enum for all commands, in both directions: [`Command::decode`] and
//! [`Command::encode`] are the only places that know which field of a frame
//! holds what. The numbers and the layout are the original's `GatewayProtocol`.

use std::net::SocketAddrV4;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::frame::{FLAG_ASKS, FLAG_BINARY, FLAG_PLAIN, FLAG_RAW};
use crate::question::string_list;
use crate::{Features, Frame, Question, SecretKey, Select, json as lists};

/// The commands' numbers.
pub mod code {
    #![allow(missing_docs, reason = "the original's names, without CMD_")]
    pub const ON_CONNECT: u8 = 1;
    pub const ON_MESSAGE: u8 = 3;
    pub const ON_CLOSE: u8 = 4;
    pub const SEND_TO_ONE: u8 = 5;
    pub const SEND_TO_ALL: u8 = 6;
    pub const KICK: u8 = 7;
    pub const DESTROY: u8 = 8;
    pub const UPDATE_SESSION: u8 = 9;
    pub const GET_ALL_CLIENT_SESSIONS: u8 = 10;
    pub const IS_ONLINE: u8 = 11;
    pub const BIND_UID: u8 = 12;
    pub const UNBIND_UID: u8 = 13;
    pub const SEND_TO_UID: u8 = 14;
    pub const GET_CLIENT_ID_BY_UID: u8 = 15;
    pub const BATCH_GET_CLIENT_ID_BY_UID: u8 = 16;
    pub const JOIN_GROUP: u8 = 20;
    pub const LEAVE_GROUP: u8 = 21;
    pub const SEND_TO_GROUP: u8 = 22;
    pub const GET_CLIENT_SESSIONS_BY_GROUP: u8 = 23;
    pub const GET_CLIENT_COUNT_BY_GROUP: u8 = 24;
    pub const SELECT: u8 = 25;
    pub const GET_GROUP_ID_LIST: u8 = 26;
    pub const UNGROUP: u8 = 27;
    pub const BATCH_GET_CLIENT_COUNT_BY_GROUP: u8 = 28;
    pub const WORKER_CONNECT: u8 = 200;
    pub const PING: u8 = 201;
    pub const GATEWAY_CLIENT_CONNECT: u8 = 202;
    pub const GET_SESSION_BY_CLIENT_ID: u8 = 203;
    pub const SET_SESSION: u8 = 204;
    pub const ON_WEBSOCKET_CONNECT: u8 = 205;
    /// Ours: said only to a gateway that asks for it.
    pub const ADMIT: u8 = 210;
    /// Ours: said only to who knows it, in both directions.
    pub const PUBLISH: u8 = 220;
}

/// Everything that is said on an inner link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A client has come.
    OnConnect {
        /// Who.
        origin: Origin,
        /// Its session; empty where there is none.
        session: Bytes,
    },
    /// A WebSocket client's handshake.
    OnWebSocketConnect {
        /// Who.
        origin: Origin,
        /// Its session.
        session: Bytes,
        /// A serialized PHP array of `get`, `server` and `cookie`.
        handshake: Bytes,
        /// Ours: the client is not in before the worker has said [`Admit`](Command::Admit).
        asks: bool,
    },
    /// A client has said something.
    OnMessage {
        /// Who.
        origin: Origin,
        /// Its session, as it was when the event left the gateway.
        session: Bytes,
        /// What.
        message: Payload,
    },
    /// A client is gone.
    OnClose {
        /// Who.
        origin: Origin,
        /// Its session.
        session: Bytes,
        /// Between our own daemons the reason; empty from and to PHP.
        reason: Bytes,
    },
    /// A sign of life. Between our own daemons it may carry a [`PingBody`](crate::PingBody).
    Ping(Bytes),
    /// The link is a worker's: client events may go to it.
    WorkerConnect(Hello),
    /// The link only calls.
    ClientConnect(Hello),
    /// Send to one client.
    SendToOne {
        /// Its connection.
        to: u32,
        /// What.
        message: Payload,
    },
    /// Send to many.
    SendToAll {
        /// Whom.
        to: Audience,
        /// What.
        message: Payload,
    },
    /// Send to all clients of these uids.
    SendToUid {
        /// The uids.
        uids: Vec<Bytes>,
        /// What.
        message: Payload,
    },
    /// Send to all members of these groups; who is in two gets it twice.
    SendToGroup {
        /// The groups.
        groups: Vec<Bytes>,
        /// Connections that do not get it.
        except: Vec<u32>,
        /// What.
        message: Payload,
    },
    /// Send a last message if there is one, flush, and close.
    Kick {
        /// The connection.
        connection_id: u32,
        /// The last message.
        message: Option<Payload>,
    },
    /// Ours: a client whose handshake the gateway asked about is in.
    Admit(u32),
    /// Ours: it is not. A [`Kick`](Command::Kick) with a close code in its ext, where
    /// the original does not look.
    Refuse {
        /// The connection.
        connection_id: u32,
        /// The last message.
        message: Option<Payload>,
        /// The WebSocket close code.
        code: u16,
    },
    /// Ours: an event between processes. From a worker, to be passed on to all workers
    /// that know it; to them, passed on.
    Publish {
        /// What it is about.
        topic: Bytes,
        /// What it says.
        payload: Bytes,
    },
    /// Close at once.
    Destroy(u32),
    /// Replace a session.
    SetSession {
        /// The connection.
        connection_id: u32,
        /// A serialized PHP array, or nothing.
        session: Bytes,
    },
    /// Merge into a session (PHP's `array_replace_recursive`).
    UpdateSession {
        /// The connection.
        connection_id: u32,
        /// A serialized PHP array.
        session: Bytes,
    },
    /// Bind a client to a uid.
    BindUid {
        /// The connection.
        connection_id: u32,
        /// The uid.
        uid: Bytes,
    },
    /// Undo that. The uid is sent but not looked at.
    UnbindUid {
        /// The connection.
        connection_id: u32,
        /// The uid.
        uid: Bytes,
    },
    /// Put a client into a group.
    JoinGroup {
        /// The connection.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Take it out.
    LeaveGroup {
        /// The connection.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Take everybody out.
    Ungroup(Bytes),
    /// Something that is answered.
    Ask(Question),
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// What the gateway announces.
    pub gateway: SocketAddrV4,
    /// The client's address; ip 0.0.0.0 where it came over IPv6.
    pub client: SocketAddrV4,
    /// The client's connection.
    pub connection_id: u32,
    /// The port that the client connected to.
    pub gateway_port: u16,
}

impl Origin {
    /// A frame that says `cmd` of this client, with nothing in it yet.
    pub fn frame(&self, cmd: u8) -> Frame {
        Frame {
            cmd,
            local_ip: *self.gateway.ip(),
            local_port: self.gateway.port(),
            client_ip: *self.client.ip(),
            client_port: self.client.port(),
            connection_id: self.connection_id,
            gateway_port: self.gateway_port,
            ..Frame::default()
        }
    }

    fn of(frame: &Frame) -> Self {
        Self {
            gateway: SocketAddrV4::new(frame.local_ip, frame.local_port),
            client: SocketAddrV4::new(frame.client_ip, frame.client_port),
            connection_id: frame.connection_id,
            gateway_port: frame.gateway_port,
        }
    }
}

/// A message on its way to or from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub body: Body,
    /// Already encoded for the client's protocol: send as it is.
    pub raw: bool,
    /// Ours: binary, whatever the listener's default is.
    pub binary: bool,
}

/// The body of a [`Payload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A byte string.
    Plain(Bytes),
    /// A serialized PHP value that is no string: WebSocket clients get it as JSON.
    Php(Bytes),
}

impl Payload {
    /// A plain message.
    pub fn plain(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Plain(body.into()), raw: false, binary: false }
    }

    /// What KICK carries where there is no last message.
    fn none() -> Self {
        Self { body: Body::Php(Bytes::from_static(b"N;")), raw: false, binary: false }
    }

    fn of(frame: &Frame) -> Self {
        let body = frame.body.clone();
        let body = if frame.flag & FLAG_PLAIN != 0 { Body::Plain(body) } else { Body::Php(body) };
        Self { body, raw: frame.flag & FLAG_RAW != 0, binary: frame.flag & FLAG_BINARY != 0 }
    }

    fn fill(self, frame: &mut Frame) {
        frame.flag = u8::from(self.raw) * FLAG_RAW + u8::from(self.binary) * FLAG_BINARY;
        match self.body {
            Body::Plain(body) => {
                frame.flag |= FLAG_PLAIN;
                frame.body = body;
            }
            Body::Php(body) => frame.body = body,
        }
    }
}

/// Whom a broadcast reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every client of the gateway.
    Everyone,
    /// These connections.
    Only(Vec<u32>),
    /// Every client but these connections.
    Except(Vec<u32>),
}

/// How a link begins: the JSON body of commands 200 and 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `Name:0`; only workers have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_key: Option<String>,
    /// The shared key. Missing or null, the link is closed, as PHP does it.
    #[serde(default)]
    pub secret_key: Option<SecretKey>,
    /// Ours: what the peer can do beyond the original; `None` where it lists nothing, not even an
    /// empty list. Only a worker with a list is answered. PHP ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
}

/// A whole frame that says nothing we understand. The link is still in step, so
/// it may go on: the original ignores such a frame as well.
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
        /// What.
        what: &'static str,
    },
}

impl Command {
    /// What `frame` says.
    ///
    /// # Errors
    /// When it has an unknown number or unreadable JSON. Questions never fail:
    /// one that cannot be read still has to be answered.
    pub fn decode(frame: Frame) -> Result<Self, CommandError> {
        let cmd = frame.cmd;
        let connection_id = frame.connection_id;
        let json = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes).map_err(|source| CommandError::Json { cmd, source })
        };
        let names = |ext: &[u8]| -> Vec<Bytes> {
            let list = serde_json::from_slice(ext).unwrap_or(Value::Null);
            lists::values(&list).into_iter().filter_map(lists::key).collect()
        };
        let hello = |body: &[u8]| {
            serde_json::from_slice::<Hello>(body).map_err(|source| CommandError::Json { cmd, source })
        };
        Ok(match cmd {
            code::ON_CONNECT => Self::OnConnect { origin: Origin::of(&frame), session: frame.ext },
            code::ON_WEBSOCKET_CONNECT => Self::OnWebSocketConnect {
                origin: Origin::of(&frame),
                session: frame.ext,
                handshake: frame.body,
                asks: frame.flag & FLAG_ASKS != 0,
            },
            code::ON_MESSAGE => Self::OnMessage {
                origin: Origin::of(&frame),
                message: Payload::of(&frame),
                session: frame.ext,
            },
            code::ON_CLOSE => {
                Self::OnClose { origin: Origin::of(&frame), session: frame.ext, reason: frame.body }
            }
            code::PING => Self::Ping(frame.body),
            code::WORKER_CONNECT => Self::WorkerConnect(hello(&frame.body)?),
            code::GATEWAY_CLIENT_CONNECT => Self::ClientConnect(hello(&frame.body)?),
            code::SEND_TO_ONE => Self::SendToOne { to: connection_id, message: Payload::of(&frame) },
            code::SEND_TO_ALL => {
                let to = if frame.ext.is_empty() { Audience::Everyone } else { audience(&json(&frame.ext)?) };
                Self::SendToAll { to, message: Payload::of(&frame) }
            }
            code::SEND_TO_UID => {
                let uids = json(&frame.ext)?;
                let uids = lists::values(&uids).into_iter().filter_map(lists::key).collect();
                Self::SendToUid { uids, message: Payload::of(&frame) }
            }
            code::SEND_TO_GROUP => {
                let ext = json(&frame.ext)?;
                let groups = ext.get("group").ok_or(CommandError::Missing { cmd, what: "group" })?;
                let groups = lists::values(groups).into_iter().filter_map(lists::key).collect();
                let except = ext.get("exclude").map(lists::set_keys).unwrap_or_default();
                Self::SendToGroup { groups, except, message: Payload::of(&frame) }
            }
            code::KICK => {
                let payload = Payload::of(&frame);
                let message = (payload.body != Body::Php(Bytes::from_static(b"N;")))
                    .then_some(Payload { raw: false, ..payload });
                match close_code(&frame.ext) {
                    Some(code) => Self::Refuse { connection_id, message, code },
                    None => Self::Kick { connection_id, message },
                }
            }
            code::ADMIT => Self::Admit(connection_id),
            code::PUBLISH => Self::Publish { topic: frame.ext, payload: frame.body },
            code::DESTROY => Self::Destroy(connection_id),
            code::SET_SESSION => Self::SetSession { connection_id, session: frame.ext },
            code::UPDATE_SESSION => Self::UpdateSession { connection_id, session: frame.ext },
            code::BIND_UID => Self::BindUid { connection_id, uid: frame.ext },
            code::UNBIND_UID => Self::UnbindUid { connection_id, uid: frame.ext },
            code::JOIN_GROUP => Self::JoinGroup { connection_id, group: frame.ext },
            code::LEAVE_GROUP => Self::LeaveGroup { connection_id, group: frame.ext },
            code::UNGROUP => Self::Ungroup(frame.ext),
            code::IS_ONLINE => Self::Ask(Question::IsOnline(connection_id)),
            code::GET_SESSION_BY_CLIENT_ID => Self::Ask(Question::Session(connection_id)),
            code::GET_ALL_CLIENT_SESSIONS => Self::Ask(Question::AllSessions),
            code::GET_CLIENT_SESSIONS_BY_GROUP => Self::Ask(Question::SessionsByGroup(frame.ext)),
            code::GET_CLIENT_COUNT_BY_GROUP => {
                Self::Ask(Question::Count((!frame.ext.is_empty()).then_some(frame.ext)))
            }
            code::BATCH_GET_CLIENT_COUNT_BY_GROUP => Self::Ask(Question::BatchCount(names(&frame.ext))),
            code::GET_CLIENT_ID_BY_UID => Self::Ask(Question::ConnectionsByUid(frame.ext)),
            code::BATCH_GET_CLIENT_ID_BY_UID => Self::Ask(Question::BatchConnectionsByUid(names(&frame.ext))),
            code::GET_GROUP_ID_LIST => Self::Ask(Question::GroupIds),
            code::SELECT => Self::Ask(Question::Select(Select::parse(&frame.ext))),
            other => return Err(CommandError::Unknown(other)),
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
        let plain = |cmd, connection_id, ext| Frame { cmd, connection_id, ext, ..Frame::default() };
        let carrying = |cmd, connection_id, ext, message: Payload| {
            let mut frame = plain(cmd, connection_id, ext);
            message.fill(&mut frame);
            frame
        };
        let hello = |cmd, hello: &Hello| {
            let body = serde_json::to_vec(hello).expect("strings always serialize").into();
            Frame { cmd, body, ..Frame::default() }
        };
        match self {
            Self::OnConnect { origin, session } => Frame { ext: session, ..origin.frame(code::ON_CONNECT) },
            Self::OnWebSocketConnect { origin, session, handshake, asks } => {
                let flag = u8::from(asks) * FLAG_ASKS;
                Frame { ext: session, body: handshake, flag, ..origin.frame(code::ON_WEBSOCKET_CONNECT) }
            }
            Self::OnMessage { origin, session, message } => {
                let mut frame = Frame { ext: session, ..origin.frame(code::ON_MESSAGE) };
                message.fill(&mut frame);
                frame
            }
            Self::OnClose { origin, session, reason } => {
                Frame { ext: session, body: reason, ..origin.frame(code::ON_CLOSE) }
            }
            Self::Ping(body) => Frame { cmd: code::PING, body, ..Frame::default() },
            Self::WorkerConnect(peer) => hello(code::WORKER_CONNECT, &peer),
            Self::ClientConnect(peer) => hello(code::GATEWAY_CLIENT_CONNECT, &peer),
            Self::SendToOne { to, message } => carrying(code::SEND_TO_ONE, to, Bytes::new(), message),
            Self::SendToAll { to, message } => {
                let ext = match to {
                    Audience::Everyone => Bytes::new(),
                    Audience::Only(ids) => json!({ "connections": lists::id_map(&ids) }).to_string().into(),
                    Audience::Except(ids) => json!({ "exclude": lists::id_map(&ids) }).to_string().into(),
                };
                carrying(code::SEND_TO_ALL, 0, ext, message)
            }
            Self::SendToUid { uids, message } => {
                carrying(code::SEND_TO_UID, 0, string_list(&uids).to_string().into(), message)
            }
            Self::SendToGroup { groups, except, message } => {
                let except = if except.is_empty() { Value::Null } else { lists::id_map(&except) };
                let ext = json!({"group": string_list(&groups), "exclude": except}).to_string().into();
                carrying(code::SEND_TO_GROUP, 0, ext, message)
            }
            Self::Kick { connection_id, message } => {
                carrying(code::KICK, connection_id, Bytes::new(), message.unwrap_or_else(Payload::none))
            }
            Self::Refuse { connection_id, message, code } => {
                let ext = json!({ "code": code }).to_string().into();
                carrying(code::KICK, connection_id, ext, message.unwrap_or_else(Payload::none))
            }
            Self::Admit(id) => plain(code::ADMIT, id, Bytes::new()),
            Self::Publish { topic, payload } => Frame { body: payload, ..plain(code::PUBLISH, 0, topic) },
            Self::Destroy(id) => plain(code::DESTROY, id, Bytes::new()),
            Self::SetSession { connection_id, session } => plain(code::SET_SESSION, connection_id, session),
            Self::UpdateSession { connection_id, session } => {
                plain(code::UPDATE_SESSION, connection_id, session)
            }
            Self::BindUid { connection_id, uid } => plain(code::BIND_UID, connection_id, uid),
            Self::UnbindUid { connection_id, uid } => plain(code::UNBIND_UID, connection_id, uid),
            Self::JoinGroup { connection_id, group } => plain(code::JOIN_GROUP, connection_id, group),
            Self::LeaveGroup { connection_id, group } => plain(code::LEAVE_GROUP, connection_id, group),
            Self::Ungroup(group) => plain(code::UNGROUP, 0, group),
            Self::Ask(question) => match question {
                Question::IsOnline(id) => plain(code::IS_ONLINE, id, Bytes::new()),
                Question::Session(id) => plain(code::GET_SESSION_BY_CLIENT_ID, id, Bytes::new()),
                Question::AllSessions => plain(code::GET_ALL_CLIENT_SESSIONS, 0, Bytes::new()),
                Question::SessionsByGroup(group) => plain(code::GET_CLIENT_SESSIONS_BY_GROUP, 0, group),
                Question::Count(group) => {
                    plain(code::GET_CLIENT_COUNT_BY_GROUP, 0, group.unwrap_or_default())
                }
                Question::BatchCount(groups) => {
                    plain(code::BATCH_GET_CLIENT_COUNT_BY_GROUP, 0, string_list(&groups).to_string().into())
                }
                Question::ConnectionsByUid(uid) => plain(code::GET_CLIENT_ID_BY_UID, 0, uid),
                Question::BatchConnectionsByUid(uids) => {
                    plain(code::BATCH_GET_CLIENT_ID_BY_UID, 0, string_list(&uids).to_string().into())
                }
                Question::GroupIds => plain(code::GET_GROUP_ID_LIST, 0, Bytes::new()),
                Question::Select(select) => {
                    plain(code::SELECT, 0, select.map(|s| s.to_ext()).unwrap_or_default())
                }
            },
        }
    }
}

/// The close code in the ext of a KICK of ours.
fn close_code(ext: &[u8]) -> Option<u16> {
    // The usual one is empty.
    let ext: Value = serde_json::from_slice(ext).ok()?;
    ext.get("code")?.as_u64()?.try_into().ok()
}

/// Whom ext means, as PHP reads it: the values of `connections`, or else the
/// keys of `exclude`.
fn audience(ext: &Value) -> Audience {
    if let Some(connections) = ext.get("connections").filter(|c| !c.is_null()) {
        Audience::Only(lists::values(connections).into_iter().filter_map(lists::connection_id).collect())
    } else {
        match ext.get("exclude").map(lists::set_keys) {
            Some(ids) if !ids.is_empty() => Audience::Except(ids),
            _ => Audience::Everyone,
        }
    }
}
