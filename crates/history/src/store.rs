//! [`Store`]: where messages are kept, opened by a URL. Each kind has a module; this one only chooses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gatewayworker_client::Gateway;
use gatewayworker_protocol::GroupId;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::memory::Rooms;
use crate::others::{self, Keeper, Others};
use crate::page::{Contents, Range};
use crate::{Entry, Error, Settings};

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) settings: Settings,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Memory(Memory),
    #[cfg(feature = "redis")]
    Redis(Box<crate::redis::Redis>),
    #[cfg(feature = "nats")]
    Nats(Box<crate::nats::Nats>),
}

/// The memory of this worker, as long as no other worker was first.
#[derive(Debug)]
struct Memory {
    rooms: Mutex<Rooms>,
    is_second: Arc<watch::Sender<bool>>,
    _watch: AbortOnDropHandle<()>,
}

/// Checks that the scheme of a URL is known, and that this program was built with it. An empty text is one.
///
/// # Errors
/// When it is not.
pub fn check_url(url: &str) -> Result<(), Error> {
    match url.split(':').next().unwrap_or_default() {
        "" | "memory" => Ok(()),
        #[cfg(feature = "redis")]
        "redis" => Ok(()),
        #[cfg(not(feature = "redis"))]
        "redis" => Err(Error::Feature("redis")),
        #[cfg(feature = "nats")]
        "nats" => Ok(()),
        #[cfg(not(feature = "nats"))]
        "nats" => Err(Error::Feature("nats")),
        scheme => Err(Error::Url(scheme.to_owned())),
    }
}

impl Store {
    /// Opens the store that `url` names. A connection to a server is made in the background.
    ///
    /// # Errors
    /// When the URL or a setting cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn open(url: &str, settings: Settings, gateway: &Gateway) -> Result<Self, Error> {
        settings.validate()?;
        check_url(url)?;
        let kind = match url.split(':').next().unwrap_or_default() {
            #[cfg(feature = "redis")]
            "redis" => Kind::Redis(Box::new(crate::redis::Redis::open(url)?)),
            #[cfg(feature = "nats")]
            "nats" => Kind::Nats(Box::new(crate::nats::Nats::open(url, &settings)?)),
            _ => Kind::Memory(Memory::open(&settings, gateway)),
        };
        Ok(Self { settings, kind })
    }

    /// Keeps a message, and returns it with its position.
    ///
    /// # Errors
    /// When it was not kept, or may not have been.
    pub(crate) async fn append(&self, group: &GroupId, message: Bytes, binary: bool) -> Result<Entry, Error> {
        let limits = self.settings.limits_of(group.as_bytes());
        match &self.kind {
            Kind::Memory(memory) => {
                // Copied: it may share its memory with all that was read from a socket with it.
                let message = Bytes::copy_from_slice(&message);
                Ok(memory.rooms()?.append(group, limits, now_ms(), message, binary))
            }
            #[cfg(feature = "redis")]
            Kind::Redis(redis) => in_time(redis.append(group, limits, message, binary)).await,
            #[cfg(feature = "nats")]
            Kind::Nats(nats) => in_time(nats.append(group, message, binary)).await,
        }
    }

    /// Reads a group.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn read(&self, group: &GroupId, range: Range) -> Result<Contents, Error> {
        match &self.kind {
            Kind::Memory(memory) => Ok(memory.rooms()?.read(group, now_ms(), range)),
            #[cfg(feature = "redis")]
            Kind::Redis(redis) => {
                let limits = self.settings.limits_of(group.as_bytes());
                in_time(redis.read(group, limits, range)).await
            }
            #[cfg(feature = "nats")]
            Kind::Nats(nats) => {
                let limits = self.settings.limits_of(group.as_bytes());
                in_time(nats.read(group, limits, range)).await
            }
        }
    }
}

impl Memory {
    fn open(settings: &Settings, gateway: &Gateway) -> Self {
        let rooms = Rooms::new(rand::random(), settings.max_groups, settings.max_memory_bytes);
        let is_second = Arc::new(watch::Sender::new(false));
        let own = Others::new(Keeper { since_ms: now_ms(), id: rand::random() });
        let watch = tokio::spawn(others::watch(gateway.clone(), own, is_second.clone()));
        Self { rooms: Mutex::new(rooms), is_second, _watch: AbortOnDropHandle::new(watch) }
    }

    /// The groups, for a moment.
    fn rooms(&self) -> Result<std::sync::MutexGuard<'_, Rooms>, Error> {
        if *self.is_second.borrow() {
            return Err(Error::SecondWorker);
        }
        Ok(self.rooms.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a server may take to keep or read something.
#[cfg(any(feature = "redis", feature = "nats"))]
const WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

#[cfg(any(feature = "redis", feature = "nats"))]
async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(WITHIN, asked).await.unwrap_or(Err(Error::TimedOut))
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
