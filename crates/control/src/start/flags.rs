//! The flags of `start`, which `restart` has too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gatewayworker_daemon::LogFormat;

use crate::cluster_dirs::ClusterDirs;

/// The help of `--admin-listen`, which has a default here.
const ADMIN_LISTEN: &str = "Serve a page for operators at ADDRESS, host:port, or off for none [default: 127.0.0.1:9600, where it is free]";

/// The flags of `start`.
#[derive(Debug, Clone, clap::Args)]
#[command(mut_arg("admin_listen", |flag| flag.help(ADMIN_LISTEN)))]
pub struct StartFlags {
    #[command(flatten)]
    pub(crate) dirs: ClusterDirs,

    /// Start PATH, an application's own businessworker [default: the chat that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_BUSINESSWORKER")]
    pub(crate) businessworker: Option<PathBuf>,

    /// Start no businessworker: run your own ones beside this cluster, such as those of a PHP application
    #[arg(long, conflicts_with_all = ["businessworker", "federation", "cluster_name"])]
    pub(crate) no_worker: bool,

    /// Start PATH, a gateway with protocols of its own [default: the gateway that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_GATEWAY")]
    pub(crate) gateway: Option<PathBuf>,

    /// Start PATH as the register [default: the register that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_REGISTER")]
    pub(crate) register: Option<PathBuf>,

    /// How all daemons and this tool write the log, on standard error or to the log file [default: text]
    #[arg(long, value_name = "FORMAT", env = "GATEWAYWORKER_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,

    /// Check the configuration of all daemons, and end: status 0 if it is valid, 1 if not
    #[arg(long)]
    pub(crate) check_config: bool,

    /// Run in the background; returns when the cluster can do its work
    #[cfg(unix)]
    #[arg(short, long)]
    pub(crate) daemon: bool,

    /// In the background, append the log to FILE [default: gatewayworker.log in the run directory]
    #[cfg(unix)]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_LOG_FILE")]
    pub(crate) log_file: Option<PathBuf>,

    /// The page for operators.
    #[command(flatten)]
    pub(crate) admin: gatewayworker_admin::Flags,

    /// Reach other clusters over NATS at URL, as the worker's flag of that name does [default without a URL: nats://127.0.0.1:4222]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "nats://127.0.0.1:4222")]
    pub(crate) federation: Option<String>,

    /// The NAME of this cluster among those that NATS joins, as the worker's flag of that name
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_name: Option<String>,

    /// Be the process in the background
    #[cfg(unix)]
    #[arg(long, hide = true, conflicts_with = "daemon")]
    pub(super) in_background: bool,

    #[arg(skip)]
    runs_chat: Option<RunsChat>,
}

/// Returns whether the businessworker that this tool has built in runs the chat, with this configuration file.
pub type RunsChat = fn(Option<&Path>) -> bool;

impl StartFlags {
    /// Sets who says whether the built-in businessworker runs the chat, whose page the welcome names. Where nobody does, it is
    /// taken to run it.
    #[must_use]
    pub fn with_runs_chat(mut self, runs_chat: RunsChat) -> Self {
        self.runs_chat = Some(runs_chat);
        self
    }

    /// Returns the configuration file of a daemon, by its name; `None` where there is none.
    ///
    /// # Errors
    /// When the directory that was named does not exist.
    pub(super) fn config_of(&self, daemon: &str) -> anyhow::Result<Option<PathBuf>> {
        let file = self.dirs.configs()?.map(|configs| configs.join(daemon).with_extension("toml"));
        Ok(file.filter(|file| file.is_file()))
    }

    /// Whether this process is the one in the background.
    #[cfg(unix)]
    pub(super) fn in_background(&self) -> bool {
        self.in_background
    }

    /// Whether this process is the one in the background: never, there is none here.
    #[cfg(not(unix))]
    pub(super) fn in_background(&self) -> bool {
        false
    }

    /// Returns the worker's own flags among these.
    pub(super) fn for_worker(&self) -> Vec<OsString> {
        let flags = [("--federation", &self.federation), ("--cluster-name", &self.cluster_name)];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        given.flat_map(|(flag, value)| [flag.into(), value.into()]).collect()
    }

