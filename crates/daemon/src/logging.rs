//! The log: to standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line for each event, in colour on a terminal (unless NO_COLOR is set)
    #[default]
    Text,
    /// One JSON object for each event
    Json,
}

/// Sets the process's log up; an application that has done so itself keeps its own.
///
/// # Errors
/// When `RUST_LOG` is no filter.
pub(crate) fn init(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| anyhow!("RUST_LOG: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would report to standard error that standard error is gone, and panic.
        .log_internal_errors(false);
    // Fails only where a log is set up already.
    let _ = match format {
        LogFormat::Text => {
            log.compact().with_target(false).with_ansi(wants_colour(&std::io::stderr())).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// On a terminal yes, except where `NO_COLOR` is set (<https://no-color.org>);
/// elsewhere only where `CLICOLOR_FORCE` is, by a parent that passes the lines on
/// to a terminal.
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && (stream.is_terminal() || is_set("CLICOLOR_FORCE"))
}
