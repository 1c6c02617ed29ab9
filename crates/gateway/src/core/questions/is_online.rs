//! IS_ONLINE: whether a connection is there, admitted or not.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Value};

use super::Gather;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct IsOnline(pub(super) u32);

impl Gather for IsOnline {
    type Part = bool;

    fn connection_id(&self) -> Option<u32> {
        Some(self.0)
    }

    fn part<P: Ports>(&self, table: &Table<P>) -> bool {
        table.contains(self.0)
    }

    fn whole(&self, parts: Vec<bool>) -> Bytes {
        php::serialize(&Value::Int(parts.contains(&true).into())).into()
    }
}
