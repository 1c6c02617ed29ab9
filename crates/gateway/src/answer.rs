//! Answers to questions: each shard's part, and the whole put together.
//!
//! The whole is what the original would have answered, in its order and with
//! its key types: all connections in the order of connecting, a group's in the
//! order of joining, a uid's in the order of binding.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use gatewayworker_protocol::{Field, Question};

/// What one shard knows. Numbers beside things are their places in the order.
#[derive(Debug)]
pub(crate) enum Part {
    Online(bool),
    Session(Option<Bytes>),
    Sessions(Vec<(u64, u32, Bytes)>),
    Count(usize),
    Counts(Vec<usize>),
    Connections(Vec<(u64, u32)>),
    ConnectionLists(Vec<Vec<(u64, u32)>>),
    Groups(Vec<(u64, Bytes)>),
    Selected(Vec<Selected>),
}

/// A row of an answer to SELECT.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Which of the values asked for let it through, then its place among those.
    pub(crate) order: (u32, u64),
    pub(crate) connection_id: u32,
    pub(crate) uid: Option<Bytes>,
    pub(crate) groups: Option<Vec<(u64, Bytes)>>,
    pub(crate) session: Bytes,
}

/// The serialized answer to `question` from the parts of all shards that were
/// asked.
pub(crate) fn whole(question: &Question, parts: Vec<Part>) -> Bytes {
    // A session goes out as it is stored, serialized already.
    if let Question::Session(_) = question {
        return match first(parts, |part| if let Part::Session(session) = part { session } else { None }) {
            None => Bytes::from_static(b"N;"),
            Some(session) if session.is_empty() || session.as_ref() == b"0" => Bytes::from_static(b"a:0:{}"),
            Some(session) => session,
        };
    }
    php::serialize(&value(question, parts)).into()
}

fn value(question: &Question, parts: Vec<Part>) -> Value {
    match question {
        Question::IsOnline(_) => {
            Value::Int(parts.iter().any(|part| matches!(part, Part::Online(true))).into())
        }
        Question::Session(_) => Value::Null,
        Question::AllSessions | Question::SessionsByGroup(_) => {
            let mut rows =
                collect(parts, |part| if let Part::Sessions(rows) = part { rows } else { Vec::new() });
            rows.sort_unstable_by_key(|(order, ..)| *order);
            map(rows.into_iter().map(|(_, id, session)| (id_key(id), Value::String(session))))
        }
        Question::Count(_) => {
            let counts = parts.iter().map(|part| if let Part::Count(n) = part { *n } else { 0 });
            Value::Int(counts.sum::<usize>() as i64)
        }
        Question::BatchCount(groups) => {
            let mut counts = vec![0; groups.len()];
            for part in &parts {
                let Part::Counts(part) = part else { continue };
                counts.iter_mut().zip(part).for_each(|(sum, n)| *sum += n);
            }
            map(groups.iter().zip(counts).map(|(group, n)| (Key::from_bytes(group), Value::Int(n as i64))))
        }
        Question::ConnectionsByUid(_) => {
            ids(collect(parts, |part| if let Part::Connections(ids) = part { ids } else { Vec::new() }))
        }
        Question::BatchConnectionsByUid(uids) => {
            let mut lists = vec![Vec::new(); uids.len()];
            for part in parts {
                let Part::ConnectionLists(part) = part else { continue };
                lists.iter_mut().zip(part).for_each(|(all, some)| all.extend(some));
            }
            map(uids.iter().zip(lists).map(|(uid, list)| (Key::from_bytes(uid), ids(list))))
        }
        Question::GroupIds => {
            let mut groups =
                collect(parts, |part| if let Part::Groups(groups) = part { groups } else { Vec::new() });
            groups.sort_unstable();
            // One that several shards have members of came to be when the first did.
            let mut keys = Array::with_capacity(groups.len());
            for (_, group) in groups {
                keys.insert(Key::from_bytes(&group), Value::Null);
            }
            Array::list(keys.keys().map(key_value)).into()
        }
        Question::Select(None) => Array::new().into(),
        Question::Select(Some(select)) => {
            let mut rows =
                collect(parts, |part| if let Part::Selected(rows) = part { rows } else { Vec::new() });
            rows.sort_unstable_by_key(|row| row.order);
            map(rows.into_iter().map(|row| (id_key(row.connection_id), columns(&select.fields, row))))
        }
    }
}

fn columns(fields: &[Field], row: Selected) -> Value {
    let mut columns = Array::with_capacity(fields.len());
    for field in fields {
        let value = match field {
            Field::Uid => row.uid.clone().map_or(Value::Null, Value::String),
            Field::Session => Value::String(row.session.clone()),
            Field::Groups => row.groups.clone().map_or(Value::Null, |mut groups| {
                groups.sort_unstable();
                map(groups.into_iter().map(|(_, group)| (Key::from_bytes(&group), Value::String(group))))
            }),
            Field::Other(_) => Value::Null,
        };
        columns.insert(Key::from_bytes(field.key().as_bytes()), value);
    }
    columns.into()
}

fn first<T>(parts: Vec<Part>, pick: impl FnMut(Part) -> Option<T>) -> Option<T> {
    parts.into_iter().find_map(pick)
}

fn collect<T>(parts: Vec<Part>, pick: impl FnMut(Part) -> Vec<T>) -> Vec<T> {
    parts.into_iter().flat_map(pick).collect()
}

fn ids(mut list: Vec<(u64, u32)>) -> Value {
    list.sort_unstable();
    Array::list(list.into_iter().map(|(_, id)| i64::from(id))).into()
}

fn map(entries: impl Iterator<Item = (Key, Value)>) -> Value {
    entries.collect::<Array>().into()
}

fn id_key(id: u32) -> Key {
    Key::Int(id.into())
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

    fn text(question: &Question, parts: Vec<Part>) -> String {
        String::from_utf8(whole(question, parts).to_vec()).unwrap()
    }

    #[test]
    fn shards_together_answer_in_the_order_of_connecting() {
        let parts = vec![
            Part::Sessions(vec![(1, 70, "s1".into()), (4, 10, "".into())]),
            Part::Sessions(vec![(3, 30, "s3".into())]),
        ];
        let expected = r#"a:3:{i:70;s:2:"s1";i:30;s:2:"s3";i:10;s:0:"";}"#;
        assert_eq!(text(&Question::AllSessions, parts), expected);
    }

    #[test]
    fn a_group_of_digits_is_an_int_among_the_group_ids_and_stands_once() {
        let parts = vec![
            Part::Groups(vec![(5, "7".into()), (2, "room".into())]),
            Part::Groups(vec![(1, "07".into()), (9, "7".into())]),
        ];
        assert_eq!(text(&Question::GroupIds, parts), r#"a:3:{i:0;s:2:"07";i:1;s:4:"room";i:2;i:7;}"#);
    }

    #[test]
    fn a_session_tells_offline_from_empty() {
        let question = Question::Session(1);
        assert_eq!(text(&question, vec![Part::Session(None)]), "N;");
        assert_eq!(text(&question, vec![Part::Session(Some(Bytes::new()))]), "a:0:{}");
    }

    #[test]
    fn counts_add_up() {
        let question = Question::BatchCount(vec!["a".into(), "7".into()]);
        let parts = vec![Part::Counts(vec![1, 0]), Part::Counts(vec![2, 0])];
        assert_eq!(text(&question, parts), r#"a:2:{s:1:"a";i:3;i:7;i:0;}"#);
    }
}
