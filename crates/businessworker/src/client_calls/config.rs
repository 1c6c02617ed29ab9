//! The settings of clients' calls: the table `[client_calls]` of the worker's file, and the flags `--client-calls-…`.
//!
//! Reads and checks them; the worker's configuration contains them, and [`ClientCalls`](super::ClientCalls) follows them.

use serde::{Deserialize, Serialize};

use crate::use_mark::UseMark;

/// The flags, which serialize as the keys of the table `[client_calls]`; what is not set is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct ClientCallsFlags {
    /// Let clients join and leave the groups that match PATTERN, room-*; may be given several times [default: none]
    #[arg(long, value_name = "PATTERN", env = "GATEWAYWORKER_CLIENT_CALLS_JOIN", value_delimiter = ',')]
    #[serde(rename = "join", skip_serializing_if = "Option::is_none")]
    pub client_calls_join: Option<Vec<String>>,

    /// Let clients publish to their groups that match PATTERN; may be given several times [default: none]
    #[arg(long, value_name = "PATTERN", env = "GATEWAYWORKER_CLIENT_CALLS_PUBLISH", value_delimiter = ',')]
    #[serde(rename = "publish", skip_serializing_if = "Option::is_none")]
    pub client_calls_publish: Option<Vec<String>>,

    /// Let clients ask who is in the groups that match PATTERN; may be given several times [default: none]
    #[arg(long, value_name = "PATTERN", env = "GATEWAYWORKER_CLIENT_CALLS_PRESENCE", value_delimiter = ',')]
    #[serde(rename = "presence", skip_serializing_if = "Option::is_none")]
    pub client_calls_presence: Option<Vec<String>>,

    /// Allow clients what the claim client_calls of their tokens allows, too [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        env = "GATEWAYWORKER_CLIENT_CALLS_FROM_TOKEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    #[serde(rename = "from_token", skip_serializing_if = "Option::is_none")]
    pub client_calls_from_token: Option<bool>,

    /// Let a client join groups until it is in N [default: 100]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_CLIENT_CALLS_MAX_GROUPS")]
    #[serde(rename = "max_groups", skip_serializing_if = "Option::is_none")]
    pub client_calls_max_groups: Option<usize>,

    /// Take names of groups of at most N bytes [default: 128]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_CLIENT_CALLS_MAX_NAME_BYTES")]
    #[serde(rename = "max_name_bytes", skip_serializing_if = "Option::is_none")]
    pub client_calls_max_name_bytes: Option<usize>,

    /// Publish messages of at most N bytes [default: 16384]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_CLIENT_CALLS_MAX_MESSAGE_BYTES")]
    #[serde(rename = "max_message_bytes", skip_serializing_if = "Option::is_none")]
    pub client_calls_max_message_bytes: Option<usize>,
}

/// What clients may call: the keys of the table `[client_calls]` of a worker's file. By default nothing.
///
/// A `*` in a pattern stands for any characters, and `{uid}` for the client's own uid: a pattern with it allows nothing
/// to a client without a uid, or with one that has a `*` in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientCallsConfig {
    /// Patterns of the groups that a client may join and leave.
    pub join: Vec<String>,
    /// Patterns of the groups that a client may publish to while it is in them.
    pub publish: Vec<String>,
    /// Patterns of the groups of which a client may ask who is in them, also while it is not. Each call asks all gateways.
    pub presence: Vec<String>,
    /// Whether the patterns in the session's key `client_calls` count, too. The gateway puts the claim of that name there
    /// from the client's token. An application that lets clients write that key lets them allow themselves anything.
    pub from_token: bool,
    /// In how many groups a client may be; it joins no more then. 100 by default. A client that sends calls without waiting
    /// for their answers may be in more, by as many events as its gateway gives ahead, 256. The gateway's
    /// `max_groups_per_client` is exact.
    pub max_groups: usize,
    /// The longest name of a group, in bytes; 128 by default.
    pub max_name_bytes: usize,
    /// The longest message that is published, in bytes; 16384 by default.
    pub max_message_bytes: usize,
    /// Whether anything answers calls as this says.
    #[serde(skip)]
    pub(crate) used: UseMark,
}

impl Default for ClientCallsConfig {
    fn default() -> Self {
        Self {
            join: Vec::new(),
            publish: Vec::new(),
            presence: Vec::new(),
            from_token: false,
            max_groups: 100,
            max_name_bytes: 128,
            max_message_bytes: 16_384,
            used: UseMark::default(),
        }
    }
}

/// A value in `[client_calls]` that cannot work. Each is one line that begins with the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientCallsConfigError {
    /// A pattern is empty.
    #[error("client_calls.{0}: an empty pattern matches no group: remove it")]
    EmptyPattern(&'static str),
    /// A limit is 0.
    #[error("client_calls.{0}: must be at least 1")]
    Zero(&'static str),
}

impl ClientCallsConfig {
    /// Notes that the application answers calls as these settings say. A worker warns at its start where they allow calls and
    /// nothing has noted this, for any clone of its settings. [`ClientCalls`](super::ClientCalls) does.
    pub fn mark_used(&self) {
        self.used.set();
    }

    /// Returns whether clients may call anything.
    pub fn is_on(&self) -> bool {
        self.from_token || self.patterns().iter().any(|(_, patterns)| !patterns.is_empty())
    }

    fn patterns(&self) -> [(&'static str, &Vec<String>); 3] {
        [("join", &self.join), ("publish", &self.publish), ("presence", &self.presence)]
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn validate(&self) -> Result<(), ClientCallsConfigError> {
        for (key, patterns) in self.patterns() {
            if patterns.iter().any(String::is_empty) {
                return Err(ClientCallsConfigError::EmptyPattern(key));
            }
        }
        for (key, limit) in [
            ("max_groups", self.max_groups),
            ("max_name_bytes", self.max_name_bytes),
            ("max_message_bytes", self.max_message_bytes),
        ] {
            if limit == 0 {
                return Err(ClientCallsConfigError::Zero(key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!ClientCallsConfig::default().is_on());
        for text in ["join = ['a']", "publish = ['a']", "presence = ['a']", "from_token = true"] {
            assert!(toml::from_str::<ClientCallsConfig>(text).unwrap().is_on(), "{text}");
        }
    }

    #[test]
    fn the_example_without_code_has_settings_that_work() {
        let text = include_str!("../../../../examples/no-code/businessworker.toml");
        let config: crate::Config = toml::from_str(text).unwrap();
        config.validate().unwrap();
        assert!(config.client_calls.is_on() && config.client_calls.from_token);
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        for (text, key) in [
            ("join = ['a', '']", "join"),
            ("publish = ['']", "publish"),
            ("presence = ['']", "presence"),
            ("max_groups = 0", "max_groups"),
            ("max_name_bytes = 0", "max_name_bytes"),
            ("max_message_bytes = 0", "max_message_bytes"),
        ] {
            let config: ClientCallsConfig = toml::from_str(text).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("client_calls.{key}: ")), "{error}");
        }
    }
}
