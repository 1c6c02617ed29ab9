//! What a call may take: the description of its params, not their values.

/// The description of one param of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether the call cannot do without. For a required message, a
    /// `message_base64` will do.
    pub required: bool,
    /// What it means, a sentence.
    pub help: &'static str,
}

/// What a [`Param`] may be.
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
