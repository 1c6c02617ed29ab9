//! SELECT: some fields of the clients that a filter lets through. Ext is JSON,
//! `{"fields":["uid"],"where":{"groups":["a"]}}`; the answer maps connection ids to fields.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Question;
use crate::{Frame, GroupId, Uid, code, json as lists};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::Select(Select::parse(&frame.ext))
}

pub(super) fn encode(select: Option<Select>) -> Frame {
    let ext = select.map(|select| select.to_ext()).unwrap_or_default();
    Frame { cmd: code::SELECT, ext, ..Frame::default() }
}

/// A selection of clients, and the fields wanted of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// In the order of asking.
    pub fields: Vec<Field>,
    /// A client is selected that any of them lets through; an empty list selects all clients.
    pub filters: Vec<Filter>,
}

/// A column of an answer to [`Select`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The uid, or null.
    Uid,
    /// The groups (group → group), or null for a client that never was in one.
    Groups,
    /// The session, as a string.
    Session,
    /// Ours: what others see of the client in presence rooms, a JSON object as text. Other gateways leave it out, or
    /// answer it with null.
    Presence,
    /// Ours: since when the client's connection has been cut, where it may come back, in seconds since 1970; null while it is
    /// connected. Other gateways leave it out, or answer it with null.
    DetachedSince,
    /// A name that is no field's; it is answered with null.
    Other(String),
}

/// A condition that cannot be read: it lets no client through, rather than all.
const NOBODY: Filter = Filter::Connections(Vec::new());

/// One condition of a [`Select`]: any of the listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// In one of these groups.
    Groups(Vec<Bytes>),
    /// Bound to one of these uids.
    Uids(Vec<Bytes>),
    /// One of these connections.
    Connections(Vec<u32>),
}

impl Field {
    fn from_name(name: &str) -> Self {
        match name {
            "uid" => Self::Uid,
            "groups" => Self::Groups,
            "session" => Self::Session,
            "presence" => Self::Presence,
            "detached_since" => Self::DetachedSince,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name of the field, in the question and in the answer.
    pub fn key(&self) -> &str {
        match self {
            Self::Uid => "uid",
            Self::Groups => "groups",
            Self::Session => "session",
            Self::Presence => "presence",
            Self::DetachedSince => "detached_since",
            Self::Other(name) => name,
        }
    }
}

impl Filter {
    /// Clients in one of `groups`.
    pub fn groups<'a>(groups: impl IntoIterator<Item = &'a GroupId>) -> Self {
        Self::Groups(groups.into_iter().map(|g| g.as_bytes().clone()).collect())
    }

    /// Clients bound to one of `uids`.
    pub fn uids<'a>(uids: impl IntoIterator<Item = &'a Uid>) -> Self {
        Self::Uids(uids.into_iter().map(|u| u.as_bytes().clone()).collect())
    }
}

impl Select {
    /// Reads ext; `None` where it is no JSON, which PHP answers with nothing.
    fn parse(ext: &[u8]) -> Option<Self> {
        let ext: Value = serde_json::from_slice(ext).ok()?;
        let names = ext.get("fields").map(lists::values).unwrap_or_default();
        let field = |name| Some(Field::from_name(std::str::from_utf8(&lists::key(name)?).ok()?));
        let fields = names.into_iter().filter_map(field).collect();
        let filters = match ext.get("where").filter(|conditions| lists::is_truthy(conditions)) {
            None => Vec::new(),
            Some(Value::Object(conditions)) => conditions.iter().map(Self::filter).collect(),
            Some(_) => vec![NOBODY],
        };
        Some(Self { fields, filters })
    }

    fn filter((name, listed): (&String, &Value)) -> Filter {
        match name.as_str() {
            "groups" => Filter::Groups(lists::names(listed)),
            "uid" => Filter::Uids(lists::names(listed)),
            "connection_id" => Filter::Connections(lists::connection_ids(listed)),
            _ => NOBODY,
        }
    }

    fn to_ext(&self) -> Bytes {
        let fields: Vec<_> = self.fields.iter().map(Field::key).collect();
        let conditions: serde_json::Map<_, _> = self
            .filters
            .iter()
            .map(|filter| match filter {
                Filter::Groups(groups) => ("groups".into(), lists::name_list(groups)),
                Filter::Uids(uids) => ("uid".into(), lists::name_list(uids)),
                Filter::Connections(ids) => ("connection_id".into(), lists::id_map(ids)),
            })
            .collect();
        // PHP's empty array is a list.
        let conditions = if conditions.is_empty() { json!([]) } else { conditions.into() };
        json!({"fields": fields, "where": conditions}).to_string().into()
    }
}
