//! The calls that tell gateways something: sends and commands. Each has a file.
//!
//! A call goes to the gateway of one client, or to every gateway. A gateway does not answer it:
//! the result names the gateways that were not reached.

mod bind_uid;
mod close_client;
mod close_group;
mod close_uid;
mod destroy_client;
mod join_group;
mod leave_group;
mod publish;
mod send_to_all;
mod send_to_client;
mod send_to_group;
mod send_to_uid;
mod set_session;
mod unbind_uid;
mod ungroup;
mod update_session;

use super::Call;

/// The calls, in the order of `/openapi.json`.
pub(super) const CALLS: &[Call] = &[
    send_to_all::CALL,
    send_to_client::CALL,
    send_to_uid::CALL,
    send_to_group::CALL,
    publish::CALL,
    close_client::CALL,
    close_uid::CALL,
    close_group::CALL,
    destroy_client::CALL,
    bind_uid::CALL,
    unbind_uid::CALL,
    join_group::CALL,
    leave_group::CALL,
    ungroup::CALL,
    set_session::CALL,
    update_session::CALL,
];
