//! GET_CLIENT_COUNT_BY_GROUP: how many members a group has, or how many clients are admitted.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Value};

use super::Gather;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct Count(pub(super) Option<Bytes>);

impl Gather for Count {
    type Part = usize;

    fn part<P: Ports>(&self, table: &Table<P>) -> usize {
        match &self.0 {
            None => table.admitted_len(),
            Some(group) => table.group(group).len(),
        }
    }

    fn whole(&self, parts: Vec<usize>) -> Bytes {
        php::serialize(&Value::Int(parts.iter().sum::<usize>() as i64)).into()
    }
}
