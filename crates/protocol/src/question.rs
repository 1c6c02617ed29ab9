//! The commands that are answered.
//!
//! An answer is a 4-byte length and that many bytes of a PHP-serialized value:
//! no header and no id, so that answers stand on a link in the order of asking.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::{FrameError, GroupId, Uid, json as lists};

/// What a gateway can be asked. The names of the original's commands stand in
/// the numbers of [`Command`](crate::Command).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Is this connection there? Answer: `1` or `0`.
    IsOnline(u32),
    /// A client's session. Answer: null, or the session's bytes as stored.
    Session(u32),
    /// Everybody's sessions. Answer: connection id → session as a string.
    AllSessions,
    /// The same of a group.
    SessionsByGroup(Bytes),
    /// How many clients a group has, or all together where it is `None`.
    Count(Option<Bytes>),
    /// How many clients each of these groups has. Answer: group → number.
    BatchCount(Vec<Bytes>),
    /// Which connections a uid is bound to. Answer: a list.
    ConnectionsByUid(Bytes),
    /// The same for several. Answer: uid → list.
    BatchConnectionsByUid(Vec<Bytes>),
    /// All groups with anybody in them. Answer: a list.
    GroupIds,
    /// What is known of the clients that a filter lets through, or nothing where
    /// the question could not be read. Answer: connection id → field → value.
    Select(Option<Select>),
}

/// The fields wanted, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// In the order of asking.
    pub fields: Vec<Field>,
    /// Or-ed; an empty list is everybody.
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
    /// A name that means nothing; answered with null.
    Other(String),
}

/// A condition that cannot be met lets nobody through, rather than all.
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
    fn name(&self) -> &str {
        match self {
            Self::Uid => "uid",
            Self::Groups => "groups",
            Self::Session => "session",
            Self::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "uid" => Self::Uid,
            "groups" => Self::Groups,
            "session" => Self::Session,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The column's key in the answer.
    pub fn key(&self) -> &str {
        self.name()
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
    /// Reads the ext of command 25; `None` where PHP answers with nothing.
    pub(crate) fn parse(ext: &[u8]) -> Option<Self> {
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
        let names = || lists::values(listed).into_iter().filter_map(lists::key).collect();
        match name.as_str() {
            "groups" => Filter::Groups(names()),
            "uid" => Filter::Uids(names()),
            "connection_id" => Filter::Connections(
                lists::values(listed).into_iter().filter_map(lists::connection_id).collect(),
            ),
            _ => NOBODY,
        }
    }

    pub(crate) fn to_ext(&self) -> Bytes {
        let fields: Vec<_> = self.fields.iter().map(Field::name).collect();
        let conditions: serde_json::Map<_, _> = self
            .filters
            .iter()
            .map(|filter| match filter {
                Filter::Groups(groups) => ("groups".into(), string_list(groups)),
                Filter::Uids(uids) => ("uid".into(), string_list(uids)),
                Filter::Connections(ids) => ("connection_id".into(), lists::id_map(ids)),
            })
            .collect();
        // PHP's empty array is a list.
        let conditions = if conditions.is_empty() { json!([]) } else { conditions.into() };
        json!({"fields": fields, "where": conditions}).to_string().into()
    }
}

/// A JSON list of names. JSON holds text only: other bytes are replaced, as they
/// could name nobody.
pub(crate) fn string_list(names: &[Bytes]) -> Value {
    names.iter().map(|name| Value::from(String::from_utf8_lossy(name))).collect()
}

/// Puts an answer's length before it.
pub fn frame_answer(value: &[u8], out: &mut BytesMut) {
    out.reserve(4 + value.len());
    out.put_u32(u32::try_from(value.len()).expect("an answer is shorter than 4 GiB"));
    out.put_slice(value);
}

/// Takes the next answer off the front of `buffer`, or nothing when it is not
/// whole yet.
///
/// # Errors
/// When it claims to be longer than `limit` bytes.
pub fn parse_answer(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(len) = buffer.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
        return Ok(None);
    };
    if len as usize > limit {
        return Err(FrameError::TooLong { len, limit });
    }
    if buffer.len() < 4 + len as usize {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(len as usize).freeze()))
}
