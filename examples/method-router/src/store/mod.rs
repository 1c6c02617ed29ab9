//! The store of rooms and their members: in Redis for all workers, or in the memory of one.
//!
//! A room has two tables, of users and of walls, with a member for each client id, and the number of its messages. A
//! table's key is also in its clients' sessions, so that any worker can remove a client that leaves (`cleanup`).
//!
//! Each request of a client writes its member again, and a member expires after [`MEMBER_TTL`] seconds. So a member whose
//! leaving is lost does not stay, and a Redis that has lost its data soon has all members again.

mod memory;
mod redis;

use gatewayworker::ClientId;
use gatewayworker::router::Failure;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::auth::Kind;
use crate::clock::now;
use crate::settings::Settings;
use memory::Memory;
use redis::Redis;

/// The most members in a list.
pub(crate) const MAX_LISTED: usize = 200;

/// How long a member stays without a request, in seconds. A gateway closes a silent client earlier; but a gateway that is
/// killed does not report the close of its clients.
const MEMBER_TTL: i64 = 90;

/// How long the number of messages stays after the last one, in seconds.
const COUNT_TTL: i64 = 24 * 60 * 60;

/// The store: in memory or in Redis.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(Memory),
    Redis(Redis),
}

/// The error when Redis does not answer.
#[derive(Debug)]
pub(crate) struct Unavailable;

impl From<Unavailable> for Failure {
    fn from(Unavailable: Unavailable) -> Self {
        Failure::new(503, "服务暂时不可用，请稍后再试")
    }
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) nickname: String,
}

/// The numbers of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) users: u64,
    pub(crate) walls: u64,
    pub(crate) said: u64,
}

/// The keys of a room: its two tables and its number of messages.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) users: String,
    pub(crate) walls: String,
    pub(crate) said: String,
}

impl Keys {
    pub(crate) fn of(code: &str) -> Self {
        let key = |table| format!("method-router:room:{code}:{table}");
        Self { users: key("users"), walls: key("walls"), said: key("said") }
    }

    pub(crate) fn table(&self, kind: Kind) -> &str {
        match kind {
            Kind::WechatUser => &self.users,
            Kind::Wall => &self.walls,
        }
    }
}

impl Store {
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        Ok(match settings.redis.as_str() {
            "" => Self::Memory(Memory::default()),
            url => Self::Redis(Redis::open(url, settings.redis_timeout())?),
        })
    }

    /// Writes a member into a table, or renews it.
    pub(crate) async fn add(&self, key: &str, id: ClientId, member: &Member) -> Result<(), Unavailable> {
        match self {
            Self::Memory(memory) => memory.add(key, id, member.clone(), now()),
            Self::Redis(redis) => redis.add(key, id, member, now()).await?,
        }
        Ok(())
    }

    /// Removes a member. Returns whether it was there.
    pub(crate) async fn remove(&self, key: &str, id: ClientId) -> Result<bool, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.remove(key, id)),
            Self::Redis(redis) => redis.remove(key, id).await,
        }
    }

    /// Returns the members of a table with their client ids, at most [`MAX_LISTED`].
    pub(crate) async fn list(&self, key: &str) -> Result<Vec<(String, Member)>, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.list(key, now())),
            Self::Redis(redis) => redis.list(key, now()).await,
        }
    }

    pub(crate) async fn counts(&self, keys: &Keys) -> Result<Counts, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.counts(keys, now())),
            Self::Redis(redis) => redis.counts(keys, now()).await,
        }
    }

    /// Counts a message, and returns the new number.
    pub(crate) async fn count_message(&self, keys: &Keys) -> Result<u64, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.count_message(keys, now())),
            Self::Redis(redis) => redis.count_message(keys).await,
        }
    }
}

impl Unavailable {
    fn because(error: impl std::fmt::Display) -> Self {
        warn!(%error, "Redis did not answer");
        Self
    }
}
