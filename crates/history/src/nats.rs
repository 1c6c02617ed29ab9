//! In JetStream of NATS: one stream for all groups, with a subject for each.
//!
//! A message has its offset, epoch and time in headers. Each worker remembers the last message of a group, and publishes the
//! next one with the expectation that nothing has come since (`Nats-Expected-Last-Subject-Sequence`): JetStream checks that
//! and keeps the message in one step. If another worker was quicker, it asks for the last message and tries again. A group
//! without a message begins a new epoch. So does one whose last message is older than the one that this worker has seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::connection::State;
use async_nats::jetstream::consumer::pull::Config as ConsumerConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::{CreateStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_channel::nats_server;
use gatewayworker_protocol::GroupId;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::collected::Collected;
use crate::page::{Contents, Range};
use crate::settings::Limits;
use crate::store::now_ms;
use crate::{Entry, Error, Position, Settings};

/// The stream's name.
const STREAM: &str = "gatewayworker-history";

/// What subjects begin with.
const PREFIX: &str = "gatewayworker.history.";

/// The bytes of a group's name that a subject cannot have as they are.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'.').add(b'*').add(b'>').add(b'%');

/// A stream that this program makes keeps so many bytes; of more, the oldest messages go.
const MAX_BYTES: i64 = 1024 * 1024 * 1024;

/// Nothing is published with an id; JetStream wants a time all the same, not longer than the age of messages.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// What headers add to a message; more than they do.
const HEADERS: u64 = 1024;

const OFFSET: &str = "Gw-Offset";
const EPOCH: &str = "Gw-Epoch";
const TIME: &str = "Gw-Time";
const BINARY: &str = "Gw-Binary";

/// How long an answer may take. The time of all of them together is that of the `store`.
const ANSWER: Duration = Duration::from_secs(2);

/// How long the next message of a group that is read may take.
const NEXT: Duration = Duration::from_millis(500);

/// A consumer that is not removed goes by itself.
const CONSUMER_LIVES: Duration = Duration::from_secs(5);

/// How often a message is published again after another worker was quicker.
const ATTEMPTS: usize = 20;

/// The most groups whose last message is remembered. Of others it is asked for.
const REMEMBERED: usize = 10_000;

/// The most groups that are read at once: each takes a consumer of NATS.
const READERS: usize = 32;

pub(crate) struct Nats {
    client: Arc<OnceCell<async_nats::Client>>,
    /// Whether NATS is connected.
    up: watch::Receiver<bool>,
    was_up: AtomicBool,
    config: Config,
    stream: Mutex<Option<Stream>>,
    last: Mutex<HashMap<GroupId, Last>>,
    readers: Semaphore,
    _connecting: AbortOnDropHandle<()>,
}

/// The last message of a group, as far as this worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Last {
    sequence: u64,
    position: Position,
}

