//! Page views: how often clients have joined a room.
//!
//! In Redis, a room's views are the field `ROOM_TOTAL_PV` of the hash `PV:ROOM:<id>`: all workers and backends share
//! them, and they outlive the processes. In memory, each process counts its own.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, cmd};
use tokio::time::timeout;
use tracing::warn;

const FIELD: &str = "ROOM_TOTAL_PV";

/// How long Redis may take to accept a connection, and to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// The counter of page views. Clones share the counts.
#[derive(Clone)]
pub struct Views(Store);

#[derive(Clone)]
enum Store {
    Memory(Arc<Mutex<HashMap<String, u64>>>),
    /// One connection per process, which pipelines all commands. It reconnects when it is used.
    Redis(ConnectionManager),
}

/// The error when Redis does not answer. The next call tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

impl Views {
    /// Opens the counter in the Redis at `redis://host:port/database`, which may start later; or in memory, if the URL is
    /// empty.
    ///
    /// # Errors
    /// The URL is invalid.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        if url.is_empty() {
            return Ok(Self(Store::Memory(Arc::default())));
        }
        // The error's own text may contain the password.
        let client = Client::open(url).ok().context("redis: must be redis://host:port/database")?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(LIMIT))
            .set_response_timeout(Some(LIMIT))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config).context("redis")?;
        Ok(Self(Store::Redis(connection)))
    }

    /// Counts a view, and returns the new number.
    ///
    /// # Errors
    /// Redis does not answer. The view may be counted or not.
    pub async fn add(&self, room: &str) -> Result<u64, Unavailable> {
        match &self.0 {
            Store::Memory(rooms) => {
                let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                let views = rooms.entry(room.to_owned()).or_default();
                *views += 1;
                Ok(*views)
            }
            Store::Redis(connection) => {
                ask(connection, cmd("HINCRBY").arg(key(room)).arg(FIELD).arg(1)).await
            }
        }
    }

    /// Returns the number of views.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn of(&self, room: &str) -> Result<u64, Unavailable> {
        match &self.0 {
            Store::Memory(rooms) => {
                let rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(rooms.get(room).copied().unwrap_or_default())
            }
            Store::Redis(connection) => {
                let views: Option<u64> = ask(connection, cmd("HGET").arg(key(room)).arg(FIELD)).await?;
                Ok(views.unwrap_or_default())
            }
        }
    }
}

fn key(room: &str) -> String {
    format!("PV:ROOM:{room}")
}

async fn ask<T: FromRedisValue>(connection: &ConnectionManager, command: &Cmd) -> Result<T, Unavailable> {
    let unavailable = |why: &dyn Display| {
        warn!(%why, "Redis does not answer");
        Unavailable
    };
    let asked = async {
        match command.query_async(&mut connection.clone()).await {
            // Only a command finds that the connection is lost, so try once more on a new one. (Redis may have counted
            // a view before the loss: then it counts twice.)
            Err(error) if error.is_connection_dropped() => command.query_async(&mut connection.clone()).await,
            answer => answer,
        }
    };
    match timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error: RedisError| unavailable(&error)),
        Err(_) => Err(unavailable(&"no answer in time")),
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Store::Memory(_) => "Views in memory",
            Store::Redis(_) => "Views in Redis",
        })
    }
}
