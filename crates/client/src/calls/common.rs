//! The descriptions of params that several calls take.

use super::param_kind::{Kind, Param};

pub(super) const CLIENT_ID: Param = Param::required("client_id", Kind::ClientId, "The client's id");
pub(super) const UID: Param = Param::required("uid", Kind::Uid, "The uid");
/// A uid or several, where the name stays singular, as in the original.
pub(super) const UID_OR_LIST: Param = Param { kind: Kind::Uids, help: "The uid, or a list of them", ..UID };
pub(super) const UIDS: Param = Param::required("uids", Kind::Uids, "The uids, a list or one");
pub(super) const GROUP: Param = Param::required("group", Kind::Group, "The group");
/// A group or several, where the name stays singular, as in the original.
pub(super) const GROUP_OR_LIST: Param =
    Param { kind: Kind::Groups, help: "The group, or a list of them", ..GROUP };
pub(super) const GROUPS: Param = Param::required("groups", Kind::Groups, "The groups, a list or one");
pub(super) const SESSION: Param = Param::required("session", Kind::Session, "Names and values, an object");
pub(super) const EXCEPT: Param =
    Param::optional("except", Kind::ClientIds, "Not these clients, one or a list");

/// Read by `Params::limit`.
pub(super) const LIMIT: Param =
    Param::optional("limit", Kind::Limit, "The most messages: from 1 to 1000, and 100 unless set");

/// Read together with [`MESSAGE_BASE64`] and [`RAW`], by `Params::message`.
pub(super) const MESSAGE: Param = Param::required(
    "message",
    Kind::Message,
    "The message: a string is sent as it is, any other JSON value as its JSON text",
);
pub(super) const MESSAGE_BASE64: Param = Param::optional(
    "message_base64",
    Kind::Base64,
    "The message in bytes, as base64, in place of `message`; it goes out as binary",
);
pub(super) const RAW: Param = Param::optional(
    "raw",
    Kind::Flag,
    "The message is encoded for the client's protocol already (a whole WebSocket frame, say)",
);
/// Read together with [`MESSAGE_BASE64`], by `Params::optional_message`.
pub(super) const LAST_MESSAGE: Param = Param { required: false, help: "A last message", ..MESSAGE };
