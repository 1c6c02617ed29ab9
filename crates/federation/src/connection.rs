//! The connection to NATS: how it is made, and what it says about itself.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Server};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::core::Subjects;
use crate::durable;
use crate::faults::Faults;
use crate::options::{Error, Login, Options, Servers};
use crate::stats::Counts;

/// So many messages may wait in the client until it writes them.
const MAX_QUEUED: usize = 16 * 1024;

/// So many messages may wait in a subscription until they are handled. What comes then is lost.
const MAX_SUBSCRIBED: usize = 4096;

/// How often the server is pinged. A connection of which two are not answered is made anew.
const PING: Duration = Duration::from_secs(5);

/// Begins to connect, and goes on for ever. `connected` says how it stands.
pub(crate) async fn connect(
    options: &Options,
    connected: Arc<watch::Sender<bool>>,
    counts: Arc<Counts>,
    faults: Arc<Faults>,
) -> Result<Client, Error> {
    let Servers { addresses, login } = options.servers()?;
    let has_files = options.ca.is_some() || options.certificate.is_some();
    let is_tls = has_files || addresses.iter().any(async_nats::ServerAddr::tls_required);
    let mut nats = ConnectOptions::new()
        .name(format!("gatewayworker {}", options.cluster))
        .retry_on_initial_connect()
        .require_tls(is_tls)
        .ping_interval(PING)
        .client_capacity(MAX_QUEUED)
        .subscription_capacity(MAX_SUBSCRIBED)
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 << attempts.min(5)).min(1_000)))
        .event_callback({
            let faults = faults.clone();
            move |event| {
                note(&event, &connected, &counts, &faults);
                std::future::ready(())
            }
        })
        // It is asked before each attempt which server to take. It leaves that to async-nats, and learns why the last attempts have failed:
        // events do not say it.
        .reconnect_to_server_callback(move |servers, _| {
            note_attempts(&servers, &faults);
            std::future::ready(None)
        });
    if options.durable {
        // The permissions of the prefix are enough.
        nats = nats.custom_inbox_prefix(Subjects::inbox(&options.prefix));
        // Requests to JetStream obey this alone, and not the time of their `Context`. There are no other requests.
        nats = nats.request_timeout(Some(durable::ANSWER));
    }
    match login {
        Some(Login { user, password: Some(password) }) => nats = nats.user_and_password(user, password),
        Some(Login { user: token, password: None }) => nats = nats.token(token),
        None => {}
    }
    if let Some(file) = &options.credentials {
        let failed = |error| Error::Credentials { file: file.clone(), error };
        nats = nats.credentials_file(file).await.map_err(failed)?;
    }
    if let Some(seed) = &options.nkey {
        nats = nats.nkey(seed.expose().to_owned());
    }
    if let Some(file) = &options.ca {
        nats = nats.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &options.certificate {
        nats = nats.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(nats.connect(addresses).await?)
}

fn note_attempts(servers: &[Server], faults: &Faults) {
    let failed = servers.iter().filter_map(|server| Some((server, server.last_error.as_ref()?)));
    let why: Vec<_> =
        failed.map(|(Server { addr, .. }, why)| format!("{}:{}: {why}", addr.host(), addr.port())).collect();
    let why = why.join("; ");
    if !why.is_empty() && faults.note_not_connected(why.clone()) {
        warn!(%why, "the federation cannot connect to NATS, and goes on trying");
    }
}

fn note(event: &Event, connected: &watch::Sender<bool>, counts: &Counts, faults: &Faults) {
    match event {
        Event::Connected => {
            faults.note_connected();
            info!("the federation is connected to NATS");
            connected.send_replace(true);
        }
        Event::Disconnected => {
            warn!(
                "the federation has lost its connection to NATS: other clusters are not reached until it is back"
            );
            connected.send_replace(false);
        }
        Event::SlowConsumer(_) => counts.slow.add_one(),
        // Each message may be refused: one line is enough, and `status` says so as long as the connection stands.
        Event::ServerError(error) if faults.note_refused(error.to_string()) => {
            warn!(%error, "NATS refuses something of the federation");
        }
        // It comes with each attempt while NATS is away.
        Event::ClientError(error) => debug!(%error, "the federation cannot use its connection to NATS"),
        _ => {}
    }
}
