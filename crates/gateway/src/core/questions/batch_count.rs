//! BATCH_GET_CLIENT_COUNT_BY_GROUP: the number of members of each of the groups asked for, added
//! up over all shards.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Key, Value};

use super::{Gather, map};
use crate::core::ports::Ports;
use crate::core::table::Table;

/// The names of the groups asked for.
pub(super) struct BatchCount(pub(super) Vec<Bytes>);

impl Gather for BatchCount {
    type Part = Vec<usize>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Vec<usize> {
        self.0.iter().map(|group| table.group(group).len()).collect()
    }

    // One part from each shard, in the order of `self.0`.
    fn whole(&self, parts: Vec<Vec<usize>>) -> Bytes {
        let mut counts = vec![0; self.0.len()];
        for part in &parts {
            counts.iter_mut().zip(part).for_each(|(sum, n)| *sum += n);
        }
        let entries = self.0.iter().zip(counts);
        // As in PHP, a group named by a decimal number becomes an integer key.
        php::serialize(&map(entries.map(|(group, n)| (Key::from_bytes(group), Value::Int(n as i64))))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let question = BatchCount(vec!["a".into(), "7".into()]);
        assert_eq!(question.whole(vec![vec![1, 0], vec![2, 0]]), r#"a:2:{s:1:"a";i:3;i:7;i:0;}"#);
    }

    #[test]
    fn a_group_named_twice_stands_once() {
        let question = BatchCount(vec!["a".into(), "a".into()]);
        assert_eq!(question.whole(vec![vec![1, 1], vec![2, 2]]), r#"a:1:{s:1:"a";i:3;}"#);
    }
}
