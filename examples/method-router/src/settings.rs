//! The settings: the table `[app]` of the worker's configuration, and environment variables that override it.

use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;

use crate::auth::Key;

/// The key of the demo, which is public.
pub const DEMO_KEY: &str = "the demo's key, known to everybody";

/// The settings. `METHOD_ROUTER_AUTH_KEY` and `METHOD_ROUTER_REDIS` of the environment override the file.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The key that signs tickets. Required.
    pub auth_key: String,
    /// How old a ticket may be, in minutes.
    pub auth_minutes: u32,
    /// The Redis that stores rooms, `redis://host:port/database`. If empty, they are in this worker's memory, which is
    /// enough for one worker.
    pub redis: String,
    /// How long Redis may take to answer, in milliseconds.
    pub redis_timeout_ms: u64,
    /// The longest message, in characters.
    pub max_text: usize,
    /// How many requests a client may make at once.
    pub burst: u32,
    /// How many requests a client may make in a second, in the long run.
    pub per_second: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth_key: String::new(),
            auth_minutes: 10,
            redis: String::new(),
            redis_timeout_ms: 1000,
            max_text: 200,
            burst: 20,
            per_second: 5.0,
        }
    }
}

impl Settings {
    /// Returns the settings with the environment's values.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        for (name, setting) in
            [("METHOD_ROUTER_AUTH_KEY", &mut self.auth_key), ("METHOD_ROUTER_REDIS", &mut self.redis)]
        {
            if let Ok(value) = std::env::var(name) {
                *setting = value;
            }
        }
        self
    }

    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.redis_timeout_ms >= 1, "redis_timeout_ms: must be at least 1");
        ensure!(self.max_text >= 1, "max_text: must be at least 1");
        ensure!(self.burst >= 1, "burst: must be at least 1");
        ensure!(self.per_second.is_finite() && self.per_second > 0.0, "per_second: must be above 0");
        Ok(())
    }

    /// Returns the key for production.
    ///
    /// # Errors
    /// The key is not set, is too short, or is the demo's.
    pub fn key(&self) -> anyhow::Result<Key> {
        ensure!(
            !self.auth_key.is_empty(),
            "auth_key: is not set; put one into [app] or into METHOD_ROUTER_AUTH_KEY"
        );
        ensure!(
            self.auth_key != DEMO_KEY,
            "auth_key: is the demo's, which everybody knows; choose one of your own"
        );
        Key::new(&self.auth_key)
    }

    /// How old a ticket may be, in seconds.
    pub fn max_age(&self) -> i64 {
        i64::from(self.auth_minutes) * 60
    }

    pub(crate) fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker::businessworker::Config;

    use super::*;

    #[test]
    fn an_empty_key_and_the_demo_key_are_refused() {
        let with = |key: &str| Settings { auth_key: key.into(), ..Settings::default() }.key();
        assert!(with("").unwrap_err().to_string().contains("is not set"));
        assert!(with(DEMO_KEY).unwrap_err().to_string().contains("the demo's"));
        assert!(with("short").is_err());
        assert!(with("one of my own, long").is_ok());
    }

    #[test]
    fn an_invalid_setting_is_named_by_its_key() {
        for (wrong, key) in [
            (Settings { redis_timeout_ms: 0, ..Settings::default() }, "redis_timeout_ms"),
            (Settings { max_text: 0, ..Settings::default() }, "max_text"),
            (Settings { burst: 0, ..Settings::default() }, "burst"),
            (Settings { per_second: 0.0, ..Settings::default() }, "per_second"),
            (Settings { per_second: f64::NAN, ..Settings::default() }, "per_second"),
        ] {
            assert!(wrong.validate().unwrap_err().to_string().starts_with(key));
        }
        Settings::default().validate().unwrap();
    }

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let config: Config<Settings> = toml::from_str(include_str!("../config/businessworker.toml")).unwrap();
        let (file, default) = (config.app, Settings::default());
        assert_eq!(
            (file.auth_key, file.auth_minutes, file.redis, file.redis_timeout_ms),
            (default.auth_key, default.auth_minutes, default.redis, default.redis_timeout_ms)
        );
        assert_eq!(
            (file.max_text, file.burst, file.per_second),
            (default.max_text, default.burst, default.per_second)
        );
    }
}
