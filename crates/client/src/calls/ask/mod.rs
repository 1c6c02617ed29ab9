//! The calls that ask gateways something. Each has a file.
//!
//! A call asks the gateway of one client, or every gateway at once. If not all of them answer,
//! the result is an error that carries the answer of the others.

mod are_uids_online;
mod batch_client_count_by_group;
mod batch_client_ids_by_uid;
mod client_count;
mod client_count_by_group;
mod client_counts_of_all_groups;
mod client_ids;
mod client_ids_by_group;
mod client_ids_by_uid;
mod client_ids_of_all_groups;
mod group_ids;
mod history_last;
mod history_since;
mod is_online;
mod is_uid_online;
mod presence;
mod qualified_id;
mod select;
mod session;
mod sessions;
mod sessions_by_group;
mod uid_by_client_id;
mod uid_count;
mod uid_count_by_group;
mod uid_counts_of_all_groups;
mod uids;
mod uids_by_group;
mod uids_of_all_groups;

use super::Call;

/// The calls, in the order of `/openapi.json`.
pub(super) const CALLS: &[Call] = &[
    is_online::CALL,
    is_uid_online::CALL,
    are_uids_online::CALL,
    client_ids_by_uid::CALL,
    batch_client_ids_by_uid::CALL,
    uid_by_client_id::CALL,
    qualified_id::CALL,
    client_count::CALL,
    client_count_by_group::CALL,
    batch_client_count_by_group::CALL,
    client_ids::CALL,
    client_ids_by_group::CALL,
    uids::CALL,
    uid_count::CALL,
    uids_by_group::CALL,
    uid_count_by_group::CALL,
    presence::CALL,
    history_last::CALL,
    history_since::CALL,
    group_ids::CALL,
    uids_of_all_groups::CALL,
    uid_counts_of_all_groups::CALL,
    client_ids_of_all_groups::CALL,
    client_counts_of_all_groups::CALL,
    session::CALL,
    sessions::CALL,
    sessions_by_group::CALL,
    select::CALL,
];
