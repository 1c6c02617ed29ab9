//! The stream of JetStream that keeps what clusters send to each other: one for each prefix. An operator may make it; otherwise the first
//! process does that needs it.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};

use super::MAX_AGE;
use crate::core::Subjects;

/// A stream that this program makes keeps so many bytes; of more, the oldest messages go.
const MAX_BYTES: i64 = 256 * 1024 * 1024;

/// JetStream drops what it is given again within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 60);

/// A stream may keep messages for longer. They are not obeyed any more.
const LONGEST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the stream cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// There is no JetStream.
    #[error(
        "NATS has no JetStream for this user, so nothing is sent to other clusters: start nats-server with -js (jetstream {{ }} in its \
         configuration), or set federation_durable = false"
    )]
    Off,
    /// There is a stream of that name for something else.
    #[error(
        "the stream {name} of JetStream does not keep {subject}: give it that subject, or change federation_prefix"
    )]
    Foreign { name: String, subject: String },
    /// JetStream refuses, or does not answer.
    #[error("the stream {name} of JetStream cannot be used: {error}")]
    Failed { name: String, error: CreateStreamError },
}

/// What a stream takes and keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How old a message in it may be to be obeyed.
    pub(super) max_age: Duration,
    /// How long a message may be, its header included; `None` if only the server has a limit.
    pub(super) max_message_len: Option<usize>,
}

/// Finds the stream, or makes it.
pub(super) async fn open(jetstream: &Context, subjects: &Subjects) -> Result<(Stream, Limits), StreamError> {
    let (name, subject) = (subjects.stream(), subjects.all_durable());
    let config = Config {
        name: name.clone(),
        subjects: vec![subject.clone()],
        description: Some("what clusters of GatewayWorker send to each other".into()),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: 1,
        max_age: MAX_AGE,
        max_bytes: MAX_BYTES,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    };
    let stream = jetstream.get_or_create_stream(config).await.map_err(|error| match error.kind() {
        CreateStreamErrorKind::JetStreamUnavailable => StreamError::Off,
        CreateStreamErrorKind::JetStream(error)
            if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT]
                .contains(&error.error_code()) =>
        {
            StreamError::Off
        }
        _ => StreamError::Failed { name: name.clone(), error },
    })?;
    let config = &stream.cached_info().config;
    let keeps = |kept: &String| {
        *kept == subject
            || kept == ">"
            || kept.strip_suffix('>').is_some_and(|start| subject.starts_with(start))
    };
    if !config.subjects.iter().any(keeps) {
        return Err(StreamError::Foreign { name, subject });
    }
    let max_age = if config.max_age.is_zero() { LONGEST_AGE } else { config.max_age.min(LONGEST_AGE) };
    let max_message_len = usize::try_from(config.max_message_size).ok().filter(|len| *len > 0);
    Ok((stream, Limits { max_age, max_message_len }))
}
