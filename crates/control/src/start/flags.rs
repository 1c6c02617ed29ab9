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
}

impl StartFlags {
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

    /// Returns the page to open in a browser, in the repository or as a package installs it. It belongs to the chat: an
    /// application of one's own has none.
    pub(super) fn page(&self) -> Option<&'static Path> {
        let pages = ["examples/client.html", "/usr/share/gatewayworker/client.html"].map(Path::new);
        let page = pages.into_iter().find(|page| page.is_file());
        page.filter(|_| self.businessworker.is_none())
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
