//! Page views: how often a room was entered.
//!
//! In Redis they are the field `ROOM_TOTAL_PV` of the hash `PV:ROOM:<id>`, for all workers
//! and backends together, and stay. In memory they are this process's own.

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

/// How long Redis may take, to be connected to or to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Where page views are counted. Clones count together.
#[derive(Clone)]
pub struct Views(Kept);

#[derive(Clone)]
enum Kept {
    Memory(Arc<Mutex<HashMap<String, u64>>>),
    /// One connection does for a process: what is asked goes out together and is answered
    /// in order. A lost one is made anew when it is used.
    Redis(ConnectionManager),
}

/// Redis did not answer. It is asked anew the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

impl Views {
    /// In the Redis at `redis://host:port/database`, which need not be there yet; in this
    /// process, where the URL is empty.
    ///
    /// # Errors
    /// When it is no such URL.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        if url.is_empty() {
            return Ok(Self(Kept::Memory(Arc::default())));
        }
        // The text of the error may have the password in it.
        let client = Client::open(url).ok().context("redis: is no redis://host:port/database")?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(LIMIT))
            .set_response_timeout(Some(LIMIT))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config).context("redis")?;
        Ok(Self(Kept::Redis(connection)))
    }

    /// Counts one more, and says how many there are then.
    ///
    /// # Errors
    /// When Redis is not there; whether it was counted is not known.
    pub async fn add(&self, room: &str) -> Result<u64, Unavailable> {
        match &self.0 {
            Kept::Memory(rooms) => {
                let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                let views = rooms.entry(room.to_owned()).or_default();
                *views += 1;
                Ok(*views)
            }
            Kept::Redis(connection) => ask(connection, cmd("HINCRBY").arg(key(room)).arg(FIELD).arg(1)).await,
        }
    }

    /// How many there are.
    ///
    /// # Errors
    /// When Redis is not there.
    pub async fn of(&self, room: &str) -> Result<u64, Unavailable> {
        match &self.0 {
            Kept::Memory(rooms) => {
                let rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(rooms.get(room).copied().unwrap_or_default())
            }
            Kept::Redis(connection) => {
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
            // That it was lost shows when it is used. The next one is new. (A view that Redis
            // counted before it died is counted twice.)
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
            Kept::Memory(_) => "Views in memory",
            Kept::Redis(_) => "Views in Redis",
        })
    }
}
