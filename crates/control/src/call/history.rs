//! How `call` reaches the history of groups: at the server where the workers keep it. The URL is a flag, by the same variable as the
//! worker's; otherwise the file `environment` or the table `[history]` of `businessworker.toml` has it, where `call` reads its registers from there, too.

use std::fmt;
use std::path::Path;

use anyhow::bail;
use gatewayworker_client::Gateway;
use gatewayworker_client::calls::{Answer, Call};
use gatewayworker_history::{Config, History};
use serde::Deserialize;

use crate::cluster_access::{AccessFlags, EnvironmentFile, read_settings};

/// Where the history is.
#[derive(clap::Args)]
#[command(next_help_heading = "History of groups")]
#[group(skip)]
pub(super) struct Flags {
    /// The workers keep the last messages of groups at URL, redis://host:port/ or nats://host:port [default: as the worker's file says]
    #[arg(
        long,
        value_name = "URL",
        env = "GATEWAYWORKER_HISTORY_URL",
        hide_env_values = true,
        global = true
    )]
    history_url: Option<String>,
}

/// The worker's file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    history: Config,
}

impl fmt::Debug for Flags {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").finish_non_exhaustive()
    }
}

impl Flags {
    /// Returns the history's settings if the call needs it.
    ///
    /// # Errors
    /// When a file cannot be read, or says nothing that can be reached from here.
    pub(super) fn config(
        &self,
        call: &Call,
        access: &AccessFlags,
        configs: Option<&Path>,
    ) -> anyhow::Result<Option<Config>> {
        if !matches!(call.answer, Answer::Published | Answer::History) {
            return Ok(None);
        }
        let configs = configs.filter(|_| !access.is_named());
        let file = configs.map(|configs| configs.join("businessworker.toml")).filter(|file| file.is_file());
        let file = file.as_deref().or(access.config.as_deref());
        let mut config = match file {
            Some(file) => read_settings::<File>(file)?.history,
            None => Config::default(),
        };
        let of_environment = match configs {
            Some(configs) => EnvironmentFile::read(configs)?.history_url,
            None => None,
        };
        if let Some(url) = self.history_url.clone().or(of_environment) {
            config.url = url;
        }
        if config.url.is_empty() {
            bail!("no history: give its URL with --history-url, or set history.url of the workers");
        }
        config.validate()?;
        if config.url.starts_with("memory:") {
            bail!(
                "the history is in the memory of a worker: make the call over HTTP (http.listen of that worker)"
            );
        }
        Ok(Some(config))
    }
}

/// Opens the history for the calls of this handle, as long as it is kept.
///
/// # Errors
/// When the URL cannot be read.
pub(super) fn open(config: Option<&Config>, gateway: &Gateway) -> anyhow::Result<Option<History>> {
    let Some(config) = config else { return Ok(None) };
    let history = History::open_with(&config.url, config.settings(), gateway)?;
    history.attach();
    Ok(Some(history))
}
