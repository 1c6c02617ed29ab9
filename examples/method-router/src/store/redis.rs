//! Rooms in Redis: a hash for each table, a number for what was said.
//!
//! One connection does for a worker: what its handlers ask goes out together and comes
//! back in order, and a lost connection is made anew by the next who asks. Nobody waits
//! longer than the time limit.

use std::time::Duration;

use anyhow::Context;
use gatewayworker::ClientId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Pipeline, RedisResult, cmd, pipe};
use tokio::time::timeout;

use super::{Counts, KEPT, Keys, MAX_LISTED, Member, Unavailable};

/// The connection, and how long an answer may take.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: ConnectionManager,
    limit: Duration,
}

impl Redis {
    /// Returns at once. That Redis is not there is no reason not to start.
    pub(super) fn open(url: &str, limit: Duration) -> anyhow::Result<Self> {
        // The text of the error may have the password in it.
        let client = Client::open(url).ok().context("redis: is no redis://host:port/database")?;
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

    pub(super) async fn add(&self, key: &str, id: ClientId, member: &Member) -> Result<(), Unavailable> {
        let json = serde_json::to_string(member).map_err(Unavailable::because)?;
        self.all(pipe().atomic().hset(key, id.to_string(), json).ignore().expire(key, KEPT).ignore()).await
    }

    pub(super) async fn remove(&self, key: &str, id: ClientId) -> Result<bool, Unavailable> {
        let command = cmd("HDEL").arg(key).arg(id.to_string()).to_owned();
        self.within(command.query_async(&mut self.connection.clone())).await
    }

    pub(super) async fn list(&self, key: &str) -> Result<Vec<(String, Member)>, Unavailable> {
        let mut members = Vec::new();
        let mut cursor: u64 = 0;
        loop {
            let scan = cmd("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(MAX_LISTED).to_owned();
            let (next, page): (u64, Vec<(String, String)>) =
                self.within(scan.query_async(&mut self.connection.clone())).await?;
            // What cannot be read was not written here.
            members.extend(
                page.into_iter().filter_map(|(id, json)| Some((id, serde_json::from_str(&json).ok()?))),
            );
            cursor = next;
            if cursor == 0 || members.len() >= MAX_LISTED {
                break;
            }
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        // A hash that grows meanwhile may show a field twice.
        members.dedup_by(|(a, _), (b, _)| a == b);
        members.truncate(MAX_LISTED);
        Ok(members)
    }

    pub(super) async fn counts(&self, keys: &Keys) -> Result<Counts, Unavailable> {
        let (users, walls, said): (u64, u64, Option<u64>) =
            self.all(pipe().hlen(&keys.users).hlen(&keys.walls).get(&keys.said)).await?;
        Ok(Counts { users, walls, said: said.unwrap_or(0) })
    }

    pub(super) async fn said(&self, keys: &Keys) -> Result<u64, Unavailable> {
        let mut commands = pipe();
        commands.atomic().incr(&keys.said, 1);
        for key in [&keys.said, &keys.users, &keys.walls] {
            commands.expire(key, KEPT).ignore();
        }
        let (said,) = self.all(&commands).await?;
        Ok(said)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("limit", &self.limit).finish_non_exhaustive()
    }
}
