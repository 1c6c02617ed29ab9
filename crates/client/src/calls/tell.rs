//! The calls that tell gateways something: sends and commands.

use super::error::delivery;
use super::{Call, Kind, Param, call};

const MESSAGE: Param = Param::required(
    "message",
    Kind::Message,
    "The message: a string is sent as it is, any other JSON value as its JSON text",
);
const MESSAGE_BASE64: Param = Param::optional(
    "message_base64",
    Kind::Base64,
    "The message in bytes, as base64, in place of `message`; it goes out as binary",
);
const RAW: Param = Param::optional(
    "raw",
    Kind::Flag,
    "The message is encoded for the client's protocol already (a whole WebSocket frame, say)",
);
const ONLY: Param = Param::optional("only", Kind::ClientIds, "Only these clients, one or a list");
const EXCEPT: Param = Param::optional("except", Kind::ClientIds, "Not these clients, one or a list");
const LAST_MESSAGE: Param = Param { required: false, help: "A last message", ..MESSAGE };
const CLIENT_ID: Param = Param::required("client_id", Kind::ClientId, "The client's id");
const UID: Param = Param::required("uid", Kind::Uid, "The uid");
const GROUP: Param = Param::required("group", Kind::Group, "The group");
const SESSION: Param = Param::required("session", Kind::Session, "Names and values, an object");

/// The one gateway of a client, or every gateway, is told, and nobody answers.
pub(super) const CALLS: &[Call] = &[
    call!(
        "send_to_all",
        "sendToAll",
        "Send a message to every client.",
        [MESSAGE, MESSAGE_BASE64, RAW, ONLY, EXCEPT],
        Delivery,
        |gateway, mut params| {
            let message = params.message()?;
            let (only, except) = (params.client_ids("only")?, params.client_ids("except")?);
            let sending = gateway.send_to_all(message).except(except.unwrap_or_default());
            delivery(match only {
                Some(only) => sending.only(only).await,
                None => sending.await,
            })
        }
    ),
    call!(
        "send_to_client",
        "sendToClient",
        "Send a message to one client.",
        [CLIENT_ID, MESSAGE, MESSAGE_BASE64, RAW],
        Delivery,
        |gateway, mut params| {
            let (id, message) = (params.client_id("client_id")?, params.message()?);
            delivery(gateway.send_to_client(id, message).await)
        }
    ),
    call!(
        "send_to_uid",
        "sendToUid",
        "Send a message to every client that is bound to a uid.",
        [Param { kind: Kind::Uids, help: "The uid, or a list of them", ..UID }, MESSAGE, MESSAGE_BASE64, RAW],
        Delivery,
        |gateway, mut params| {
            let (uids, message) = (params.uids("uid")?, params.message()?);
            delivery(gateway.send_to_uid(uids, message).await)
        }
    ),
    call!(
        "send_to_group",
        "sendToGroup",
        "Send a message to every member of a group.",
        [
            Param { kind: Kind::Groups, help: "The group, or a list of them", ..GROUP },
            MESSAGE,
            MESSAGE_BASE64,
            RAW,
            EXCEPT
        ],
        Delivery,
        |gateway, mut params| {
            let (groups, message) = (params.groups("group")?, params.message()?);
            let except = params.client_ids("except")?.unwrap_or_default();
            delivery(gateway.send_to_group(groups, message).except(except).await)
        }
    ),
    call!(
        "close_client",
        "closeClient",
        "Close a client's connection after what is already on its way to it, and a last message.",
        [CLIENT_ID, LAST_MESSAGE, MESSAGE_BASE64],
        Delivery,
        |gateway, mut params| {
            let id = params.client_id("client_id")?;
            delivery(match params.optional_message()? {
                Some(message) => gateway.close_client(id).last_message(message).await,
                None => gateway.close_client(id).await,
            })
        }
    ),
    call!(
        "destroy_client",
        "destoryClient",
        "Close a client's connection at once, whatever is on its way to it.",
        [CLIENT_ID],
        Delivery,
        |gateway, mut params| delivery(gateway.destroy_client(params.client_id("client_id")?).await)
    ),
    call!(
        "bind_uid",
        "bindUid",
        "Bind a client to a uid, and thereby unbind it from another.",
        [CLIENT_ID, UID],
        Delivery,
        |gateway, mut params| {
            delivery(gateway.bind_uid(params.client_id("client_id")?, params.uid("uid")?).await)
        }
    ),
    call!(
        "unbind_uid",
        "unbindUid",
        "Unbind a client from its uid.",
        [CLIENT_ID, UID],
        Delivery,
        |gateway, mut params| {
            delivery(gateway.unbind_uid(params.client_id("client_id")?, params.uid("uid")?).await)
        }
    ),
    call!(
        "join_group",
        "joinGroup",
        "Put a client into a group.",
        [CLIENT_ID, GROUP],
        Delivery,
        |gateway, mut params| {
            delivery(gateway.join_group(params.client_id("client_id")?, params.group("group")?).await)
        }
    ),
    call!(
        "leave_group",
        "leaveGroup",
        "Take a client out of a group.",
        [CLIENT_ID, GROUP],
        Delivery,
        |gateway, mut params| {
            delivery(gateway.leave_group(params.client_id("client_id")?, params.group("group")?).await)
        }
    ),
    call!(
        "ungroup",
        "ungroup",
        "Take everybody out of a group.",
        [GROUP],
        Delivery,
        |gateway, mut params| delivery(gateway.ungroup(params.group("group")?).await)
    ),
    call!(
        "set_session",
        "setSession",
        "Replace a client's session.",
        [CLIENT_ID, SESSION],
        Delivery,
        |gateway, mut params| {
            let (id, session) = (params.client_id("client_id")?, params.session("session")?);
            delivery(gateway.set_session(id, &session).await)
        }
    ),
    call!(
        "update_session",
        "updateSession",
        "Put values over those in a client's session, arrays within arrays likewise.",
        [CLIENT_ID, SESSION],
        Delivery,
        |gateway, mut params| {
            let (id, session) = (params.client_id("client_id")?, params.session("session")?);
            delivery(gateway.update_session(id, &session).await)
        }
    ),
];
