//! The numbers of the commands: the `cmd` byte of a frame.
//!
//! They are the original's, from its `GatewayProtocol`, without the prefix `CMD_`; those from 210 to 226
//! are ours. How a command's frame is laid out stands in the file of the command, in
//! [`command`](crate::command) or, where it is answered, in `question`.

#![allow(missing_docs, reason = "the original's names")]

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
/// Ours: sent only to a gateway that lists `admission` among its features.
pub const ADMIT: u8 = 210;
/// Ours, and so are the five below: sent only to a peer that lists `acknowledged-events` among its
/// features. A worker says DONE, ATTACH, RETURN and CLOSED, on its call link; a gateway says ADOPT
/// and FORGET, on the event link.
pub const DONE: u8 = 211;
pub const ATTACH: u8 = 212;
pub const RETURN: u8 = 213;
pub const CLOSED: u8 = 214;
pub const ADOPT: u8 = 215;
pub const FORGET: u8 = 216;
/// Ours: a question about the gateway itself. A PHP gateway does not answer it: it is asked on a connection
/// of its own.
pub const INSPECT: u8 = 217;
/// Ours: a worker says REPORT to a gateway that lists `worker-reports` among its features, which answers with
/// REPORTED. Both go on the event link.
pub const REPORT: u8 = 218;
pub const REPORTED: u8 = 219;
/// Ours: sent, in both directions, only to a peer that lists `channel` among its features.
pub const PUBLISH: u8 = 220;
/// Ours, and so is the one below: a gateway that lists `interest` says INTEREST on an interest link, which answers with
/// INTEREST_REPORT.
pub const INTEREST: u8 = 221;
pub const INTEREST_REPORT: u8 = 222;
/// Ours: a gateway with presence reports it to others, which answer. A PHP gateway does not answer it.
pub const PRESENCE_REPORT: u8 = 223;
/// Ours: the first thing that a gateway says on a connection to another one, for a client of that one which has come back to
/// the first.
pub const RESUME: u8 = 224;
/// Ours, and so is the one below: events of clients that keep their connection over cuts. Only a worker that lists
/// `detached-events` is told them.
pub const ON_DETACHED: u8 = 225;
pub const ON_RESUMED: u8 = 226;
