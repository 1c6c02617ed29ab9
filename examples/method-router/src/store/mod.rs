//! Who is in which room: in Redis, for all workers, or in the memory of one.
//!
//! A room has two tables, its users and its walls, from a client's id to what there is to
//! know of it, and counts what was said. A table's key stands for it everywhere, in
//! clients' sessions too, so that whoever sees a client leave can strike it off.
//!
//! Whoever is in is written again with everything it asks, and counts for [`PRESENT`]
//! seconds. So nobody stays whose leaving was never heard of, and a Redis that comes back
//! empty has everybody again soon.

mod memory;
mod redis;

use gatewayworker::ClientId;
use gatewayworker::router::Failure;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::auth::Kind;
use crate::now;
use crate::settings::Settings;
use memory::Memory;
use redis::Redis;

/// The most members that are listed.
pub(crate) const MAX_LISTED: usize = 200;

/// How long a client is in a room without a word from it, in seconds. The gateway closes
/// it before that; but one that is killed takes the news of its clients' leaving with it.
const PRESENT: i64 = 90;

/// How long the number of things said in a room outlives the last of them, in seconds.
const KEPT: i64 = 24 * 60 * 60;

/// Where rooms are kept.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(Memory),
    Redis(Redis),
}

/// A room is not to be had at the moment.
#[derive(Debug)]
pub(crate) struct Unavailable;

impl From<Unavailable> for Failure {
    fn from(Unavailable: Unavailable) -> Self {
        Failure::new(503, "服务暂时不可用，请稍后再试")
    }
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) nickname: String,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) users: u64,
    pub(crate) walls: u64,
    pub(crate) said: u64,
}

/// The names under which a room is kept.
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

    /// Writes a client into a table, or writes it there again.
    pub(crate) async fn add(&self, key: &str, id: ClientId, member: &Member) -> Result<(), Unavailable> {
        match self {
            Self::Memory(memory) => memory.add(key, id, member.clone(), now()),
            Self::Redis(redis) => redis.add(key, id, member, now()).await?,
        }
        Ok(())
    }

    /// Strikes it off; whether it stood there.
    pub(crate) async fn remove(&self, key: &str, id: ClientId) -> Result<bool, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.remove(key, id)),
            Self::Redis(redis) => redis.remove(key, id).await,
        }
    }

    /// Those in a table, at most [`MAX_LISTED`], with their clients' ids.
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

    /// Counts one more thing said, and returns how many there are.
    pub(crate) async fn said(&self, keys: &Keys) -> Result<u64, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.said(keys, now())),
            Self::Redis(redis) => redis.said(keys).await,
        }
    }
}

impl Unavailable {
    fn because(error: impl std::fmt::Display) -> Self {
        warn!(%error, "Redis did not answer");
        Self
    }
}
