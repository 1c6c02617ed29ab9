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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gatewayworker_client::calls::find;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        access: AccessFlags,

        #[command(flatten)]
        history: Flags,
    }

    /// The URL for a call in a directory with these files; empty where the call needs none, or the error.
    fn url(call: &str, files: &[(&str, &str)], arguments: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(directory.path().join(name), text).unwrap());
        let cli = Cli::parse_from([&["call"], arguments].concat());
        match cli.history.config(find(call).unwrap(), &cli.access, Some(directory.path())) {
            Ok(config) => config.map(|config| config.url).unwrap_or_default(),
            Err(error) => format!("error: {error:#}"),
        }
    }

    const FILE: (&str, &str) =
        ("businessworker.toml", "name = 'Chat'\n[history]\nurl = 'redis://10.0.0.1/'\nmax_messages = 7");

    #[test]
    fn a_flag_goes_before_the_environment_file_and_that_before_the_workers_file() {
        let environment = ("environment", "GATEWAYWORKER_HISTORY_URL=redis://10.0.0.2/\n");
        assert_eq!(url("publish", &[FILE], &[]), "redis://10.0.0.1/");
        assert_eq!(url("history_last", &[FILE, environment], &[]), "redis://10.0.0.2/");
        let flag = ["--history-url", "redis://10.0.0.3/"];
        assert_eq!(url("history_since", &[FILE, environment], &flag), "redis://10.0.0.3/");
        assert_eq!(url("send_to_all", &[FILE], &[]), "", "only calls of the history need it");
    }

    #[test]
    fn a_history_that_cannot_be_reached_from_here_is_an_error_that_says_what_to_do() {
        assert!(url("publish", &[], &[]).starts_with("error: no history: give its URL with --history-url"));
        let memory = url("publish", &[], &["--history-url", "memory:"]);
        assert!(memory.contains("make the call over HTTP"), "{memory}");
        let other = url("publish", &[], &["--history-url", "http://me:secret@10.0.0.1/"]);
        assert!(other.starts_with("error: history.url: \"http\"") && !other.contains("secret"), "{other}");
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let cli = Cli::parse_from(["call", "--history-url", "redis://me:hunter2@10.0.0.1/"]);
        assert!(!format!("{:?}", cli.history).contains("hunter2"));
    }
}
