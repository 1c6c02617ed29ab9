//! The settings of a history: how much is kept of which groups. Plain data.
//!
//! An application gives them to [`History::open_with`](crate::History::open_with); the worker reads them from `[history]` of its
//! file.

use serde::Deserialize;

/// The most that `max_messages` may be.
const MOST_MESSAGES: u64 = 10_000;

/// The most that `max_message_bytes` may be: a message has to fit a frame, and NATS takes no more by default.
const MOST_BYTES: u64 = 1_000_000;

/// The longest `max_age_ms`: a year.
const MOST_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// The most prefixes.
const MOST_PREFIXES: usize = 100;

/// How much is kept. Keys of the table `[history]`, where it is read from a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// How many messages of a group are kept; 100 by default, 10000 at most.
    pub max_messages: u64,
    /// How long a message is kept, in milliseconds; an hour by default, a year at most.
    pub max_age_ms: u64,
    /// The longest message, in bytes; 65536 by default, 1000000 at most.
    pub max_message_bytes: u64,
    /// How many groups are kept in memory; 10000 by default. Of more, those to which nothing was published for longest are
    /// forgotten. Redis and NATS have limits of their own.
    pub max_groups: u64,
    /// How much memory the messages may take there, in bytes; 256 MiB by default. The same groups are forgotten.
    pub max_memory_bytes: u64,
    /// Other numbers for groups whose names begin with a prefix; the longest prefix counts.
    pub prefixes: Vec<PrefixSettings>,
}

/// How much is kept of groups whose names begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PrefixSettings {
    /// What the names begin with.
    pub prefix: String,
    /// How many messages of such a group are kept; as for all others unless set. 0 keeps none.
    #[serde(default)]
    pub max_messages: Option<u64>,
    /// How long such a message is kept, in milliseconds; as for all others unless set.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
}

/// A value in [`Settings`] that cannot work. One line, which begins with the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A number is out of its range.
    #[error("history.{key} = {value}: from {least} to {most}")]
    OutOfRange {
        /// The key, without `history`.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
    },
    /// There are too many prefixes.
    #[error("history.prefixes: {0} prefixes; at most {MOST_PREFIXES}")]
    TooManyPrefixes(usize),
    /// A prefix is there twice.
    #[error("history.prefixes: {0:?} is there twice")]
    Twice(String),
}

/// How much is kept of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_messages: u64,
    pub(crate) max_age_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_messages: 100,
            max_age_ms: 60 * 60 * 1000,
            max_message_bytes: 64 * 1024,
            max_groups: 10_000,
            max_memory_bytes: 256 * 1024 * 1024,
            prefixes: Vec::new(),
        }
    }
}

impl Settings {
    /// Sets how many messages of a group are kept, and for how long, in milliseconds.
    #[must_use]
    pub fn with_kept(mut self, max_messages: u64, max_age_ms: u64) -> Self {
        (self.max_messages, self.max_age_ms) = (max_messages, max_age_ms);
        self
    }

    /// Sets both for groups whose names begin with `prefix`.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>, max_messages: u64, max_age_ms: u64) -> Self {
        let (max_messages, max_age_ms) = (Some(max_messages), Some(max_age_ms));
        self.prefixes.push(PrefixSettings { prefix: prefix.into(), max_messages, max_age_ms });
        self
    }

    /// Sets the longest message, in bytes.
    #[must_use]
    pub fn with_max_message_bytes(mut self, bytes: u64) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets how many groups are kept in memory.
    #[must_use]
    pub fn with_max_groups(mut self, groups: u64) -> Self {
        self.max_groups = groups;
        self
    }

    /// Sets how much memory the messages may take, in bytes.
    #[must_use]
    pub fn with_max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory_bytes = bytes;
        self
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let check = |key, value, least, most| {
            let is_good = (least..=most).contains(&value);
            if is_good { Ok(()) } else { Err(SettingsError::OutOfRange { key, value, least, most }) }
        };
        check("max_messages", self.max_messages, 1, MOST_MESSAGES)?;
        check("max_age_ms", self.max_age_ms, 1, MOST_MS)?;
        check("max_message_bytes", self.max_message_bytes, 1, MOST_BYTES)?;
        check("max_groups", self.max_groups, 1, 10_000_000)?;
        check("max_memory_bytes", self.max_memory_bytes, self.max_message_bytes, u64::MAX)?;
        if self.prefixes.len() > MOST_PREFIXES {
            return Err(SettingsError::TooManyPrefixes(self.prefixes.len()));
        }
        for (n, PrefixSettings { prefix, max_messages, max_age_ms }) in self.prefixes.iter().enumerate() {
            check("prefixes.max_messages", max_messages.unwrap_or(1), 0, MOST_MESSAGES)?;
            check("prefixes.max_age_ms", max_age_ms.unwrap_or(1), 1, MOST_MS)?;
            if self.prefixes[..n].iter().any(|other| other.prefix == *prefix) {
                return Err(SettingsError::Twice(prefix.clone()));
            }
        }
        Ok(())
    }

    /// How much is kept of a group.
    pub(crate) fn limits_of(&self, group: &[u8]) -> Limits {
        let matching = self.prefixes.iter().filter(|one| group.starts_with(one.prefix.as_bytes()));
        let longest = matching.max_by_key(|one| one.prefix.len());
        Limits {
            max_messages: longest.and_then(|one| one.max_messages).unwrap_or(self.max_messages),
            max_age_ms: longest.and_then(|one| one.max_age_ms).unwrap_or(self.max_age_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts_and_what_it_does_not_say_is_as_for_all() {
        let settings: Settings = toml::from_str(
            "max_messages = 50\n[[prefixes]]\nprefix = \"room-\"\nmax_messages = 10\n\
             [[prefixes]]\nprefix = \"room-big-\"\nmax_age_ms = 1000",
        )
        .unwrap();
        settings.validate().unwrap();
        let of = |group: &[u8]| settings.limits_of(group);
        let hour = 3_600_000;
        assert_eq!(of(b"news"), Limits { max_messages: 50, max_age_ms: hour });
        assert_eq!(of(b"room-1"), Limits { max_messages: 10, max_age_ms: hour });
        assert_eq!(of(b"room-big-1"), Limits { max_messages: 50, max_age_ms: 1000 });
    }

    #[test]
    fn numbers_that_cannot_work_are_named() {
        let check = |text: &str, why: &str| {
            let error = toml::from_str::<Settings>(text).unwrap().validate().unwrap_err().to_string();
            assert_eq!(error, why);
        };
        check("max_messages = 0", "history.max_messages = 0: from 1 to 10000");
        check("max_age_ms = 0", "history.max_age_ms = 0: from 1 to 31536000000");
        check("max_message_bytes = 1000001", "history.max_message_bytes = 1000001: from 1 to 1000000");
        check(
            "[[prefixes]]\nprefix = \"a\"\n[[prefixes]]\nprefix = \"a\"",
            "history.prefixes: \"a\" is there twice",
        );
        assert!(toml::from_str::<Settings>("max_mesages = 1").is_err());
    }
}
