//! One shard's part of an answer.

use std::collections::HashSet;

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_protocol::{Filter, Question, Select};

use super::table::{Client, Table};
use crate::answer::{Part, Selected};

pub(super) fn answer(table: &Table, question: &Question) -> Part {
    match question {
        Question::IsOnline(id) => Part::Online(table.contains(*id)),
        Question::Session(id) => Part::Session(table.client(*id).map(|client| client.session.clone())),
        Question::AllSessions => {
            Part::Sessions(table.admitted().map(|c| (c.seq, c.connection_id, c.session.clone())).collect())
        }
        Question::SessionsByGroup(group) => Part::Sessions(
            table
                .group_joined(group)
                .map(|(joined, c)| (joined, c.connection_id, c.session.clone()))
                .collect(),
        ),
        Question::Count(None) => Part::Count(table.admitted_len()),
        Question::Count(Some(group)) => Part::Count(table.group(group).len()),
        Question::BatchCount(groups) => {
            Part::Counts(groups.iter().map(|group| table.group(group).len()).collect())
        }
        Question::ConnectionsByUid(uid) => Part::Connections(connections(table, uid)),
        Question::BatchConnectionsByUid(uids) => {
            Part::ConnectionLists(uids.iter().map(|uid| connections(table, uid)).collect())
        }
        Question::GroupIds => {
            Part::Groups(table.groups().map(|(created, name)| (created, name.clone())).collect())
        }
        Question::Select(None) => Part::Selected(Vec::new()),
        Question::Select(Some(select)) => Part::Selected(selected(table, select)),
    }
}

fn connections(table: &Table, uid: &Bytes) -> Vec<(u64, u32)> {
    table.uid_joined(uid).map(|(bound, client)| (bound, client.connection_id)).collect()
}

fn selected(table: &Table, select: &Select) -> Vec<Selected> {
    if select.filters.is_empty() {
        // PHP makes the rows with the fields, so there is none without any.
        if select.fields.is_empty() {
            return Vec::new();
        }
        return table.admitted().map(|client| row(table, client, (0, client.seq))).collect();
    }
    let mut seen = HashSet::with_hasher(RandomState::default());
    let mut rows = Vec::new();
    let mut place = 0;
    let mut take = |place: u32, order: u64, client: &Client| {
        if seen.insert(client.connection_id) {
            rows.push(row(table, client, (place, order)));
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

fn row(table: &Table, client: &Client, order: (u32, u64)) -> Selected {
    Selected {
        order,
        connection_id: client.connection_id,
        uid: table.uid_of(client),
        groups: table.groups_of(client),
        session: client.session.clone(),
    }
}
