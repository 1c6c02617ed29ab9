//! The command `demo`: a register, a gateway, the worker and the backend in one process. All of them listen on loopback
//! only. In production, each runs in a process of its own.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use gatewayworker::businessworker::CancellationToken;
use gatewayworker::{SecretKey, businessworker, gateway, register};
use live_room::backend::{self, LoginKey};
use live_room::{Lines, LiveRoom, Settings};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::RoomFlags;

/// How long the daemons may take to end.
const END: Duration = Duration::from_secs(15);

/// The flags of `demo`.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Serve the page at this port of 127.0.0.1, 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,

    /// Let clients connect to this port of 127.0.0.1, 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 8289)]
    socket_port: u16,

    #[command(flatten)]
    room: RoomFlags,
}

/// Runs the demo until `shutdown`, or until a daemon ends.
pub(crate) async fn demo(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let rooms = flags.room.rooms()?;
    let views = flags.room.views()?;
    let page = listen(flags.port, "--port").await?;
    let register = listen(0, "register").await?;
    let registers = vec![register.local_addr()?.to_string()];

    // The register ends last, because the others tell it that they leave.
    let end_of_register = CancellationToken::new();
    let register =
        tokio::spawn(register::serve(register, register::Config::default(), end_of_register.clone()));
    let (gateway_address, gateway) = start_gateway(flags.socket_port, &registers, shutdown.clone()).await?;
    let settings = Settings { rooms: rooms.clone(), ..Settings::default() };
    let config = businessworker::Config::default().with_register_address(registers.clone());
    let cluster = backend::connect(registers, SecretKey::default());
    // One process, so that worker and backend can share one in memory.
    let lines = Lines::open("memory:", &cluster)?;
    let events = LiveRoom::new(&settings, views.clone(), lines.clone());
    let worker = tokio::spawn(businessworker::serve(config, events, shutdown.clone()));
    let address = page.local_addr()?;
    let config = backend::Config {
        gateway: cluster,
        socket: format!("ws://{gateway_address}"),
        rooms,
        views,
        lines,
        login_key: LoginKey::random(),
    };
    let backend = tokio::spawn(backend::serve(page, config, shutdown.clone()));

    let _ = writeln!(
        std::io::stdout(),
        "\n  The live room is open.\n\n    \
             through the backend  http://{address}/\n    \
             over the socket      http://{address}/?way=socket\n\n  \
             Ctrl-C ends all.\n"
    );
    let all = async {
        // If one of them ends, all end.
        let ended = async |what: anyhow::Result<()>| {
            shutdown.cancel();
            what
        };
        let done = tokio::try_join!(
            async { ended(worker.await?.map_err(|error| anyhow!("the worker: {error}"))).await },
            async { ended(backend.await?.context("the backend")).await },
            async { ended(gateway.await.context("the gateway")?).await },
        );
        end_of_register.cancel();
        register.await??;
        done.map(drop)
    };
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(END).await;
    };
    tokio::select! {
        done = all => done,
        () = late => Err(anyhow!("the daemons have not ended in time")),
    }
}

async fn listen(port: u16, what: &str) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.with_context(|| format!("{what}: cannot listen on {address}"))
}

/// Starts a gateway on a thread of its own, because its future cannot move between threads. Returns the address for
/// clients, and the receiver of its result.
async fn start_gateway(
    port: u16,
    registers: &[String],
    shutdown: CancellationToken,
) -> anyhow::Result<(SocketAddr, oneshot::Receiver<anyhow::Result<()>>)> {
    let listener = gateway::ListenerConfig::new(format!("websocket://127.0.0.1:{port}").parse()?);
    let sockets = vec![listen(port, "--socket-port").await?];
    let inner = listen(0, "the gateway's inner port").await?;
    let mut config = gateway::Config::default();
    // The page's clients are kept over cuts.
    config.resume = true;
    let config = config
        .with_listen([listener])
        .with_register_address(registers)
        .with_lan_port(inner.local_addr()?.port());
    let address = sockets[0].local_addr()?;
    let listeners = gateway::BoundListeners { clients: sockets, inner };

    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("gateway".into()).spawn(move || {
        let _ = end.send(serve_gateway(listeners, config, shutdown));
    })?;
    Ok((address, ended))
}

fn serve_gateway(
    listeners: gateway::BoundListeners,
    config: gateway::Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(gateway::serve(listeners, config, shutdown))?)
}
