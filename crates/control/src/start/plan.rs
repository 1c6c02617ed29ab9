//! The daemons of a cluster, out of the flags of `start`: which programs to run, with which files. Also asks them
//! whether their configuration is valid (`--check-config`, and before a restart). It starts no cluster.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use gatewayworker_daemon::unknown_variables;
use tracing::warn;

use super::StartFlags;
use super::daemon::{Daemon, OnReload};
use crate::console::{conclude, print, print_error, print_warning};

/// The name of the daemon that is left out with `--no-worker`.
pub(super) const WORKER: &str = "businessworker";
const GATEWAY: &str = "gateway";
/// Whether clients of the gateway may come back after a cut.
const RESUME: &str = "GATEWAYWORKER_GATEWAY_RESUME";

/// Returns the daemons in the order in which they start: the register first, as the others look for it, and try
/// again only after a while.
///
/// # Errors
/// When the directory that was named does not exist.
pub(super) fn plan(flags: &StartFlags) -> anyhow::Result<Vec<Daemon>> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let configs = flags.dirs.configs()?;
    if configs.is_none() {
        warn!("there is no directory ./config, all daemons run with their defaults, and show metrics");
    }
    let daemon = |name: &'static str, colour, own: Option<&PathBuf>, metrics, on_reload| {
        let mut arguments: Vec<OsString> = Vec::new();
        if own.is_none() {
            arguments.push(name.into());
        }
        match (flags.config_of(name), configs) {
            (Ok(Some(file)), _) => arguments.extend(["--config".into(), file.into()]),
            (_, Some(directory)) => {
                warn!(
                    "there is no {name}.toml in {}, the {name} runs with its defaults",
                    directory.display()
                );
            }
            (_, None) => {}
        }
        if name == WORKER {
            arguments.extend(flags.for_worker());
        }
        // A name without a slash would be looked for in PATH.
        let program = own.map(|own| std::path::absolute(own).unwrap_or(own.clone()));
        let program = program.unwrap_or(this.clone());
        // The files say it otherwise. Programs of an older version do not know the flag, and pass over the variable.
        let variable = format!("GATEWAYWORKER_{}_METRICS_LISTEN", name.to_uppercase());
        let is_set = configs.is_some() || std::env::var_os(&variable).is_some();
        let mut variables = Vec::new();
        if !is_set {
            variables.push((variable, metrics));
        }
        // The chat's page keeps its clients over cuts. Other clients see no difference.
        if name == GATEWAY && flags.has_chat() && std::env::var_os(RESUME).is_none() {
            variables.push((RESUME.into(), "true"));
        }
        let log_format = flags.log_format();
        Daemon { name, colour, program, arguments, variables, log_format, on_reload }
    };
    let mut daemons =
        vec![daemon("register", 36, flags.register.as_ref(), "127.0.0.1:9601", OnReload::Nothing)];
    if !flags.no_worker {
        let own = flags.businessworker.as_ref();
        daemons.push(daemon(WORKER, 35, own, "127.0.0.1:9603", OnReload::Replace));
    }
    daemons.push(daemon(GATEWAY, 32, flags.gateway.as_ref(), "127.0.0.1:9602", OnReload::ReadFiles));
    Ok(daemons)
}

/// Prints whether the configuration is valid: status 0 if it is, 1 and an error for each daemon if not.
pub(super) fn print_check(flags: &StartFlags) -> ExitCode {
    let problems = match check(flags) {
        Ok(problems) => problems,
        Err(error) => return conclude(Err::<String, _>(error)),
    };
    unknown_variables().iter().for_each(print_warning);
    problems.iter().for_each(print_error);
    if !problems.is_empty() {
        return ExitCode::FAILURE;
    }
    print("configuration is valid");
    ExitCode::SUCCESS
}

/// Asks each daemon whether its configuration is valid; returns a sentence for each problem.
///
/// # Errors
/// When the directory that was named does not exist.
pub(crate) fn check(flags: &StartFlags) -> anyhow::Result<Vec<String>> {
    let mut problems: Vec<_> = plan(flags)?.iter().filter_map(check_daemon).collect();
    // Where a daemon's file is wrong, the page could not be told apart from it.
    if problems.is_empty()
        && let Err(error) = super::admin_page::check(flags)
    {
        problems.push(format!("{error:#}"));
    }
    #[cfg(unix)]
    if flags.daemon
        && let Err(error) = super::background::open_log(&flags.log_file(&flags.dirs.run_dir()?))
    {
        problems.push(format!("{error:#}"));
    }
    Ok(problems)
}

