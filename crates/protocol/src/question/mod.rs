//! The commands that are answered.
//!
//! [`Question`] has a variant for each. How a question stands in a frame is known only to its file
//! in this folder; `answer` frames what comes back. This file has the enum and picks the file by the
//! number in `cmd`. [`Command`](crate::Command) comes here for every number that is not its own.

mod all_sessions;
mod answer;
mod batch_connections_by_uid;
mod batch_count;
mod connections_by_uid;
mod count;
mod group_ids;
mod inspect;
mod is_online;
mod presence_report;
mod select;
mod session;
mod sessions_by_group;

use bytes::Bytes;

use crate::inspect::InspectRequest;
use crate::presence::PresenceReport;
use crate::{Frame, code};

pub use answer::{frame_answer, parse_answer};
pub use select::{Field, Filter, Select};

/// A question to a gateway. The original's name for it stands in [`code`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether this connection is there. Answer: `1` or `0`.
    IsOnline(u32),
    /// The session of the client with this connection. Answer: null, or the session's bytes as stored.
    Session(u32),
    /// The sessions of all clients. Answer: connection id → session as a string.
    AllSessions,
    /// The sessions of the members of a group. Answer: connection id → session as a string.
    SessionsByGroup(Bytes),
    /// How many members a group has, or how many clients the gateway has where it is `None`.
    /// Answer: a number.
    Count(Option<Bytes>),
    /// How many members each of these groups has. Answer: group → number.
    BatchCount(Vec<Bytes>),
    /// The connections that are bound to a uid. Answer: a list of connection ids.
    ConnectionsByUid(Bytes),
    /// The connections that are bound to each of these uids. Answer: uid → list of connection ids.
    BatchConnectionsByUid(Vec<Bytes>),
    /// Every group that has a member. Answer: a list.
    GroupIds,
    /// Some fields of the clients that a filter lets through; `None` where the question could not
    /// be read. Answer: connection id → field → value.
    Select(Option<Select>),
    /// Ours: a question about the gateway itself. Answer: JSON, an
    /// [`InspectAnswer`](crate::inspect::InspectAnswer). A PHP gateway does not answer it, so nothing may
    /// be asked behind it on the same link.
    Inspect(InspectRequest),
    /// Ours: what another gateway has in presence rooms; `None` where it could not be read. Answer: JSON, a
    /// [`PresenceAnswer`](crate::presence::PresenceAnswer). Only gateways ask it.
    PresenceReport(Option<Box<PresenceReport>>),
}

impl Question {
    /// Reads a frame; `None` where its number is no question's. A question whose ext cannot be read
    /// asks about nothing, as the peer waits for an answer.
    pub(crate) fn decode(frame: Frame) -> Option<Self> {
        Some(match frame.cmd {
            code::IS_ONLINE => is_online::decode(&frame),
            code::GET_SESSION_BY_CLIENT_ID => session::decode(&frame),
            code::GET_ALL_CLIENT_SESSIONS => all_sessions::decode(),
            code::GET_CLIENT_SESSIONS_BY_GROUP => sessions_by_group::decode(frame),
            code::GET_CLIENT_COUNT_BY_GROUP => count::decode(frame),
            code::BATCH_GET_CLIENT_COUNT_BY_GROUP => batch_count::decode(&frame),
            code::GET_CLIENT_ID_BY_UID => connections_by_uid::decode(frame),
            code::BATCH_GET_CLIENT_ID_BY_UID => batch_connections_by_uid::decode(&frame),
            code::GET_GROUP_ID_LIST => group_ids::decode(),
            code::SELECT => select::decode(&frame),
            code::INSPECT => inspect::decode(&frame),
            code::PRESENCE_REPORT => presence_report::decode(&frame),
            _ => return None,
        })
    }

    /// The question's frame.
    pub(crate) fn encode(self) -> Frame {
        match self {
            Self::IsOnline(connection_id) => is_online::encode(connection_id),
            Self::Session(connection_id) => session::encode(connection_id),
            Self::AllSessions => all_sessions::encode(),
            Self::SessionsByGroup(group) => sessions_by_group::encode(group),
            Self::Count(group) => count::encode(group),
            Self::BatchCount(groups) => batch_count::encode(&groups),
            Self::ConnectionsByUid(uid) => connections_by_uid::encode(uid),
            Self::BatchConnectionsByUid(uids) => batch_connections_by_uid::encode(&uids),
            Self::GroupIds => group_ids::encode(),
            Self::Select(select) => select::encode(select),
            Self::Inspect(request) => inspect::encode(&request),
            Self::PresenceReport(report) => presence_report::encode(report.as_deref()),
        }
    }
}
