//! A relay on the way of bytes, which can hold one connection back, or swallow messages of clients.
//!
//! `LinkRelay` stands between workers and a gateway, and cuts one link of two. `SwallowingRelay` stands between clients
//! and a gateway: `self_check` uses it to show that the ledger misses what it has swallowed, to the last message.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Which of a worker's two links a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The link that events come on.
    Event,
    /// The link that commands and questions go on.
    Call,
}

/// A relay between workers and a gateway.
#[derive(Debug)]
pub struct LinkRelay {
    connections: Arc<Mutex<Vec<Relayed>>>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Relayed {
    link: Link,
    is_cut: watch::Sender<bool>,
}

/// The command in the first frame of an event link, at this place of the frame (`protocol/src/code.rs`).
const WORKER_CONNECT: u8 = 200;
const COMMAND_AT: usize = 4;

impl LinkRelay {
    /// Relays connections at `listen` to `gateway`.
    ///
    /// # Errors
    /// The address is in use.
    pub async fn start(listen: SocketAddr, gateway: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("relay at {listen}"))?;
        let connections = Arc::<Mutex<Vec<Relayed>>>::default();
        let relayed = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay_link(stream, gateway, relayed.clone()));
            }
        });
        Ok(Self { connections, accepting: accepting.abort_handle() })
    }

    /// Cuts the first link of this kind, both ways and without an end. Those that are opened later are whole. Returns
    /// whether there was one.
    pub fn cut_first(&self, link: Link) -> bool {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let first = connections.iter().find(|one| one.link == link);
        first.inspect(|one| _ = one.is_cut.send_replace(true)).is_some()
    }
}

impl Drop for LinkRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay_link(mut worker: TcpStream, gateway: SocketAddr, connections: Arc<Mutex<Vec<Relayed>>>) {
    let Ok(mut gateway) = TcpStream::connect(gateway).await else { return };
    let mut first = [0; COMMAND_AT + 1];
    if worker.read_exact(&mut first).await.is_err() || gateway.write_all(&first).await.is_err() {
        return;
    }
    let link = if first[COMMAND_AT] == WORKER_CONNECT { Link::Event } else { Link::Call };
    let (is_cut, cut) = watch::channel(false);
    connections.lock().unwrap_or_else(PoisonError::into_inner).push(Relayed { link, is_cut });
    let _ = (worker.set_nodelay(true), gateway.set_nodelay(true));
    let ((from_worker, to_worker), (from_gateway, to_gateway)) = (worker.into_split(), gateway.into_split());
    tokio::join!(pass_on(from_worker, to_gateway, cut.clone()), pass_on(from_gateway, to_worker, cut));
}

/// Passes bytes on until the end of the stream, or for ever nothing once it is cut: neither bytes nor the end.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    let pass = async {
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    let is_cut = async { cut.wait_for(|is_cut| *is_cut).await.is_ok() };
    tokio::select! {
        () = pass => return,
        _ = is_cut => {}
    }
    // Both sockets stay open.
    std::future::pending().await
}

/// A relay between clients and a gateway that swallows every so-manieth text message of a client.
#[derive(Debug)]
pub struct SwallowingRelay {
    /// Where clients connect.
    pub address: SocketAddr,
    swallowed: Arc<AtomicU64>,
    accepting: AbortHandle,
}

/// What begins a text message in one frame (RFC 6455, section 5.2).
const FINAL_TEXT: u8 = 0x81;

impl SwallowingRelay {
    /// Relays connections to `gateway`, and swallows every message whose number on its connection `every` divides.
    ///
    /// # Errors
    /// The system has no port.
    pub async fn start(gateway: SocketAddr, every: u64) -> Result<Self> {
        let listener = TcpListener::bind((gateway.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let swallowed = Arc::new(AtomicU64::new(0));
        let count = swallowed.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay_client(stream, gateway, every, count.clone()));
            }
        });
        Ok(Self { address, swallowed, accepting: accepting.abort_handle() })
    }

    /// Returns how many messages were swallowed.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for SwallowingRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay_client(client: TcpStream, gateway: SocketAddr, every: u64, swallowed: Arc<AtomicU64>) {
    let Ok(gateway) = TcpStream::connect(gateway).await else { return };
    let ((mut from_client, to_client), (from_gateway, mut to_gateway)) =
        (client.into_split(), gateway.into_split());
    let (_whole, cut) = watch::channel(false);
    let up = async {
        let _ = relay_messages(&mut from_client, &mut to_gateway, every, &swallowed).await;
        let _ = to_gateway.shutdown().await;
    };
    tokio::join!(up, pass_on(from_gateway, to_client, cut));
}

/// Passes the handshake on, and then whole frames.
async fn relay_messages(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    every: u64,
    swallowed: &AtomicU64,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    to.write_all(&head).await?;
    let mut messages = 0;
    loop {
        let mut frame = vec![0; 2];
        from.read_exact(&mut frame).await?;
        // Our clients' messages are short, and masked.
        let length = usize::from(frame[1] & 0x7f) + 4;
        frame.resize(2 + length, 0);
        from.read_exact(&mut frame[2..]).await?;
        if frame[0] == FINAL_TEXT {
            messages += 1;
            if u64::is_multiple_of(messages, every) {
                swallowed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        }
        to.write_all(&frame).await?;
    }
}
