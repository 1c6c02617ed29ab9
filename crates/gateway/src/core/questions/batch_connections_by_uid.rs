//! BATCH_GET_CLIENT_ID_BY_UID: the connections of each of some uids.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Key};

use super::connections_by_uid::connections;
use super::{Gather, id_list, map};
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct BatchConnectionsByUid(pub(super) Vec<Bytes>);

impl Gather for BatchConnectionsByUid {
    type Part = Vec<Vec<(u64, u32)>>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Self::Part {
        self.0.iter().map(|uid| connections(table, uid)).collect()
    }

    fn whole(&self, parts: Vec<Self::Part>) -> Bytes {
        let mut lists = vec![Vec::new(); self.0.len()];
        for part in parts {
            lists.iter_mut().zip(part).for_each(|(all, some)| all.extend(some));
        }
        let entries = self.0.iter().zip(lists);
        php::serialize(&map(entries.map(|(uid, list)| (Key::from_bytes(uid), id_list(list))))).into()
    }
}
