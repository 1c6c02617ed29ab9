//! The calls that ask gateways something.

use serde_json::{Map, Value};

use super::answers::{list, lists, object, rows, session, session_or_null, text};
use super::error::whole;
use super::{Call, CallError, Kind, Param, call};

const CLIENT_ID: Param = Param::required("client_id", Kind::ClientId, "The client's id");
const UID: Param = Param::required("uid", Kind::Uid, "The uid");
const UIDS: Param = Param::required("uids", Kind::Uids, "The uids, a list or one");
const GROUP: Param = Param::required("group", Kind::Group, "The group");
const GROUPS: Param = Param::required("groups", Kind::Groups, "The groups, a list or one");

/// The one gateway of a client, or every gateway at once, is asked.
pub(super) const CALLS: &[Call] = &[
    call!(
        "is_online",
        "isOnline",
        "Whether a client is connected.",
        [CLIENT_ID],
        Flag,
        |gateway, mut params| Ok(gateway.is_online(params.client_id("client_id")?).await?.into())
    ),
    call!(
        "is_uid_online",
        "isUidOnline",
        "Whether any client is bound to a uid.",
        [UID],
        Flag,
        |gateway, mut params| whole(gateway.is_uid_online(params.uid("uid")?).await, Value::from)
    ),
    call!(
        "are_uids_online",
        "isUidsOnline",
        "Whether any client is bound to each of these uids.",
        [UIDS],
        FlagByUid,
        |gateway, mut params| {
            whole(gateway.are_uids_online(params.uids("uids")?).await, |online| object(online, Value::from))
        }
    ),
    call!(
        "client_ids_by_uid",
        "getClientIdByUid",
        "The clients that are bound to a uid.",
        [UID],
        ClientIds,
        |gateway, mut params| whole(gateway.client_ids_by_uid(params.uid("uid")?).await, list)
    ),
    call!(
        "batch_client_ids_by_uid",
        "batchGetClientIdByUid",
        "The clients that are bound to each of these uids.",
        [UIDS],
        ClientIdsByUid,
        |gateway, mut params| whole(gateway.batch_client_ids_by_uid(params.uids("uids")?).await, lists)
    ),
    call!(
        "uid_by_client_id",
        "getUidByClientId",
        "The uid that a client is bound to.",
        [CLIENT_ID],
        Uid,
        |gateway, mut params| {
            let uid = gateway.uid_by_client_id(params.client_id("client_id")?).await?;
            Ok(uid.map_or(Value::Null, text))
        }
    ),
    call!("client_count", "getAllClientIdCount", "How many clients there are.", [], Count, |gateway, _| {
        whole(gateway.client_count().await, Value::from)
    }),
    call!(
        "client_count_by_group",
        "getClientIdCountByGroup",
        "How many clients a group has.",
        [GROUP],
        Count,
        |gateway, mut params| whole(gateway.client_count_by_group(params.group("group")?).await, Value::from)
    ),
    call!(
        "batch_client_count_by_group",
        "batchGetClientIdCountByGroup",
        "How many clients each of these groups has.",
        [GROUPS],
        CountByGroup,
        |gateway, mut params| {
            let counts = gateway.batch_client_count_by_group(params.groups("groups")?).await;
            whole(counts, |counts| object(counts, Value::from))
        }
    ),
    call!("client_ids", "getAllClientIdList", "All clients.", [], ClientIds, |gateway, _| {
        whole(gateway.client_ids().await, list)
    }),
    call!(
        "client_ids_by_group",
        "getClientIdListByGroup",
        "A group's members.",
        [GROUP],
        ClientIds,
        |gateway, mut params| whole(gateway.client_ids_by_group(params.group("group")?).await, list)
    ),
    call!(
        "uids",
        "getAllUidList",
        "All uids that any client is bound to, once each.",
        [],
        Uids,
        |gateway, _| whole(gateway.uids().await, list)
    ),
    call!(
        "uid_count",
        "getAllUidCount",
        "How many uids there are that any client is bound to.",
        [],
        Count,
        |gateway, _| whole(gateway.uid_count().await, Value::from)
    ),
    call!(
        "uids_by_group",
        "getUidListByGroup",
        "The uids of a group's members, once each.",
        [GROUP],
        Uids,
        |gateway, mut params| whole(gateway.uids_by_group(params.group("group")?).await, list)
    ),
    call!(
        "uid_count_by_group",
        "getUidCountByGroup",
        "How many uids a group's members have.",
        [GROUP],
        Count,
        |gateway, mut params| whole(gateway.uid_count_by_group(params.group("group")?).await, Value::from)
    ),
    call!("group_ids", "getAllGroupIdList", "All groups with anybody in them.", [], Groups, |gateway, _| {
        whole(gateway.group_ids().await, list)
    }),
    call!(
        "uids_of_all_groups",
        "getAllGroupUidList",
        "Each group's uids, once each.",
        [],
        UidsByGroup,
        |gateway, _| whole(gateway.uids_of_all_groups().await, lists)
    ),
    call!(
        "uid_counts_of_all_groups",
        "getAllGroupUidCount",
        "How many uids each group has.",
        [],
        CountByGroup,
        |gateway, _| {
            whole(gateway.uid_counts_of_all_groups().await, |counts| object(counts, Value::from))
        }
    ),
    call!(
        "client_ids_of_all_groups",
        "getAllGroupClientIdList",
        "Each group's members.",
        [],
        ClientIdsByGroup,
        |gateway, _| whole(gateway.client_ids_of_all_groups().await, lists)
    ),
    call!(
        "client_counts_of_all_groups",
        "getAllGroupClientIdCount",
        "How many members each group has.",
        [],
        CountByGroup,
        |gateway, _| {
            whole(gateway.client_counts_of_all_groups().await, |counts| object(counts, Value::from))
        }
    ),
    call!(
        "session",
        "getSession",
        "A client's session, or null if it is not connected.",
        [CLIENT_ID],
        Session,
        |gateway, mut params| {
            match gateway.session(params.client_id("client_id")?).await? {
                None => Ok(Value::Null),
                Some(data) => {
                    let unreadable = || CallError::BadSession("the session is not UTF-8".into());
                    session(data).ok_or_else(unreadable)
                }
            }
        }
    ),
    call!("sessions", "getAllClientSessions", "Everybody's sessions.", [], Sessions, |gateway, _| {
        whole(gateway.sessions().await, |sessions| object(sessions, session_or_null))
    }),
    call!(
        "sessions_by_group",
        "getClientSessionsByGroup",
        "The sessions of a group's members.",
        [GROUP],
        Sessions,
        |gateway, mut params| {
            let sessions = gateway.sessions_by_group(params.group("group")?).await;
            whole(sessions, |sessions| object(sessions, session_or_null))
        }
    ),
    call!(
        "select",
        "select",
        "What is known of the clients that meet any of some conditions, or of everybody.",
        [
            Param::optional(
                "fields",
                Kind::Fields,
                "What to say of each: `uid`, `groups` and `session`, all three by default"
            ),
            Param::optional(
                "where",
                Kind::Where,
                "An object of conditions, any of `groups`, `uids` and `client_ids`, each one or a list; an empty list is met by nobody"
            )
        ],
        Rows,
        |gateway, mut params| {
            let (fields, clients) = (params.fields("fields")?, params.conditions("where")?);
            match clients {
                Some(clients) => {
                    whole(gateway.select(fields.clone(), clients).await, |found| rows(found, &fields))
                }
                None => Ok(Value::Object(Map::new())),
            }
        }
    ),
];
