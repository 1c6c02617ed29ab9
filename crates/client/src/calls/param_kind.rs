//! The description of a call's params. `params.rs` reads their values.

/// The description of one param of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// The kind of value that it takes.
    pub kind: Kind,
    /// Whether the call needs it. `message_base64` may take the place of a required message.
    pub required: bool,
    /// What it means, as a sentence without its full stop.
    pub help: &'static str,
}

/// The kind of value that a [`Param`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A string, sent as it is, or any other JSON value, sent as its JSON text.
    Message,
    /// Bytes, as base64 in a string, sent as a binary message.
    Base64,
    /// True or false.
    Flag,
    /// A client id: 20 hexadecimal digits in a string.
    ClientId,
    /// A client id or a list of them.
    ClientIds,
    /// A uid: a string or a whole number.
    Uid,
    /// A uid or a list of them.
    Uids,
    /// A group: a string or a whole number.
    Group,
    /// A group or a list of them.
    Groups,
    /// A session: an object.
    Session,
    /// A list of `"uid"`, `"groups"` and `"session"`.
    Fields,
    /// A position in the history of a group, as it was received: `17-5f3a9c0d11223344`.
    Position,
    /// How many, from 1 to 1000: a whole number, or its decimal form.
    Limit,
    /// An object of conditions, any of `groups`, `uids` and `client_ids`.
    Where,
}

impl Param {
    pub(super) const fn required(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: true, help }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: false, help }
    }
}
