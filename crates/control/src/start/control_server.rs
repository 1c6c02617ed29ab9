//! How a running cluster can be asked for something: over its control socket, and by
//! signals other than those that end any daemon.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use gatewayworker_daemon::LogFormat;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::supervisor::{self, Request};
use super::{StartFlags, output, process_usage, readiness};
use crate::control_socket;
use crate::run_dir::{Lock, Taken};
use crate::status::{Daemon, Process, Programs, Report};

/// A place that this process's cluster has to itself.
#[derive(Debug)]
pub(super) struct Control {
    place: Taking,
    listener: std::os::unix::net::UnixListener,
    about: About,
}

/// The place, until it is dropped. What stays behind there is no socket, which whoever copies
/// the directory would stumble over.
#[derive(Debug)]
struct Taking {
    _lock: Lock,
    socket: PathBuf,
}

impl Drop for Taking {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What a report says that does not change.
#[derive(Debug, Clone)]
struct About {
    since: Instant,
    config_dir: Option<String>,
    log_file: Option<String>,
    programs: Programs,
    log_format: LogFormat,
}

impl Control {
    /// Takes the place. One that cannot be written to is none, in the foreground: a
    /// container may have nothing that can.
    ///
    /// # Errors
    /// When a cluster runs there already; in the background, also where it cannot be
    /// written to, or listened in.
    pub(super) fn take(flags: &StartFlags) -> anyhow::Result<Option<Self>> {
        let run_dir = flags.dirs.run_dir()?;
        let take = || {
            run_dir.make()?;
            let lock = run_dir.lock()?;
            anyhow::Ok((lock, control_socket::listen(&run_dir.socket())?))
        };
        let (lock, listener) = match take() {
            Ok(taken) => taken,
            Err(error) if flags.in_background || error.is::<Taken>() => return Err(error),
            Err(error) => {
                warn!("{error:#}: stop, reload and status will not find this cluster");
                return Ok(None);
            }
        };
        let text = |path: &Path| std::path::absolute(path).ok().map(|path| path.display().to_string());
        let about = About {
            since: Instant::now(),
            config_dir: flags.dirs.configs()?.and_then(text),
            log_file: flags.in_background.then(|| text(&flags.log_file(&run_dir))).flatten(),
            programs: Programs {
                register: flags.register.as_deref().and_then(text),
                businessworker: flags.businessworker.as_deref().and_then(text),
                gateway: flags.gateway.as_deref().and_then(text),
            },
            log_format: flags.log_format(),
        };
        Ok(Some(Self { place: Taking { _lock: lock, socket: run_dir.socket() }, listener, about }))
    }

    /// Passes requests on to `ask`, for as long as the runtime lives.
    ///
    /// # Errors
    /// When it cannot listen.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn serve(self, ask: mpsc::Sender<Request>) -> anyhow::Result<()> {
        let Self { place, listener, about } = self;
        let listener = UnixListener::from_std(listener).context("the control socket")?;
        tokio::spawn(async move {
            let _place = place;
            control_socket::serve(listener, move |request| pass_on(request, ask.clone(), about.clone())).await
        });
        Ok(())
    }
}

async fn pass_on(
    request: control_socket::Request,
    ask: mpsc::Sender<Request>,
    about: About,
) -> Result<Value, String> {
    Ok(match request {
        control_socket::Request::Ready => put(&ask, Request::Ready).await.map(|()| Value::Null)?,
        control_socket::Request::Able => readiness::wait(&ask, readiness::WAIT)
            .await
            .map(|()| Value::Null)
            .map_err(|problems| problems.join("; "))?,
        control_socket::Request::Reload => put(&ask, Request::Reload).await?.map(|()| Value::Null)?,
        control_socket::Request::Status => {
            let report = about.report(put(&ask, Request::Status).await?);
            serde_json::to_value(report).map_err(|error| error.to_string())?
        }
        control_socket::Request::Stop { now } => {
            info!("asked to stop: ending all daemons");
            ask.send(Request::Stop { now }).await.map(|()| Value::Null).map_err(|_| over())?
        }
    })
}

/// Asks, and waits for the answer.
async fn put<T>(
    ask: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, String> {
    let (to, answer) = oneshot::channel();
    ask.send(request(to)).await.map_err(|_| over())?;
    answer.await.map_err(|_| over())
}

fn over() -> String {
    "the cluster is ending".into()
}

impl About {
    fn report(&self, daemons: Vec<supervisor::Status>) -> Report {
        let milliseconds = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let process = |process: super::daemon_runner::Process| {
            let usage = process_usage::of(process.process_id);
            Process {
                process_id: process.process_id,
                state: process.state.to_owned(),
                uptime_ms: milliseconds(process.since),
                cpu_ms: usage.cpu_ms,
                memory_bytes: usage.memory_bytes,
                listens: process.addresses,
                stats: process.stats,
            }
        };
        let daemon = |status: supervisor::Status| Daemon {
            name: status.name.to_owned(),
            restarts: status.restarts,
            problems: status.problems(),
            processes: status.processes.into_iter().map(process).collect(),
        };
        let daemons: Vec<_> = daemons.into_iter().map(daemon).collect();
        Report {
            ready: daemons.iter().all(|daemon| daemon.problems.is_empty()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: std::process::id(),
            uptime_ms: milliseconds(self.since),
            config_dir: self.config_dir.clone(),
            log_file: self.log_file.clone(),
            log_format: self.log_format.name().to_owned(),
            log_lines_dropped: output::dropped(),
            programs: self.programs.clone(),
            daemons,
        }
    }
}

/// What the signals mean that Workerman and nginx have too. SIGHUP is a reload, except at a
/// terminal: there it is the terminal that goes, and the cluster with it.
///
/// # Errors
/// When the system refuses.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn obey_signals(ask: mpsc::Sender<Request>) -> anyhow::Result<()> {
    let at_terminal = std::io::stdin().is_terminal();
    for (name, kind, reloads) in [
        ("SIGHUP", SignalKind::hangup(), !at_terminal),
        ("SIGUSR1", SignalKind::user_defined1(), true),
        ("SIGUSR2", SignalKind::user_defined2(), true),
        ("SIGQUIT", SignalKind::quit(), false),
    ] {
        let mut signal = signal(kind).context("cannot listen for signals")?;
        let ask = ask.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if reloads {
                    info!("{name}: reloading");
                    // What came of it is in the log, but for what only who asks is told.
                    if let Ok(Err(why)) = put(&ask, Request::Reload).await {
                        error!("{name}: {why}");
                    }
                } else {
                    info!("{name}: ending all daemons");
                    let _ = ask.send(Request::Stop { now: false }).await;
                }
            }
        });
    }
    Ok(())
}
