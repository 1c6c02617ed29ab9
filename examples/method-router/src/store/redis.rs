//! Rooms in Redis: for each table, a sorted set of client ids by the time of their last write; for each client, its member
//! as JSON; for each room, the number of messages.
//!
//! A worker has one connection, which pipelines all commands and reconnects when it is used. A command fails at the time
//! limit.

use std::time::Duration;

use anyhow::Context;
use gatewayworker::ClientId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Pipeline, RedisResult, pipe};
use tokio::time::timeout;

use super::{COUNT_TTL, Counts, Keys, MAX_LISTED, MEMBER_TTL, Member, Unavailable};

/// The connection, and the time limit of a command.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: ConnectionManager,
    limit: Duration,
}

impl Redis {
    /// Opens the store without waiting: Redis may start later than the worker.
    ///
    /// # Errors
    /// The URL is invalid.
    pub(super) fn open(url: &str, limit: Duration) -> anyhow::Result<Self> {
        // The error's own text may contain the password.
        let client = Client::open(url).ok().context("redis: must be redis://host:port/database")?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config).context("redis")?;
        Ok(Self { connection, limit })
    }

    async fn within<T>(&self, asked: impl Future<Output = RedisResult<T>>) -> Result<T, Unavailable> {
        match timeout(self.limit, asked).await {
            Ok(answer) => answer.map_err(Unavailable::because),
            Err(_) => Err(Unavailable::because("no answer in time")),
        }
    }

    async fn all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Unavailable> {
        self.within(commands.query_async(&mut self.connection.clone())).await
    }

    pub(super) async fn add(
        &self,
        key: &str,
        id: ClientId,
        member: &Member,
        now: i64,
    ) -> Result<(), Unavailable> {
        let json = serde_json::to_string(member).map_err(Unavailable::because)?;
        let mut commands = pipe();
        commands.atomic().zadd(key, id.to_string(), now).ignore();
        commands.zrembyscore(key, "-inf", now - MEMBER_TTL).ignore();
        commands.expire(key, MEMBER_TTL).ignore();
        commands.set_ex(client_key(id), json, MEMBER_TTL.unsigned_abs()).ignore();
        self.all(&commands).await
    }

    pub(super) async fn remove(&self, key: &str, id: ClientId) -> Result<bool, Unavailable> {
        let mut commands = pipe();
        commands.atomic().zrem(key, id.to_string()).del(client_key(id)).ignore();
        let (removed,) = self.all(&commands).await?;
        Ok(removed)
    }

    pub(super) async fn list(&self, key: &str, now: i64) -> Result<Vec<(String, Member)>, Unavailable> {
        let mut commands = pipe();
        commands.zrangebyscore_limit(key, now - MEMBER_TTL + 1, "+inf", 0, MAX_LISTED as isize);
        let (ids,): (Vec<String>,) = self.all(&commands).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = pipe();
        commands.mget(ids.iter().map(client_key).collect::<Vec<_>>());
        let (members,): (Vec<Option<String>>,) = self.all(&commands).await?;
        // What cannot be read was not written here, or has left meanwhile.
        let read = |(id, json): (String, Option<String>)| Some((id, serde_json::from_str(&json?).ok()?));
        let mut members: Vec<_> = ids.into_iter().zip(members).filter_map(read).collect();
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(members)
    }

    pub(super) async fn counts(&self, keys: &Keys, now: i64) -> Result<Counts, Unavailable> {
        let since = now - MEMBER_TTL + 1;
        let mut commands = pipe();
        commands.zcount(&keys.users, since, "+inf").zcount(&keys.walls, since, "+inf").get(&keys.said);
        let (users, walls, said): (u64, u64, Option<u64>) = self.all(&commands).await?;
        Ok(Counts { users, walls, said: said.unwrap_or(0) })
    }

    pub(super) async fn count_message(&self, keys: &Keys) -> Result<u64, Unavailable> {
        let mut commands = pipe();
        commands.atomic().incr(&keys.said, 1).expire(&keys.said, COUNT_TTL).ignore();
        let (said,) = self.all(&commands).await?;
        Ok(said)
    }
}

/// Where there is what is to know of a client.
fn client_key(id: impl std::fmt::Display) -> String {
    format!("method-router:client:{id}")
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("limit", &self.limit).finish_non_exhaustive()
    }
}
