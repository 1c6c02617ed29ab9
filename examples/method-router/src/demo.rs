//! The command `demo`: a register, a gateway and the worker in one process, with links to try them.

use std::io::{IsTerminal, Write};
use std::thread;

use anyhow::{Context, anyhow};
use gatewayworker::businessworker::CancellationToken;
use gatewayworker::{businessworker, gateway, register};
use method_router::App;
use method_router::auth::{Key, Kind};
use method_router::settings::{DEMO_KEY, Settings};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::ticket::{now, ticket};

/// The flags of `demo`.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// The address of the gateway for clients
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8289")]
    listen: String,
    /// Store rooms in this Redis [default: in memory]
    #[arg(
        long,
        value_name = "URL",
        env = "METHOD_ROUTER_REDIS",
        default_value = "",
        hide_default_value = true
    )]
    redis: String,
    /// The code of the room
    #[arg(long, default_value = "room1")]
    code: String,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The log has colours on a terminal only, and not with NO_COLOR.
    let log = if std::io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    log.init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let key = Key::new(DEMO_KEY)?;
        let settings = Settings { redis: flags.redis.clone(), auth_minutes: 24 * 60, ..Settings::default() };
        let app = App::with_key(&settings, key.clone())?;

        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.context("register")?;
        let register = listener.local_addr()?.to_string();
        tokio::spawn(register::serve(listener, register::Config::default(), shutdown.clone()));
        let (address, gateway) = start_gateway(&flags.listen, &register, shutdown.clone()).await?;
        let config = businessworker::Config::default().with_register_address([register]);
        let worker = tokio::spawn(businessworker::serve(config, app, shutdown.clone()));

        // A closed pipe on standard output does not end the demo.
        let _ = writeln!(std::io::stdout(), "{}", welcome(&address, &flags.code, &key)?);
        tokio::select! {
            signal = tokio::signal::ctrl_c() => signal.context("cannot listen for signals")?,
            ended = worker => ended?.map_err(|error| anyhow!("the worker has ended: {error}"))?,
        }
        shutdown.cancel();
        let _ = gateway.await;
        Ok(())
    })
}

/// Starts a gateway on a thread of its own, because its future cannot move between threads. Returns the address for
/// clients, and a receiver that ends with the gateway.
async fn start_gateway(
    listen: &str,
    register: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<(String, oneshot::Receiver<()>)> {
    let text = include_str!("../config/gateway.toml");
    let config: gateway::Config = toml::from_str(text)?;
    let url = format!("websocket://{listen}").parse().context("--listen")?;
    let config = config
        .with_listen([gateway::ListenerConfig::new(url)])
        .with_register_address([register])
        .with_lan_port(0);

    let (ready, address) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("gateway".into()).spawn(move || {
        let serve = async {
            let listeners = match gateway::BoundListeners::bind(&config).await {
                Ok(listeners) => listeners,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return Ok(());
                }
            };
            let address = listeners.clients[0].local_addr()?.to_string();
            // The demo may have ended meanwhile.
            let _ = ready.send(Ok(address));
            anyhow::Ok(gateway::serve(listeners, config, shutdown).await?)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve)) {
            Ok(()) => {}
            Err(error) => eprintln!("error: gateway: {error:#}"),
        }
        let _ = end.send(());
    })?;
    let address = address.await.context("the gateway has not started")??;
    Ok((address, ended))
}

/// The text with the links.
fn welcome(address: &str, code: &str, key: &Key) -> anyhow::Result<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/index.html").replace(' ', "%20");
    let link = |id: &str, kind, nickname: &str| -> anyhow::Result<String> {
        let auth = key.sign(&ticket(id, kind, code, nickname, now()?));
        Ok(format!("file://{page}?url=ws://{address}&auth={auth}"))
    };
    Ok(format!(
        "\n  The live room {code} is open. In a browser, each in a tab of its own:\n\n  \
           小明    {}\n\n  小红    {}\n\n  大屏幕  {}\n\n  \
           The links are good for a day. Ctrl-C ends all.\n",
        link("1", Kind::WechatUser, "小明")?,
        link("2", Kind::WechatUser, "小红")?,
        link("0", Kind::Wall, "大屏幕")? + "&view=wall",
    ))
}