impl Nats {
    /// Begins to connect.
    ///
    /// # Errors
    /// When the URL cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn open(url: &str, settings: &Settings) -> Result<Self, Error> {
        let (state, up) = watch::channel(false);
        let (address, options) = nats_server::options(url, "history", state).map_err(Error::Server)?;
        let client = Arc::new(OnceCell::new());
        let connect = {
            let client = client.clone();
            async move {
                match options.request_timeout(Some(ANSWER)).connect(address).await {
                    Ok(connected) => drop(client.set(connected)),
                    Err(error) => warn!(%error, "the history cannot use NATS"),
                }
            }
        };
        Ok(Self {
            client,
            up,
            was_up: AtomicBool::new(false),
            config: config(settings),
            stream: Mutex::default(),
            last: Mutex::default(),
            readers: Semaphore::new(READERS),
            _connecting: AbortOnDropHandle::new(tokio::spawn(connect)),
        })
    }

    /// Checks that NATS is connected, and that JetStream has the stream, which is made if it is not there yet.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let jetstream = self.jetstream().await?;
        self.stream(&jetstream).await.map(drop)
    }

    pub(crate) async fn append(&self, group: &GroupId, message: Bytes, binary: bool) -> Result<Entry, Error> {
        let (jetstream, subject) = (self.jetstream().await?, subject(group));
        let stream = self.stream(&jetstream).await?;
        // Taken out: if this does not end, nobody knows what the last message is.
        let remembered = self.lock_last().remove(group);
        let mut before = remembered;
        for _ in 0..ATTEMPTS {
            let last = match before.take() {
                Some(last) => last,
                None => {
                    let found = self.find_last(&stream, &subject).await?.map(|(last, _)| last);
                    next_epoch(found, remembered)
                }
            };
            let position = Position { offset: last.position.offset + 1, ..last.position };
            let time_ms = now_ms();
            let mut headers = HeaderMap::new();
            headers.insert(OFFSET, position.offset.to_string());
            headers.insert(EPOCH, position.epoch.to_string());
            headers.insert(TIME, time_ms.to_string());
            if binary {
                headers.insert(BINARY, "1");
            }
            let publish = PublishMessage::build().payload(message.clone()).headers(headers);
            let publish = publish.expected_last_subject_sequence(last.sequence);
            let acknowledged = match jetstream.send_publish(subject.clone(), publish).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match acknowledged {
                Ok(acknowledged) => {
                    let mut all = self.lock_last();
                    if all.len() >= REMEMBERED {
                        all.clear();
                    }
                    all.insert(group.clone(), Last { sequence: acknowledged.sequence, position });
                    return Ok(Entry { position, time_ms, message, binary });
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {}
                Err(error) => {
                    self.forget_stream();
                    let is_late = error.kind() == PublishErrorKind::TimedOut;
                    return Err(if is_late { Error::TimedOut } else { server(error) });
                }
            }
        }
        Err(Error::Busy)
    }

    pub(crate) async fn read(
        &self,
        group: &GroupId,
        limits: Limits,
        range: Range,
    ) -> Result<Contents, Error> {
        let (jetstream, subject) = (self.jetstream().await?, subject(group));
        let stream = self.stream(&jetstream).await?;
        for _ in 0..3 {
            let Some((_, last)) = self.find_last(&stream, &subject).await? else {
                return Ok(Contents { first: 1, ..Contents::default() });
            };
            let mut collected = Collected::new(&last, limits, now_ms(), range);
            // Nothing was missed, as mostly: the last message says so.
            if matches!(range, Range::After(position, _) if position == last.position) {
                collected.push(last.clone());
            } else {
                self.read_all(&stream, &subject, &mut collected).await?;
            }
            if let Some(contents) = collected.finish(&last) {
                return Ok(contents);
            }
        }
        Err(Error::TimedOut)
    }

    /// Reads all messages of a group, of which one at least was there; those of them that are not too old by now.
    async fn read_all(&self, stream: &Stream, subject: &str, into: &mut Collected) -> Result<(), Error> {
        let _permit = self.readers.acquire().await.map_err(server)?;
        let config = ConsumerConfig {
            filter_subject: subject.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_LIVES,
            memory_storage: true,
            ..ConsumerConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| self.failed(error))?;
        let pending = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX);
        if pending > 0 {
            let messages = consumer.fetch().max_messages(pending).messages().await;
            let mut messages = messages.map_err(server)?;
            // JetStream may wait for a message that was too old in between, so each is waited for by itself.
            while let Ok(Some(message)) = timeout(NEXT, messages.next()).await {
                let message = message.map_err(Error::Server)?;
                let headers = message.headers.as_ref().ok_or_else(unreadable)?;
                into.push(read_entry(headers, message.payload.clone()).ok_or_else(unreadable)?);
            }
        }
        let name = &consumer.cached_info().name;
        // It goes by itself otherwise.
        let _ = stream.delete_consumer(name).await;
        Ok(())
    }

    /// Asks for the last message of a group.
    async fn find_last(&self, stream: &Stream, subject: &str) -> Result<Option<(Last, Entry)>, Error> {
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => {
                let entry = read_entry(&message.headers, message.payload).ok_or_else(unreadable)?;
                Ok(Some((Last { sequence: message.sequence, position: entry.position }, entry)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// JetStream, while NATS is connected: the client would keep what it is given, and send it at any later time. The first connection is
    /// waited for.
    async fn jetstream(&self) -> Result<Context, Error> {
        if !self.was_up.load(Ordering::Relaxed) {
            let _ = self.up.clone().wait_for(|up| *up).await;
            self.was_up.store(true, Ordering::Relaxed);
        }
        let client = self.client.get().filter(|client| client.connection_state() == State::Connected);
        let client = client.ok_or_else(|| Error::Server("NATS is not connected".into()))?;
        Ok(jetstream::new(client.clone()))
    }

    /// Finds the stream, or makes it.
    async fn stream(&self, jetstream: &Context) -> Result<Stream, Error> {
        if let Some(stream) = &*self.stream.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(stream.clone());
        }
        let made = jetstream.get_or_create_stream(self.config.clone()).await;
        let stream = made.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStreamUnavailable => no_jetstream(),
            CreateStreamErrorKind::JetStream(error)
                if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT]
                    .contains(&error.error_code()) =>
            {
                no_jetstream()
            }
            _ => server(error),
        })?;
        let found = &stream.cached_info().config;
        let keeps_less = |found: i64, wanted: i64| found > 0 && found < wanted;
        if keeps_less(found.max_messages_per_subject, self.config.max_messages_per_subject)
            || (!found.max_age.is_zero() && found.max_age < self.config.max_age)
        {
            warn!(
                max_messages = found.max_messages_per_subject,
                max_age_ms = found.max_age.as_millis() as u64,
                "the stream {STREAM} keeps less than the settings say: change it (nats stream edit), or the settings"
            );
        }
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.clone());
        Ok(stream)
    }

    /// Finds the stream anew next time: it may be gone.
    fn forget_stream(&self) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.forget_stream();
        server(error)
    }

    fn lock_last(&self) -> std::sync::MutexGuard<'_, HashMap<GroupId, Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").finish_non_exhaustive()
    }
}

