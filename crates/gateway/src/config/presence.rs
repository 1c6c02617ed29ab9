//! The settings of presence, the table `[presence]`: for which groups, and what is sent. Off unless groups are set.

use gatewayworker_daemon::one_or_many;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::core::presence::message::MessageTemplate;

/// The longest of its times, in milliseconds.
const MAX_TIME_MS: u64 = 3_600_000;

/// The settings of presence. [`PresenceFlags`] documents them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct PresenceConfig {
    #[serde(deserialize_with = "one_or_many")]
    pub groups: Vec<String>,
    pub linger_ms: u64,
    #[serde(deserialize_with = "one_or_many")]
    pub data: Vec<String>,
    pub join: String,
    pub leave: String,
    pub gateway_lost_after_ms: u64,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        let message = |event| {
            let head = format!(r#"{{"gw":"presence","event":"{event}","#);
            head + r#""group":{group},"uid":{uid},"data":{data}}"#
        };
        Self {
            groups: Vec::new(),
            linger_ms: 2_000,
            data: Vec::new(),
            join: message("join"),
            leave: message("leave"),
            gateway_lost_after_ms: 30_000,
        }
    }
}

impl PresenceConfig {
    /// Whether there is presence at all.
    pub(crate) fn is_on(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Checks the settings, also where presence is off.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.groups.iter().any(String::is_empty) {
            return Err(ConfigError::EmptyPresenceGroup);
        }
        for (key, value) in [
            ("presence.linger_ms", self.linger_ms),
            ("presence.gateway_lost_after_ms", self.gateway_lost_after_ms),
        ] {
            ConfigError::check_limit(key, value, MAX_TIME_MS, " (an hour)")?;
        }
        self.templates().map(drop)
    }

    /// Returns the messages for a join and a leave, `None` for one that is not sent.
    pub(crate) fn templates(&self) -> Result<[Option<MessageTemplate>; 2], ConfigError> {
        let parse = |key, text| {
            MessageTemplate::parse(text)
                .map_err(|error| ConfigError::PresenceMessage { key, error: error.to_string() })
        };
        Ok([parse("join", &self.join)?, parse("leave", &self.leave)?])
    }
}

/// The flags, which serialize as the keys of the table; what is not set is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
#[group(skip)]
pub struct PresenceFlags {
    /// Keep presence in groups like PATTERN, e.g. room-*: who is there, and messages for who comes and goes; may be repeated [default: none]
    #[arg(
        long,
        value_name = "PATTERN",
        env = "GATEWAYWORKER_GATEWAY_PRESENCE_GROUPS",
        value_delimiter = ','
    )]
    #[serde(rename = "groups", skip_serializing_if = "Option::is_none")]
    pub presence_groups: Option<Vec<String>>,

    /// Say that a uid has left when it has not come back for so many milliseconds [default: 2000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_GATEWAY_PRESENCE_LINGER_MS")]
    #[serde(rename = "linger_ms", skip_serializing_if = "Option::is_none")]
    pub presence_linger_ms: Option<u64>,

    /// Show others the value of KEY in the session of a client in these groups; may be repeated [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_GATEWAY_PRESENCE_DATA", value_delimiter = ',')]
    #[serde(rename = "data", skip_serializing_if = "Option::is_none")]
    pub presence_data: Option<Vec<String>>,

    /// Send JSON to the group when a uid has come, with {group}, {uid} and {data} in it; empty for nothing [default: an object with gw, event, group, uid and data]
    #[arg(long, value_name = "JSON", env = "GATEWAYWORKER_GATEWAY_PRESENCE_JOIN")]
    #[serde(rename = "join", skip_serializing_if = "Option::is_none")]
    pub presence_join: Option<String>,

    /// Send JSON to the group when a uid has left [default: the same with another event]
    #[arg(long, value_name = "JSON", env = "GATEWAYWORKER_GATEWAY_PRESENCE_LEAVE")]
    #[serde(rename = "leave", skip_serializing_if = "Option::is_none")]
    pub presence_leave: Option<String>,

    /// Let the uids of another gateway leave that was not listed and said nothing for so many milliseconds [default: 30000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_GATEWAY_PRESENCE_GATEWAY_LOST_AFTER_MS")]
    #[serde(rename = "gateway_lost_after_ms", skip_serializing_if = "Option::is_none")]
    pub presence_gateway_lost_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn the_shipped_file_shows_every_key_with_its_default_but_groups_and_data() {
        let file = include_str!("../../../../config/gateway.toml");
        let table =
            file.lines().skip_while(|line| *line != "# [presence]").take_while(|line| !line.is_empty());
        let text: String =
            table.filter_map(|line| line.strip_prefix("# ")).flat_map(|line| [line, "\n"]).collect();
        let config: Config = toml::from_str(&text).unwrap();
        let PresenceConfig { groups, data, .. } = config.presence.clone();
        assert_eq!((groups, data), (vec!["room-*".into()], vec!["name".into()]));
        let defaults = PresenceConfig { groups: Vec::new(), data: Vec::new(), ..config.presence };
        assert_eq!(defaults, PresenceConfig::default());
        for key in ["groups", "linger_ms", "data", "join", "leave", "gateway_lost_after_ms"] {
            assert!(text.contains(&format!("  {key} = ")), "{key}");
        }
    }

    #[test]
    fn a_message_that_is_no_json_is_an_error_that_begins_with_the_key() {
        let with = |join: &str| PresenceConfig { join: join.into(), ..PresenceConfig::default() }.validate();
        assert!(with("").is_ok());
        let error = with("{uid} is here").unwrap_err().to_string();
        assert!(error.starts_with("presence.join: "), "{error}");
        let too_long = PresenceConfig { linger_ms: MAX_TIME_MS + 1, ..PresenceConfig::default() };
        assert!(too_long.validate().unwrap_err().to_string().starts_with("presence.linger_ms = "));
        let empty = PresenceConfig { groups: vec![String::new()], ..PresenceConfig::default() };
        assert!(empty.validate().unwrap_err().to_string().starts_with("presence.groups: "));
    }
}
