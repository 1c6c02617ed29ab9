//! Staying connected to registers: announcing a gateway, following their lists.

use std::collections::BTreeMap;
use std::time::Duration;

use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{MAX_LINE, Message, PING_INTERVAL_SECS};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::{Backoff, LineReader};

/// Announces `address` to every register, for ever; dropping the future ends the
/// connections, and with them the announcement.
pub async fn announce(registers: &[String], address: &str, secret_key: &SecretKey) {
    let mut connections = JoinSet::new();
    for register in registers {
        let hello = Message::GatewayConnect { address: address.to_owned(), secret_key: secret_key.clone() };
        connections.spawn(stay_connected(register.clone(), hello, |_| ()));
    }
    until_a_panic(connections).await;
}

/// Follows every register and publishes the **union** of what each said last;
/// a register that is down keeps its last word. Runs for ever; dropping the
/// future ends the connections.
///
/// (In the original the list that came last replaces the others.)
pub async fn follow(registers: &[String], secret_key: &SecretKey, addresses: watch::Sender<Vec<String>>) {
    let mut connections = JoinSet::new();
    let lists = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<usize, Vec<String>>::new()));
    for (index, register) in registers.iter().enumerate() {
        let (lists, addresses) = (lists.clone(), addresses.clone());
        let hello = Message::WorkerConnect { secret_key: secret_key.clone() };
        connections.spawn(stay_connected(register.clone(), hello, move |message| {
            let Message::BroadcastAddresses { addresses: list } = message else { return };
            let mut lists = lists.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            lists.insert(index, list);
            let mut union: Vec<String> = lists.values().flatten().cloned().collect();
            union.sort();
            union.dedup();
            addresses.send_if_modified(|known| {
                let changed = *known != union;
                *known = union;
                changed
            });
        }));
    }
    until_a_panic(connections).await;
}

/// Waits for ever, or until one of the connections panics: a panic of the caller's then.
async fn until_a_panic(mut connections: JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// One register: connect, say `hello`, hear what it says, and again.
async fn stay_connected(register: String, hello: Message, mut hear: impl FnMut(Message)) {
    let mut backoff = Backoff::default();
    loop {
        let started = tokio::time::Instant::now();
        match converse(&register, &hello, &mut hear).await {
            Ok(()) => {
                warn!(%register, "the register closed the connection: it has stopped, or its secret_key is another one")
            }
            Err(error) => warn!(%register, %error, "no connection to the register"),
        }
        // A connection that stood for a while was a success, however it ended.
        if started.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        debug!(%register, wait_ms = wait.as_millis() as u64, "trying again");
        tokio::time::sleep(wait).await;
    }
}

async fn converse(register: &str, hello: &Message, hear: &mut impl FnMut(Message)) -> std::io::Result<()> {
    let (reading, mut writing) = crate::connect(register).await?.into_split();
    writing.write_all(hello.to_line().as_bytes()).await?;
    info!(%register, "connected to the register");
    let mut lines = LineReader::new(reading);
    // The original pings no register on its own host; one that never pinged is
    // believed as long as its connection stands.
    let pings = !register.starts_with("127.0.0.1");
    let mut ping = tokio::time::interval(Duration::from_secs(PING_INTERVAL_SECS));
    ping.tick().await;
    loop {
        tokio::select! {
            line = lines.next_line(MAX_LINE) => {
                let Some(line) = line.map_err(std::io::Error::other)? else { return Ok(()) };
                match Message::parse(&line) {
                    Ok(message) => hear(message),
                    Err(error) => warn!(%register, %error, "ignored a line from the register"),
                }
            }
            _ = ping.tick(), if pings => writing.write_all(Message::Ping.to_line().as_bytes()).await?,
        }
    }
}
