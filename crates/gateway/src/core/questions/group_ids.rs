//! GET_GROUP_ID_LIST: every group that has a member, in the order in which they came to be.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};

use super::Gather;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct GroupIds;

impl Gather for GroupIds {
    type Part = Vec<(u64, Bytes)>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Self::Part {
        table.groups().map(|(created, name)| (created, name.clone())).collect()
    }

    fn whole(&self, parts: Vec<Self::Part>) -> Bytes {
        let mut groups = parts.concat();
        groups.sort_unstable();
        // One that several shards have members of came to be when the first did.
        let mut keys = Array::with_capacity(groups.len());
        for (_, group) in groups {
            keys.insert(Key::from_bytes(&group), Value::Null);
        }
        php::serialize(&Array::list(keys.keys().map(key_value)).into()).into()
    }
}

/// What `array_keys` makes of a key.
fn key_value(key: &Key) -> Value {
    match key {
        Key::Int(n) => Value::Int(*n),
        Key::String(bytes) => Value::String(bytes.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_digits_is_an_int_among_the_group_ids_and_stands_once() {
        let parts = vec![vec![(5, "7".into()), (2, "room".into())], vec![(1, "07".into()), (9, "7".into())]];
        assert_eq!(GroupIds.whole(parts), r#"a:3:{i:0;s:2:"07";i:1;s:4:"room";i:2;i:7;}"#);
    }
}