    pub(super) fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_default()
    }

    /// Returns the page to open in a browser, in the repository or as a package installs it. It belongs to the chat: where
    /// something else runs, there is none.
    pub(super) fn page(&self) -> Option<&'static Path> {
        if !self.has_chat() {
            return None;
        }
        let pages = ["examples/client.html", "/usr/share/gatewayworker/client.html"].map(Path::new);
        pages.into_iter().find(|page| page.is_file())
    }

    /// Whether the chat that this tool has built in runs.
    pub(super) fn has_chat(&self) -> bool {
        if self.businessworker.is_some() || self.no_worker {
            return false;
        }
        let file = self.config_of("businessworker").ok().flatten();
        self.runs_chat.is_none_or(|runs_chat| runs_chat(file.as_deref()))
    }

    /// Returns the absolute path of the log in the background.
    #[cfg(unix)]
    pub(super) fn log_file(&self, run_dir: &crate::run_dir::RunDir) -> PathBuf {
        let file = self.log_file.clone().unwrap_or_else(|| run_dir.log());
        std::path::absolute(&file).unwrap_or(file)
    }

    /// Returns the command line for the process in the background: the same flags, but for the page's token, which
    /// other users of the machine would see there. What comes from the environment comes from there again.
    #[cfg(unix)]
    pub(super) fn for_background(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["start".into(), "--in-background".into()];
        let paths = [
            ("--config-dir", &self.dirs.config_dir),
            ("--run-dir", &self.dirs.run_dir),
            ("--register", &self.register),
            ("--businessworker", &self.businessworker),
            ("--gateway", &self.gateway),
            ("--log-file", &self.log_file),
            ("--admin-token-file", &self.admin.admin_token_file),
        ];
        for (flag, path) in paths {
            if let Some(path) = path {
                arguments.extend([flag.into(), path.into()]);
            }
        }
        if let Some(listen) = &self.admin.admin_listen {
            arguments.extend(["--admin-listen".into(), listen.into()]);
        }
        for host in self.admin.admin_hosts.iter().flatten() {
            arguments.extend(["--admin-hosts".into(), host.into()]);
        }
        if self.no_worker {
            arguments.push("--no-worker".into());
        }
        arguments.extend(self.for_worker());
        if let Some(format) = self.log_format {
            arguments.extend(["--log-format".into(), format.name().into()]);
        }
        arguments
    }
}

#[cfg(all(test, unix))]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn flags(arguments: &[&str]) -> Result<StartFlags, clap::Error> {
        let command = StartFlags::augment_args(clap::Command::new("start"));
        StartFlags::from_arg_matches(&command.try_get_matches_from([&["start"], arguments].concat())?)
    }

    #[test]
    fn the_process_in_the_background_starts_no_worker_either() {
        let passed_on = flags(&["--no-worker"]).unwrap().for_background();
        assert!(passed_on.iter().any(|word| word == "--no-worker"));
        assert!(!flags(&[]).unwrap().for_background().iter().any(|word| word == "--no-worker"));
        for of_worker in [["--businessworker", "/opt/worker"], ["--federation", "nats://h"]] {
            let both = flags(&[&["--no-worker"][..], &of_worker].concat());
            assert_eq!(both.unwrap_err().kind(), clap::error::ErrorKind::ArgumentConflict);
        }
    }

    #[test]
    fn the_page_of_the_chat_is_named_where_the_chat_runs() {
        // The repository has it, and so may this machine.
        let page = |arguments: &[&str], runs_chat: RunsChat| {
            flags(arguments).unwrap().with_runs_chat(runs_chat).page().is_some()
        };
        let runs_chat: RunsChat = |file| file.is_none_or(|file| !file.ends_with("businessworker.toml"));
        let directory = tempfile::tempdir().unwrap();
        let configs = directory.path().to_str().unwrap();
        let has_page = flags(&[]).unwrap().page().is_some();
        assert_eq!(page(&["--config-dir", configs], runs_chat), has_page);
        std::fs::write(directory.path().join("businessworker.toml"), "").unwrap();
        assert!(!page(&["--config-dir", configs], runs_chat), "it is asked with the worker's file");
        for other in [&["--no-worker"][..], &["--businessworker", "/opt/worker"]] {
            assert!(!page(other, |_| true), "{other:?}");
        }
    }

    #[test]
    fn the_process_in_the_background_gets_all_flags() {
        let command = StartFlags::augment_args(clap::Command::new("start"));
        let given = command.get_arguments().filter(|flag| flag.get_action().takes_values());
        let value = |flag: &clap::Arg| flag.get_possible_values().last().map(|one| one.get_name().to_owned());
        let given: Vec<_> = given
            .map(|flag| (flag.get_long().unwrap(), value(flag).unwrap_or("here".into())))
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        assert!(given.len() >= 7, "{given:?}");
        let matches = command.get_matches_from([&["start".to_owned()], given.as_slice()].concat());
        let flags = StartFlags::from_arg_matches(&matches).unwrap();
        let passed_on = flags.for_background();
        for flag in given {
            let (name, value) = flag.split_once('=').unwrap();
            if name == "--admin-token" {
                assert!(!passed_on.iter().any(|word| word == name), "it is passed on in the environment");
                continue;
            }
            let at = passed_on.iter().position(|word| word == name);
            assert!(at.is_some_and(|at| passed_on[at + 1] == value), "{flag}: {passed_on:?}");
        }
    }
}
