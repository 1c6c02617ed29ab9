//! The question who is in a group: its uids, once each, with what others may see of them.
//!
//! Each gateway is asked for the clients of the group, as by `select.rs`, so it works with gateways of the original too;
//! those show no data. What is said when a uid comes or goes is the gateways' own doing (their setting `presence`).

use gatewayworker_protocol::php::Value;
use gatewayworker_protocol::{Field, GroupId, IdError, Uid};
use indexmap::IndexMap;
use serde_json::Map;

use crate::error::AskResult;
use crate::{ClientId, Gateway, Where, decode};

/// The most uids in an answer.
const MAX_MEMBERS: usize = 10_000;

/// Who is in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The uids with clients in the group, once each: 10,000 at most.
    pub members: Vec<PresentUid>,
    /// How many uids there are. More than the length of `members` where the list was cut.
    pub total: usize,
}

/// A uid that is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresentUid {
    /// The uid.
    pub uid: Uid,
    /// The values that the setting `presence.data` of gateways shows of its session; of the client that joined last, where
    /// it has several. Empty where the setting is not there.
    pub data: Map<String, serde_json::Value>,
}

impl Gateway {
    /// Returns the uids that are in a group, with what others may see of them. Not in the original.
    ///
    /// Clients without a uid, and those that are not admitted yet, are left out. It works for any group; messages when a
    /// uid comes or goes are sent for those groups alone that match `presence.groups` of the gateways.
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn presence(&self, group: impl TryInto<GroupId, Error: Into<IdError>>) -> AskResult<Presence> {
        let group = group.try_into().map_err(Into::into)?;
        let fields = vec![Field::Uid, Field::Presence];
        let rows = self.select_fields(fields, Where::default().with_groups([group]), read_row).await;
        rows.map(presence).map_err(|error| error.map(presence))
    }
}

type Row = Option<PresentUid>;

fn read_row(row: &Value) -> Row {
    let uid = decode::column(row, "uid").and_then(decode::uid)?;
    let data = decode::column(row, "presence").and_then(decode::text);
    let data = data.and_then(|data| serde_json::from_slice(&data).ok()).unwrap_or_default();
    Some(PresentUid { uid, data })
}

fn presence(rows: IndexMap<ClientId, Row>) -> Presence {
    let mut members = IndexMap::new();
    for PresentUid { uid, data } in rows.into_values().flatten() {
        members.insert(uid, data);
    }
    let total = members.len();
    let members = members.into_iter().take(MAX_MEMBERS).map(|(uid, data)| PresentUid { uid, data });
    Presence { members: members.collect(), total }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use gatewayworker_protocol::php;

    use super::*;

    fn row(serialized: &str) -> Row {
        read_row(&php::unserialize(serialized.as_bytes()).unwrap())
    }

    #[test]
    fn a_uid_stands_once_with_the_data_of_its_last_client() {
        let rows = [
            row(r#"a:2:{s:3:"uid";s:3:"ann";s:8:"presence";s:9:"{"n":"a"}";}"#),
            row(r#"a:2:{s:3:"uid";i:7;s:8:"presence";N;}"#),
            // Of a gateway that knows no presence, and one of a client without a uid.
            row(r#"a:1:{s:3:"uid";s:3:"bob";}"#),
            row(r#"a:2:{s:3:"uid";N;s:8:"presence";s:2:"{}";}"#),
            row(r#"a:2:{s:3:"uid";s:3:"ann";s:8:"presence";s:9:"{"n":"b"}";}"#),
        ];
        let gateway = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
        let answer = presence((1..).map(|id| ClientId::new(gateway, id)).zip(rows).collect());
        let members: Vec<_> = answer.members.iter().map(|one| (one.uid.to_string(), &one.data)).collect();
        let named = serde_json::from_str(r#"{"n":"b"}"#).unwrap();
        let empty = Map::new();
        assert_eq!(members, [("ann".into(), &named), ("7".into(), &empty), ("bob".into(), &empty)]);
        assert_eq!(answer.total, 3);
    }

    #[test]
    fn an_answer_is_cut_and_says_how_many_uids_there_are() {
        let gateway = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
        let row = |n: u32| Some(PresentUid { uid: Uid::try_from(n.to_string()).unwrap(), data: Map::new() });
        let answer = presence((1..=10_001).map(|n| (ClientId::new(gateway, n), row(n))).collect());
        assert_eq!((answer.members.len(), answer.total), (10_000, 10_001));
    }
}
