//! SELECT: some fields of the clients that a filter lets through.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use gatewayworker_protocol::{Field, Filter, Select};

use super::{Gather, id_key, map};
use crate::core::client::Client;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct Selection {
    /// `None` where the question could not be read: it lets nobody through.
    pub(super) select: Option<Select>,
    /// When the shards' clocks began, in ms since 1970.
    pub(super) clock_start_ms: u64,
}

/// A row of the answer.
#[derive(Debug)]
pub(super) struct Row {
    /// Which of the values asked for let it through, then its place among those.
    order: (u32, u64),
    connection_id: u32,
    uid: Option<Bytes>,
    groups: Option<Vec<(u64, Bytes)>>,
    session: Bytes,
    /// Where it was asked for.
    presence: Option<Arc<str>>,
    detached_since_ms: Option<u64>,
}

impl Gather for Selection {
    type Part = Vec<Row>;

    fn part<P: Ports>(&self, table: &Table<P>) -> Vec<Row> {
        self.select.as_ref().map(|select| rows(table, select)).unwrap_or_default()
    }

    fn whole(&self, parts: Vec<Vec<Row>>) -> Bytes {
        let fields = self.select.as_ref().map_or(&[][..], |select| &select.fields);
        let mut rows: Vec<Row> = parts.into_iter().flatten().collect();
        rows.sort_unstable_by_key(|row| row.order);
        let rows = rows
            .into_iter()
            .map(|row| (id_key(row.connection_id), columns(fields, row, self.clock_start_ms)));
        php::serialize(&map(rows)).into()
    }
}

fn rows<P: Ports>(table: &Table<P>, select: &Select) -> Vec<Row> {
    let shows_presence = select.fields.contains(&Field::Presence);
    if select.filters.is_empty() {
        // PHP makes the rows with the fields, so there is none without any.
        if select.fields.is_empty() {
            return Vec::new();
        }
        return table.admitted().map(|client| row(table, client, (0, client.seq), shows_presence)).collect();
    }
    let mut seen = HashSet::with_hasher(RandomState::default());
    let mut rows = Vec::new();
    let mut place = 0;
    let mut take = |place: u32, order: u64, client: &Client<P>| {
        // A client that is not admitted yet is not shown to others.
        let is_shown = !(shows_presence && client.is_pending());
        if is_shown && seen.insert(client.connection_id) {
            rows.push(row(table, client, (place, order), shows_presence));
        }
    };
    for filter in &select.filters {
        match filter {
            Filter::Groups(groups) => {
                for group in groups {
                    place += 1;
                    table.group_joined(group).for_each(|(joined, client)| take(place, joined, client));
                }
            }
            Filter::Uids(uids) => {
                for uid in uids {
                    place += 1;
                    table.uid_joined(uid).for_each(|(bound, client)| take(place, bound, client));
                }
            }
            Filter::Connections(ids) => {
                for id in ids {
                    place += 1;
                    if let Some(client) = table.client(*id) {
                        take(place, 0, client);
                    }
                }
            }
        }
    }
    rows
}

fn row<P: Ports>(table: &Table<P>, client: &Client<P>, order: (u32, u64), shows_presence: bool) -> Row {
    Row {
        order,
        connection_id: client.connection_id,
        uid: table.uid_of(client),
        groups: table.groups_of(client),
        session: Bytes::copy_from_slice(&client.session),
        detached_since_ms: client.resumable.as_ref().and_then(|known| known.detached_since_ms()),
        presence: shows_presence.then(|| table.presence_of(client)).flatten(),
    }
}

fn columns(fields: &[Field], row: Row, clock_start_ms: u64) -> Value {
    let mut columns = Array::with_capacity(fields.len());
    for field in fields {
        let value = match field {
            Field::Uid => row.uid.clone().map_or(Value::Null, Value::String),
            Field::Session => Value::String(row.session.clone()),
            Field::Groups => row.groups.clone().map_or(Value::Null, |mut groups| {
                groups.sort_unstable();
                map(groups.into_iter().map(|(_, group)| (Key::from_bytes(&group), Value::String(group))))
            }),
            Field::Presence => {
                let data = row.presence.as_ref().map(|data| Bytes::copy_from_slice(data.as_bytes()));
                data.map_or(Value::Null, Value::String)
            }
            Field::DetachedSince => row
                .detached_since_ms
                .map_or(Value::Null, |since_ms| Value::Int(((clock_start_ms + since_ms) / 1000) as i64)),
            Field::Other(_) => Value::Null,
        };
        columns.insert(Key::from_bytes(field.key().as_bytes()), value);
    }
    columns.into()
}
