//! [`Config`]: where the last messages are kept, and how many; the table `[history]` of a worker's file. Plain data.

use std::fmt;

use serde::Deserialize;

use crate::{Error, PrefixSettings, Settings, check_url};

/// Where the last messages of groups are kept, and how many: the keys of the table `[history]` of a worker's file. The numbers are
/// those of [`Settings`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// `memory:`, `redis://host:port/` or `nats://host:port`; empty for no history, the default. A URL may hold a password.
    pub url: String,
    /// How many messages of a group are kept; 100 by default.
    pub max_messages: u64,
    /// How long a message is kept, in milliseconds; an hour by default.
    pub max_age_ms: u64,
    /// The longest message, in bytes; 65536 by default.
    pub max_message_bytes: u64,
    /// How many groups are kept in memory; 10000 by default.
    pub max_groups: u64,
    /// How many bytes of messages are kept in memory; 256 MiB by default.
    pub max_memory_bytes: u64,
    /// Other numbers for groups whose names begin with a prefix.
    pub prefixes: Vec<PrefixSettings>,
}

impl Default for Config {
    fn default() -> Self {
        let default = Settings::default();
        Self {
            url: String::new(),
            max_messages: default.max_messages,
            max_age_ms: default.max_age_ms,
            max_message_bytes: default.max_message_bytes,
            max_groups: default.max_groups,
            max_memory_bytes: default.max_memory_bytes,
            prefixes: default.prefixes,
        }
    }
}

impl Config {
    /// A history at a URL, with the defaults.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// The numbers.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default()
            .with_kept(self.max_messages, self.max_age_ms)
            .with_max_message_bytes(self.max_message_bytes)
            .with_max_groups(self.max_groups)
            .with_max_memory_bytes(self.max_memory_bytes);
        settings.prefixes.clone_from(&self.prefixes);
        settings
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        check_url(&self.url)?;
        Ok(self.settings().validate()?)
    }
}

/// The URL may hold a password.
fn shown(url: &str) -> &str {
    if url.contains('@') { "***" } else { url }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &shown(&self.url))
            .field("settings", &self.settings())
            .finish_non_exhaustive()
    }
}
