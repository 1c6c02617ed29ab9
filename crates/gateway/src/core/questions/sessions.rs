//! GET_ALL_CLIENT_SESSIONS and GET_CLIENT_SESSIONS_BY_GROUP: sessions by connection id, in the order
//! of connecting or of joining.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Value};

use super::{Gather, id_key, map};
use crate::core::client::Client;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct Sessions {
    /// Of its members only.
    pub(super) group: Option<Bytes>,
}

impl Gather for Sessions {
    type Part = Vec<(u64, u32, Bytes)>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Self::Part {
        match &self.group {
            None => table.admitted().map(|client| row(client.seq, client)).collect(),
            Some(group) => table.group_joined(group).map(|(joined, client)| row(joined, client)).collect(),
        }
    }

    fn whole(&self, parts: Vec<Self::Part>) -> Bytes {
        let mut rows = parts.concat();
        rows.sort_unstable_by_key(|(order, ..)| *order);
        let rows = rows.into_iter().map(|(_, id, session)| (id_key(id), Value::String(session)));
        php::serialize(&map(rows)).into()
    }
}

fn row<P: Ports>(order: u64, client: &Client<P>) -> (u64, u32, Bytes) {
    (order, client.connection_id, Bytes::copy_from_slice(&client.session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_together_answer_in_the_order_of_connecting() {
        let parts = vec![vec![(1, 70, "s1".into()), (4, 10, "".into())], vec![(3, 30, "s3".into())]];
        let expected = r#"a:3:{i:70;s:2:"s1";i:30;s:2:"s3";i:10;s:0:"";}"#;
        assert_eq!(Sessions { group: None }.whole(parts), expected);
    }
}
