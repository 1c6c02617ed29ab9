//! GET_CLIENT_ID_BY_UID: the connections of a uid, in the order of binding.

use bytes::Bytes;
use gatewayworker_protocol::php;

use super::{Gather, id_list};
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct ConnectionsByUid(pub(super) Bytes);

impl Gather for ConnectionsByUid {
    type Part = Vec<(u64, u32)>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Self::Part {
        connections(table, &self.0)
    }

    fn whole(&self, parts: Vec<Self::Part>) -> Bytes {
        php::serialize(&id_list(parts.concat())).into()
    }
}

/// The connections of a uid with when each was bound, in no order.
pub(super) fn connections<P: Ports>(table: &Table<P>, uid: &[u8]) -> Vec<(u64, u32)> {
    table.uid_joined(uid).map(|(bound, client)| (bound, client.connection_id)).collect()
}