/// Asks a daemon whether its configuration is valid; returns the problem, if there is one.
fn check_daemon(daemon: &Daemon) -> Option<String> {
    let Daemon { name, program, arguments, variables, .. } = daemon;
    let mut check = Command::new(program);
    check
        .args(arguments)
        .args(["--check-config", "--log-format", "text"])
        .stdin(Stdio::null())
        .envs(variables.iter().cloned());
    let output = match check.output() {
        Ok(output) => output,
        Err(error) => return Some(format!("cannot start the {name} ({}): {error}", program.display())),
    };
    if output.status.success() {
        return None;
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let error = stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(last);
    Some(format!("the {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: StartFlags,
    }

    fn flags(arguments: &[&str]) -> StartFlags {
        Cli::parse_from([&["start"], arguments].concat()).flags
    }

    #[test]
    fn without_files_each_daemon_shows_metrics_at_a_port_of_its_own() {
        // There is no ./config in the folder of this crate.
        let daemons = plan(&flags(&[])).unwrap();
        let variables = daemons.iter().map(|daemon| daemon.variables[0].clone()).collect::<Vec<_>>();
        let expected = [
            ("REGISTER", "127.0.0.1:9601"),
            ("BUSINESSWORKER", "127.0.0.1:9603"),
            ("GATEWAY", "127.0.0.1:9602"),
        ];
        assert_eq!(
            variables,
            expected.map(|(daemon, at)| (format!("GATEWAYWORKER_{daemon}_METRICS_LISTEN"), at))
        );
    }

    #[test]
    fn without_a_worker_there_are_the_other_two() {
        let daemons = plan(&flags(&["--no-worker"])).unwrap();
        assert_eq!(daemons.iter().map(|daemon| daemon.name).collect::<Vec<_>>(), ["register", "gateway"]);
    }

    #[test]
    fn the_gateway_of_the_chat_keeps_clients_over_cuts_and_that_of_others_as_its_file_says() {
        let keeps = |arguments: &[&str]| {
            let gateway = plan(&flags(arguments)).unwrap().pop().unwrap();
            gateway.variables.contains(&(RESUME.to_owned(), "true"))
        };
        assert!(keeps(&[]));
        assert!(!keeps(&["--no-worker"]) && !keeps(&["--businessworker", "/opt/my-worker"]));
    }

    #[test]
    fn the_worker_alone_is_told_of_other_clusters() {
        let daemons = plan(&flags(&["--federation", "--cluster-name", "sh-1"])).unwrap();
        let expected = ["--federation", "nats://127.0.0.1:4222", "--cluster-name", "sh-1"];
        assert_eq!(daemons[1].arguments[1..], expected);
        assert_eq!(daemons[0].arguments, ["register"]);
        let daemons = plan(&flags(&["--federation", "nats://10.0.0.9:4222"])).unwrap();
        assert_eq!(daemons[1].arguments[1..], ["--federation", "nats://10.0.0.9:4222"]);
    }

    #[test]
    fn each_daemon_reads_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), "").unwrap();
        let config_dir = directory.path().to_str().unwrap();
        let own = ["--businessworker", "/opt/my-worker", "--gateway", "/opt/my-gateway"];
        let flags = flags(&[&["--config-dir", config_dir][..], &own].concat());
        let daemons = plan(&flags).unwrap();
        assert_eq!(daemons[0].arguments, ["register"], "it has no file");
        assert_eq!(daemons[1].program, Path::new("/opt/my-worker"));
        assert!(daemons[1].arguments.is_empty(), "an application's own program has no subcommands");
        assert_eq!(daemons[1].on_reload, OnReload::Replace);
        let file = directory.path().join("gateway.toml").into_os_string();
        assert_eq!(daemons[0].variables, [], "the files say where metrics are shown");
        assert_eq!(daemons[2].program, Path::new("/opt/my-gateway"));
        assert_eq!(daemons[2].arguments, ["--config".into(), file]);
    }
}
