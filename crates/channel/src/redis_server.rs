//! A connection to Redis by its URL, for the channel and for the history of groups (`gatewayworker_history`).

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};

/// How long connecting, or an answer, may take.
pub const WITHIN: Duration = Duration::from_secs(5);

/// Returns a client for `url`, and its connection, which is made when it is first used, and again whenever it is lost.
///
/// # Errors
/// When the URL cannot be read.
///
/// # Panics
/// Outside a tokio runtime.
pub fn connect(url: &str) -> Result<(Client, ConnectionManager), RedisError> {
    let client = Client::open(url)?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(WITHIN))
        .set_response_timeout(Some(WITHIN))
        .set_max_delay(Duration::from_secs(1));
    let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    Ok((client, manager))
}
