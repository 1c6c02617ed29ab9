//! A daemon's main: everything around its `serve`.

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::signals::{Armed, Signals};
use crate::{
    CommonFlags, ListenerSource, Log, Operator, Reload, Stats, check_threads, limits, supervised,
    unknown_variables,
};

/// What a daemon's tasks run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The main thread alone.
    CurrentThread,
    /// Several threads that share the work.
    MultiThread {
        /// How many; one for each core if `None`.
        threads: Option<usize>,
    },
}

/// Runs a daemon to its end: sets up the log, the file limit, the runtime and the
/// signals, then lets `serve` have `config` and a token that the first SIGINT or
/// SIGTERM cancels. A second signal ends the process at once, with 130 or 143. SIGHUP asks
/// the daemon, by its [`Operator`], to read its files again, and never ends it.
///
/// With `--supervised`, the parent process asks for all this over standard input, and for
/// the daemon's [`Stats`](crate::Stats).
/// With `--check-config`, a valid configuration is said to be so instead.
///
/// The status is 0 after a drain; 1, and one line on standard error, where
/// `config` or `serve` is an error. Nothing waits for whoever reads the log: see
/// [`LineWriter`](crate::LineWriter).
pub fn run<C, Fut>(
    common: &CommonFlags,
    config: anyhow::Result<C>,
    runtime: Runtime,
    serve: impl FnOnce(C, CancellationToken, Operator) -> Fut,
) -> ExitCode
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let log = match Log::start(common.log_format) {
        Ok(log) => Flushed(log),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    match try_run(&log.0, common, config, runtime, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.0.fail(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A log whose last lines are written when it is dropped, also by a panic.
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
    serve: impl FnOnce(C, CancellationToken, Operator) -> Fut,
) -> anyhow::Result<()>
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let config = config?;
    if common.check_config {
        for warning in unknown_variables() {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
        return writeln!(std::io::stdout(), "configuration is valid").context("standard output");
    }
    log.set_up()?;
    if !common.supervised {
        // The supervisor has the same ones, and has said so.
        unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    }
    limits::raise_file_limit();
    let shutdown = CancellationToken::new();
    let armed = Armed::new().context("cannot listen for signals")?;
    let (reload_sender, reload) = Reload::new();
    let stats = Stats::of(log.lines().clone());
    let mut listeners = ListenerSource::default();
    if common.supervised {
        listeners = ListenerSource::of_supervisor();
        supervised::start(shutdown.clone(), reload_sender.clone(), stats.clone(), listeners.clone())
            .context("cannot start a thread")?;
    }
    let runtime = runtime.build().context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let signals = Signals::new().context("cannot listen for signals")?;
        tokio::spawn(armed.watch(signals, shutdown.clone()));
        reload_sender.request_at_sighup().context("cannot listen for signals")?;
        serve(config, shutdown, Operator { reload, stats, listeners }).await
    });
    // Whatever `serve` left behind, a look-up of a name for one, does not delay the end.
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
