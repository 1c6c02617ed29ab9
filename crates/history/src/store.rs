//! [`Store`]: where messages are kept, opened by a URL. Each kind has a module; this one only chooses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gatewayworker_client::Gateway;
use gatewayworker_protocol::GroupId;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::memory::Rooms;
use crate::ownership::{self, Claim, Ownership};
use crate::page::{Contents, Range};
use crate::stats::{Counts, Stats};
use crate::{Entry, Error, Settings};

/// How often a server is asked whether it is there.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Where messages are kept, and what comes of it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) settings: Settings,
    pub(crate) counts: Counts,
    kind: Kind,
    /// Why the server has not answered, if it has not.
    away: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Kind {
    Memory(Memory),
    #[cfg(feature = "redis")]
    Redis(Box<crate::redis::Redis>),
    #[cfg(feature = "nats")]
    Nats(Box<crate::nats::Nats>),
}

/// The memory of this worker. Calls are refused while another worker owns the history.
#[derive(Debug)]
struct Memory {
    rooms: Mutex<Rooms>,
    is_owner: Arc<watch::Sender<bool>>,
    _follow: AbortOnDropHandle<()>,
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
        Ok(Self { settings, counts: Counts::default(), kind, away: Mutex::default() })
    }

    /// Asks the server again and again whether it is there, so that an operator learns it without a call. `None` for a store in
    /// memory.
    pub(crate) fn start_checks(store: &Arc<Self>) -> Option<AbortOnDropHandle<()>> {
        if matches!(store.kind, Kind::Memory(_)) {
            return None;
        }
        let store = store.clone();
        let check = async move {
            loop {
                let checked = store.check().await;
                store.note(&checked);
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        Some(AbortOnDropHandle::new(tokio::spawn(check)))
    }

    async fn check(&self) -> Result<(), Error> {
        match &self.kind {
            Kind::Memory(_) => Ok(()),
            #[cfg(feature = "redis")]
            Kind::Redis(redis) => in_time(redis.check()).await,
            #[cfg(feature = "nats")]
            Kind::Nats(nats) => in_time(nats.check()).await,
        }
    }

    /// Keeps a message, and returns it with its position.
    ///
    /// # Errors
    /// When it was not kept, or may not have been.
    pub(crate) async fn append(&self, group: &GroupId, message: Bytes, binary: bool) -> Result<Entry, Error> {
        let limits = self.settings.limits_of(group.as_bytes());
        let kept = match &self.kind {
            Kind::Memory(memory) => {
                // Copied: it may share its memory with all that was read from a socket with it.
                let message = Bytes::copy_from_slice(&message);
                memory.rooms().map(|mut rooms| rooms.append(group, limits, now_ms(), message, binary))
            }
            #[cfg(feature = "redis")]
            Kind::Redis(redis) => in_time(redis.append(group, limits, message, binary)).await,
            #[cfg(feature = "nats")]
            Kind::Nats(nats) => in_time(nats.append(group, message, binary)).await,
        };
        self.count(kept)
    }

    /// Reads a group.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn read(&self, group: &GroupId, range: Range) -> Result<Contents, Error> {
        let contents = match &self.kind {
            Kind::Memory(memory) => memory.rooms().map(|mut rooms| rooms.read(group, now_ms(), range)),
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
        };
        self.count(contents)
    }

    /// Counts an error of the store.
    fn count<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.note(&outcome);
        outcome.inspect_err(|error| self.counts.count_store_error(error))
    }

    /// Notes whether the server has answered.
    fn note<T>(&self, outcome: &Result<T, Error>) {
        let away = match outcome {
            Ok(_) => None,
            Err(Error::Server(why)) => Some(why.to_string()),
            Err(Error::TimedOut) => Some(format!("no answer in {WITHIN:?}")),
            Err(_) => return,
        };
        let mut known = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &away) {
            (None, Some(why)) => {
                warn!(store = self.name(), %why, "the history does not work until it answers again")
            }
            (Some(_), None) => info!(store = self.name(), "the history works again"),
            _ => {}
        }
        *known = away;
    }

    /// Returns what was done, what is kept, and what an operator has to mend.
    pub(crate) fn stats(&self) -> Stats {
        let (problem, kept) = match &self.kind {
            Kind::Memory(memory) => {
                let refused = memory.rooms().err().map(|error| format!("history: {error}"));
                (refused, Some(memory.lock().kept()))
            }
            #[cfg(any(feature = "redis", feature = "nats"))]
            _ => {
                let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
                let problem = |why| format!("history: {} cannot keep or return messages: {why}", self.name());
                (away.as_ref().map(problem), None)
            }
        };
        self.counts.read(self.name(), problem, kept)
    }

    fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Memory(_) => "memory",
            #[cfg(feature = "redis")]
            Kind::Redis(_) => "redis",
            #[cfg(feature = "nats")]
            Kind::Nats(_) => "nats",
        }
    }
}

impl Memory {
    fn open(settings: &Settings, gateway: &Gateway) -> Self {
        let rooms = Rooms::new(rand::random(), settings.max_groups, settings.max_memory_bytes);
        let is_owner = Arc::new(watch::Sender::new(true));
        let ownership = Ownership::new(Claim { opened_ms: now_ms(), id: rand::random() });
        let follow = tokio::spawn(ownership::follow(gateway.clone(), ownership, is_owner.clone()));
        Self { rooms: Mutex::new(rooms), is_owner, _follow: AbortOnDropHandle::new(follow) }
    }

    /// The groups, for a moment.
    ///
    /// # Errors
    /// Another worker has the history.
    fn rooms(&self) -> Result<MutexGuard<'_, Rooms>, Error> {
        if *self.is_owner.borrow() { Ok(self.lock()) } else { Err(Error::SecondWorker) }
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a server may take to keep or read something.
const WITHIN: Duration = Duration::from_secs(3);

#[cfg(any(feature = "redis", feature = "nats"))]
async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(WITHIN, asked).await.unwrap_or(Err(Error::TimedOut))
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
