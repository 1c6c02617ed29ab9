//! What `--version` of an application prints: its own version, and that of the library in it.

use clap::{CommandFactory, FromArgMatches};

use crate::Cli;

impl Cli {
    /// Reads the process's flags, for an application that is called `name`, and whose `--version` prints `version` and
    /// the library's: `rooms 2.3.1, GatewayWorker 0.1.0`. For [`run`](crate::run); [`main`](crate::main) reads
    /// the flags of a program that has no version of its own. Ends the process at `--help`, `--version` and wrong flags.
    ///
    /// ```no_run
    /// # use gatewayworker_businessworker::{self as businessworker, Events, Start};
    /// # struct Rooms;
    /// # impl Events for Rooms {
    /// #     async fn on_message(&self, _: &businessworker::Client, _: businessworker::Message) -> businessworker::Result { Ok(()) }
    /// # }
    /// fn main() -> std::process::ExitCode {
    ///     let cli = businessworker::Cli::parse_as(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    ///     businessworker::run(cli, async |_: Start| Ok(Rooms))
    /// }
    /// ```
    pub fn parse_as(name: &'static str, version: &str) -> Self {
        let matches = Self::command().name(name).version(version_with_library(version)).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Returns what an application that reads its flags itself gives to clap as its version: `version` and the library's,
/// `2.3.1, GatewayWorker 0.1.0`. Each call leaks its text: call it at the start only.
pub fn version_with_library(version: &str) -> &'static str {
    format!("{version}, GatewayWorker {}", gatewayworker_daemon::VERSION).leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_names_its_version_and_the_librarys() {
        let expected = format!("2.3.1, GatewayWorker {}", gatewayworker_daemon::build_info());
        assert_eq!(version_with_library("2.3.1"), expected);
    }
}