/// The stream that keeps what these settings say, of any group.
fn config(settings: &Settings) -> Config {
    let most = |all: u64, own: fn(&crate::PrefixSettings) -> Option<u64>| {
        settings.prefixes.iter().filter_map(own).fold(all, u64::max)
    };
    let max_messages = most(settings.max_messages, |prefix| prefix.max_messages);
    let max_age_ms = most(settings.max_age_ms, |prefix| prefix.max_age_ms);
    Config {
        name: STREAM.to_owned(),
        subjects: vec![format!("{PREFIX}*")],
        description: Some("the last messages of groups of GatewayWorker".into()),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: 1,
        max_messages_per_subject: i64::try_from(max_messages).unwrap_or(i64::MAX),
        max_age: Duration::from_millis(max_age_ms).max(DUPLICATE_WINDOW),
        max_bytes: MAX_BYTES,
        max_message_size: i32::try_from(settings.max_message_bytes + HEADERS).unwrap_or(i32::MAX),
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

/// What the next message comes after: the last one that was found. If there is none, or it is older than the one that is remembered, so that
/// some were lost, it begins a new epoch.
fn next_epoch(found: Option<Last>, remembered: Option<Last>) -> Last {
    let new_epoch = rand::random_range(1..=u64::MAX);
    let mut last = found.unwrap_or_default();
    let has_lost = remembered.is_some_and(|remembered| remembered.sequence > last.sequence);
    if found.is_none() || has_lost {
        last.position.epoch = new_epoch;
    }
    last
}

fn subject(group: &GroupId) -> String {
    format!("{PREFIX}{}", percent_encode(group.as_bytes(), ENCODED))
}

fn read_entry(headers: &HeaderMap, message: Bytes) -> Option<Entry> {
    let number = |name| headers.get(name).and_then(|value| value.as_str().parse::<u64>().ok());
    let position = Position { offset: number(OFFSET)?, epoch: number(EPOCH)? };
    Some(Entry { position, time_ms: number(TIME)?, message, binary: headers.get(BINARY).is_some() })
}

fn no_jetstream() -> Error {
    Error::Server(
        "NATS has no JetStream for this user: start nats-server with -js (jetstream {} in its configuration)"
            .into(),
    )
}

fn server(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Server(error.into())
}

fn unreadable() -> Error {
    Error::Server("a message in the stream is not one that a history has written".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_token_for_any_group() {
        let subject = |name: &str| subject(&GroupId::try_from(name).unwrap());
        assert_eq!(subject("room-1"), "gatewayworker.history.room-1");
        assert_eq!(subject("a.b *>%\n"), "gatewayworker.history.a%2Eb%20%2A%3E%25%0A");
        assert_eq!(subject("é"), "gatewayworker.history.%C3%A9");
    }

    #[test]
    fn the_stream_keeps_the_most_that_any_group_may_have() {
        let settings =
            Settings::default().with_kept(50, 1_000).with_prefix("a", 200, 10).with_prefix("b", 0, 9_000);
        let config = config(&settings);
        assert_eq!((config.max_messages_per_subject, config.max_age), (200, Duration::from_secs(9)));
    }

    #[test]
    fn a_group_without_a_message_or_with_lost_ones_has_a_new_epoch() {
        let last = |sequence, offset| Last { sequence, position: Position { offset, epoch: 7 } };
        assert_eq!(next_epoch(Some(last(9, 5)), Some(last(8, 4))), last(9, 5));
        assert_eq!(next_epoch(Some(last(9, 5)), None), last(9, 5));
        let lost = next_epoch(Some(last(9, 5)), Some(last(11, 7)));
        assert_eq!((lost.sequence, lost.position.offset), (9, 5));
        assert_ne!(lost.position.epoch, 7);
        let new = next_epoch(None, Some(last(11, 7)));
        assert_eq!((new.sequence, new.position.offset), (0, 0));
        assert_ne!(new.position.epoch, 0);
    }
}
