//! Why something was not kept, not sent or not read.

use gatewayworker_client::IdError;

use crate::{Position, SettingsError};

/// The longest name of a group with a history, in bytes.
pub const MAX_GROUP: usize = 200;

/// Why a message was not kept or sent, or a history not opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL's scheme, here without the rest, which may hold a password, is not known.
    #[error("history.url: {0:?} is none of memory:, redis://… and nats://…")]
    Url(String),
    /// The URL's scheme needs a cargo feature that the program was built without.
    #[error(
        "history.url: {0}:// needs the feature history-{0}, which this program was built without: \
         cargo add gatewayworker --features history-{0}"
    )]
    Feature(&'static str),
    /// A setting cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The group is empty or `"0"`.
    #[error(transparent)]
    Group(#[from] IdError),
    /// The name of the group has more than [`MAX_GROUP`] bytes.
    #[error(
        "the name of the group has {0} bytes: a group with a history has a name of {MAX_GROUP} bytes at most"
    )]
    LongGroup(usize),
    /// The message is longer than `max_message_bytes`.
    #[error("the message has {len} bytes: at most {limit} (history.max_message_bytes)")]
    TooLong {
        /// Its length, in bytes.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The message is encoded already (`raw`), or a PHP value other than a string.
    #[error("a message that is raw, or a PHP value, has no history: publish its text or bytes")]
    Encoded,
    /// Another worker keeps a history in its memory, and opened it before.
    #[error(
        "another worker keeps the history in its memory: give all workers one on a server (history.url redis:// or nats://), \
         or run one worker"
    )]
    SecondWorker,
    /// Too many messages wait to be kept.
    #[error("too many messages wait to be kept: the store is too slow, or away")]
    Busy,
    /// The store does not answer in time. A message may have been kept; it was not sent.
    #[error("the store of the history did not answer in time")]
    TimedOut,
    /// An error of the Redis or NATS client, or an answer that cannot be read. A message may have been kept; it was not sent.
    #[error("the store of the history: {0}")]
    Server(Box<dyn std::error::Error + Send + Sync>),
    /// The message was kept, and not sent. Members find it by `since`.
    #[error("the message was kept at {position}, and not sent: {error}")]
    NotSent {
        /// Where it was kept.
        position: Position,
        /// Why it was not sent.
        error: gatewayworker_client::Error,
    },
    /// The client was not joined, or its gateway does not answer.
    #[error(transparent)]
    Gateway(#[from] gatewayworker_client::Error),
    /// The gateway of the client was not reached, so that the client may not be in the group.
    #[error("the client was not joined: its gateway was not reached ({0})")]
    NotJoined(gatewayworker_client::Unreached),
    /// The function that makes the live message panicked. The message was kept, and not sent.
    #[error("the function that makes the live message panicked")]
    Panicked,
}
