//! The settings of the chat: the table `[app]` in the worker's configuration.
//!
//! `GroupChat::new` validates and reads them once, at the start.

use std::time::Duration;

use serde::Deserialize;

/// The settings. The defaults are those of `config/businessworker.toml`, without the demo data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The URL of the database: `sqlite:FILE?mode=rwc` or `postgres://user:password@host/name`.
    pub database: String,
    /// The most connections to the database.
    pub database_connections: u32,
    /// How long a request waits for the database, in milliseconds.
    pub database_timeout_ms: u64,
    /// Whether the schema comes with two classes to try the chat.
    pub demo_data: bool,
    /// How many requests a client may make at once.
    pub burst: u32,
    /// How many requests a client may make in a second in the long run.
    pub requests_per_second: u32,
    /// How many messages a page of the history has: 1 to 50.
    pub history_page: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "sqlite:group-chat.db?mode=rwc".into(),
            database_connections: 8,
            database_timeout_ms: 3_000,
            demo_data: false,
            burst: 20,
            requests_per_second: 5,
            history_page: 50,
        }
    }
}

impl Settings {
    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn validate(&self) -> Result<(), String> {
        let at_least_1 = [
            ("database_connections", u64::from(self.database_connections)),
            ("database_timeout_ms", self.database_timeout_ms),
            ("burst", u64::from(self.burst)),
            ("requests_per_second", u64::from(self.requests_per_second)),
        ];
        for (key, value) in at_least_1 {
            if value == 0 {
                return Err(format!("app.{key}: must be at least 1"));
            }
        }
        // A page is one message, which must fit a client's outbox.
        if !(1..=50).contains(&self.history_page) {
            return Err("app.history_page: must be from 1 to 50".into());
        }
        Ok(())
    }

    pub(crate) fn database_timeout(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms)
    }
}
