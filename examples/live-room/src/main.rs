//! The program of the live room: its worker, its web backend, or a demo with a whole cluster.

mod demo;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use gatewayworker::businessworker::CancellationToken;
use gatewayworker::{SecretKey, Start, businessworker};
use live_room::backend::{self, LoginKey};
use live_room::{Lines, LiveRoom, Rooms, Settings, Views};
use tokio::net::TcpListener;

/// A live room with comments. Without a command, runs its worker.
#[derive(Parser)]
#[command(
    name = "live-room",
    version = businessworker::version_with_library(env!("CARGO_PKG_VERSION")),
    args_conflicts_with_subcommands = true
)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    worker: businessworker::Cli,
}

#[derive(Subcommand)]
enum Command {
    /// Run a register, a gateway, the worker and the backend in one process; Ctrl-C ends them all
    Demo(demo::Flags),
    /// Run the web backend
    Backend(Flags),
}

/// The backend's flags.
#[derive(clap::Args)]
struct Flags {
    /// Serve the page and its requests on ADDRESS
    #[arg(long, value_name = "ADDRESS", env = "LIVE_ROOM_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// The gateway's URL, to which pages connect
    #[arg(long, value_name = "URL", env = "LIVE_ROOM_SOCKET", default_value = "ws://127.0.0.1:8289")]
    socket: String,

    /// The address of a register; may be given several times
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GATEWAYWORKER_REGISTER_ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:1236"
    )]
    register_address: Vec<String>,

    /// The cluster's secret key. Prefer the environment variable, which other users cannot see [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,

    #[command(flatten)]
    room: RoomFlags,

    /// The workers keep the last comments at URL, redis://host:port/, as history.url in their file says [default: nowhere]
    #[arg(long, value_name = "URL", env = "GATEWAYWORKER_HISTORY_URL", hide_env_values = true)]
    history: Option<String>,

    /// Sign logins with KEY, which all backends share [default: a random key]
    #[arg(long, value_name = "KEY", env = "LIVE_ROOM_LOGIN_KEY", hide_env_values = true)]
    login_key: Option<String>,
}

/// The flags that backend and demo share.
#[derive(clap::Args)]
struct RoomFlags {
    /// A room; may be given several times. Clients cannot make rooms
    #[arg(
        long = "room",
        value_name = "ID",
        env = "LIVE_ROOM_ROOMS",
        value_delimiter = ',',
        default_values = ["1", "2"]
    )]
    rooms: Vec<String>,

    /// Count page views in Redis, at redis://host:port/database [default: in memory]
    #[arg(long, value_name = "URL", env = "LIVE_ROOM_REDIS", hide_env_values = true)]
    redis: Option<String>,
}

impl RoomFlags {
    fn rooms(&self) -> anyhow::Result<Rooms> {
        Rooms::new(self.rooms.iter().cloned())
    }

    fn views(&self) -> anyhow::Result<Views> {
        Views::open(self.redis.as_deref().unwrap_or_default())
    }
}

fn main() -> ExitCode {
    let cli = Program::parse();
    let done = match cli.command {
        None => {
            return businessworker::run(cli.worker, async |start: Start<Settings>| {
                let settings = start.app.with_environment();
                Ok(LiveRoom::new(&settings, Views::open(&settings.redis)?, Lines::default()))
            });
        }
        Some(Command::Demo(flags)) => run("warn", |shutdown| demo::demo(flags, shutdown)),
        Some(Command::Backend(flags)) => run("info", |shutdown| serve(flags, shutdown)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(flags.listen).await.with_context(|| format!("--listen {}", flags.listen))?;
    tracing::info!(address = %listener.local_addr()?, "the backend listens");
    let gateway =
        backend::connect(flags.register_address, SecretKey::new(flags.secret_key.unwrap_or_default()));
    let config = backend::Config {
        lines: Lines::open(flags.history.as_deref().unwrap_or_default(), &gateway)?,
        gateway,
        socket: flags.socket,
        rooms: flags.room.rooms()?,
        views: flags.room.views()?,
        login_key: match flags.login_key {
            Some(key) => LoginKey::new(key.as_bytes())?,
            None => LoginKey::random(),
        },
    };
    Ok(backend::serve(listener, config, shutdown).await?)
}

/// Runs `serve` until it ends. The first signal asks it to end, the second ends the program at once. `log` is the log
/// filter without `RUST_LOG`.
fn run<F>(log: &str, serve: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| log.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The log has colours on a terminal only, and not with NO_COLOR.
    let log = if std::io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    log.init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone();
        tokio::spawn(async move {
            signal().await;
            asked.cancel();
            signal().await;
            std::process::exit(130);
        });
        serve(shutdown).await
    });
    runtime.shutdown_background();
    done
}

/// Waits for Ctrl-C or SIGTERM.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }
}
