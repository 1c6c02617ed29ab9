//! Runs a daemon: the log, the signals, the runtime and the supervisor's link around its `serve`. Each daemon's `run`
//! calls it with its configuration.

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::inherited_listeners::InheritedListeners;
use crate::signals::{Armed, Signals};
use crate::{
    CommonFlags, ListenerSource, Log, Operator, Reload, ServiceManager, Stats, Warnings, check_threads,
    limits, supervised, unknown_variables,
};

/// The threads that a daemon's tasks run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The main thread alone.
    CurrentThread,
    /// Several threads, which share all tasks.
    MultiThread {
        /// How many threads; one for each core if `None`.
        threads: Option<usize>,
    },
}

/// Runs a daemon to its end: sets up the log, the file limit, the runtime and the signals, then calls `serve` with
/// `config` and a token that the first SIGINT or SIGTERM cancels. A second signal ends the process at once, with
/// status 130 or 143. SIGHUP asks the daemon, through its [`Operator`], to read its files again, and never ends it.
///
/// A service manager that the environment names is told how it goes ([`ServiceManager`]), and may have passed listeners.
/// With `--supervised`, the supervisor asks for all this over standard input, and for the daemon's
/// [`Stats`](crate::Stats). With `--check-config`, it prints that the configuration is valid, and does not serve.
///
/// The status is 0 after a drain; 1, with one line on standard error, where `config` or `serve` is an error. Nothing
/// waits for a reader of the log: see [`LineWriter`](crate::LineWriter).
pub fn run<C, Fut>(
    common: &CommonFlags,
    config: anyhow::Result<C>,
    runtime: Runtime,
    serve: impl FnOnce(C, CancellationToken, Operator) -> Fut,
) -> ExitCode
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    // First: it changes the environment, which threads may read.
    let (inherited, useless) = InheritedListeners::of_process();
    let warnings = Warnings::default();
    let log = match Log::start(common.log_format, warnings.clone()) {
        Ok(log) => Flushed(log),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let listeners = match common.supervised {
        true => ListenerSource::of_supervisor(),
        false => ListenerSource::of_service_manager(inherited),
    };
    match try_run(&log.0, common, config, runtime, (listeners, useless, warnings), serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.0.fail(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A log that writes its last lines when it is dropped, also by a panic.
struct Flushed(Log);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.finish();
    }
}

fn try_run<C, Fut>(
    log: &Log,
    common: &CommonFlags,
    config: anyhow::Result<C>,
    runtime: Runtime,
    (listeners, useless, warnings): (ListenerSource, Vec<String>, Warnings),
    serve: impl FnOnce(C, CancellationToken, Operator) -> Fut,
) -> anyhow::Result<()>
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let config = config?;
    if common.check_config {
        for warning in common.take_warnings().into_iter().chain(unknown_variables()) {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
        return writeln!(std::io::stdout(), "configuration is valid").context("standard output");
    }
    log.set_up()?;
    common.take_warnings().iter().chain(&useless).for_each(|warning| warn!("{warning}"));
    if !common.supervised {
        // The supervisor has the same environment, and has logged the warnings.
        unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    }
    limits::raise_file_limit();
    let shutdown = CancellationToken::new();
    let armed = Armed::new().context("cannot listen for signals")?;
    let (reload_sender, reload) = Reload::new();
    let stats = Stats::of(log.lines().clone());
    let manager = ServiceManager::of_process();
    let loops = manager.watched_loops();
    if common.supervised {
        supervised::start(shutdown.clone(), reload_sender.clone(), stats.clone(), listeners.clone())
            .context("cannot start a thread")?;
    }
    let runtime = runtime.build().context("cannot start the runtime")?;
    let result =
        runtime.block_on(async {
            let signals = Signals::new().context("cannot listen for signals")?;
            tokio::spawn(armed.watch(signals, shutdown.clone()));
            reload_sender.request_at_sighup().context("cannot listen for signals")?;
            tokio::spawn({
                let (shutdown, stats, loops) = (shutdown.clone(), stats.clone(), loops.clone());
                let stopping = async move {
                    shutdown.cancelled().await;
                    manager.stopping();
                };
                async move {
                    tokio::join!(stopping, manager.attend(&loops, || stats.problems().unwrap_or_default()))
                }
            });
            serve(config, shutdown, Operator { reload, stats, listeners, loops, warnings }).await
        });
    manager.stopping();
    // Tasks that `serve` left behind, a name look-up for example, do not delay the end.
    runtime.shutdown_background();
    result
}

impl Runtime {
    fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread { threads } => {
                let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
                let threads = threads.unwrap_or_else(cores).max(1);
                check_threads(threads)?;
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(threads);
                builder
            }
        };
        builder.enable_all().build()
    }
}
