//! The settings of the history of groups: the table `[history]` of the worker's file, and the flags `--history-…`.
//!
//! The history's own crate has the table and checks it. `serve` opens the history where a URL is set, and calls by name reach it; an application gets it by
//! `History::of`.

use std::fmt;

use gatewayworker_client::Gateway;
use gatewayworker_history::{Config as HistoryConfig, Error, History};
use serde::Serialize;

/// The flags, which serialize as the keys of the table `[history]`; what is not set is left to the file.
#[derive(Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct HistoryFlags {
    /// Keep the last messages of groups at URL: memory:, redis://host:port/ or nats://host:port [default: none]
    #[arg(long, value_name = "URL", env = "GATEWAYWORKER_HISTORY_URL", hide_env_values = true)]
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    pub history_url: Option<String>,

    /// Keep N messages of a group [default: 100]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HISTORY_MAX_MESSAGES")]
    #[serde(rename = "max_messages", skip_serializing_if = "Option::is_none")]
    pub history_max_messages: Option<u64>,

    /// Keep them for MS milliseconds [default: 3600000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_HISTORY_MAX_AGE_MS")]
    #[serde(rename = "max_age_ms", skip_serializing_if = "Option::is_none")]
    pub history_max_age_ms: Option<u64>,

    /// Keep messages of at most N bytes; longer ones are refused [default: 65536]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HISTORY_MAX_MESSAGE_BYTES")]
    #[serde(rename = "max_message_bytes", skip_serializing_if = "Option::is_none")]
    pub history_max_message_bytes: Option<u64>,

    /// Keep N groups in memory [default: 10000]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HISTORY_MAX_GROUPS")]
    #[serde(rename = "max_groups", skip_serializing_if = "Option::is_none")]
    pub history_max_groups: Option<u64>,

    /// Keep N bytes of messages in memory [default: 268435456]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_HISTORY_MAX_MEMORY_BYTES")]
    #[serde(rename = "max_memory_bytes", skip_serializing_if = "Option::is_none")]
    pub history_max_memory_bytes: Option<u64>,
}

/// Opens the history, and lets calls by name reach it; `None` without a URL.
///
/// # Errors
/// When the URL cannot be read.
pub(crate) fn open(config: &HistoryConfig, gateway: &Gateway) -> Result<Option<History>, Error> {
    if config.url.is_empty() {
        return Ok(None);
    }
    let history = History::open_with(&config.url, config.settings(), gateway)?;
    history.attach();
    Ok(Some(history))
}

impl fmt::Debug for HistoryFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryFlags")
            .field("history_url", &self.history_url.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn each_value_that_cannot_work_is_named_and_a_password_is_not_shown() {
        let error =
            |text: &str| toml::from_str::<HistoryConfig>(text).unwrap().validate().unwrap_err().to_string();
        let url = error("url = 'http://me:secret@here'");
        assert!(url.starts_with("history.url: \"http\"") && !url.contains("secret"), "{url}");
        assert!(error("url = 'memory:'\nmax_messages = 0").starts_with("history.max_messages = 0"));
        let config = HistoryConfig::at("redis://:secret@here/");
        let flags = HistoryFlags { history_url: Some(config.url.clone()), ..HistoryFlags::default() };
        assert!(!format!("{config:?}{flags:?}").contains("secret"));
        HistoryConfig::default().validate().unwrap();
    }

    #[test]
    fn the_shipped_file_shows_every_key_with_its_default() {
        #[derive(Deserialize)]
        struct File {
            history: HistoryConfig,
        }
        let file = include_str!("../../../config/businessworker.toml");
        assert_eq!(toml::from_str::<File>(file).unwrap().history, HistoryConfig::default());
        let table = file.split("[history]").nth(1).unwrap();
        for key in
            ["url", "max_messages", "max_age_ms", "max_message_bytes", "max_groups", "max_memory_bytes"]
        {
            assert!(table.contains(&format!("\n{key} = ")), "{key}");
        }
    }
}
