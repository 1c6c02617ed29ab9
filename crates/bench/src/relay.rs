//! A relay on the way of one nats-server to another, which can be cut and healed. `nats` puts it before a leaf node's
//! remote.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::Cut;

/// A relay. It ends when it is dropped.
pub(crate) struct Relay {
    cut: watch::Sender<Option<Cut>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays connections at `listen` to `to`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn start(listen: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("relay at {listen}"))?;
        let (cut, state) = watch::channel(None);
        let task = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(relay(stream, to, state.clone()));
            }
        });
        Ok(Relay { cut, task })
    }

    /// Cuts all connections, those that stand and those that come.
    pub(crate) fn cut(&self, how: Cut) {
        self.cut.send_replace(Some(how));
    }

    /// Heals what was cut.
    pub(crate) fn heal(&self) {
        self.cut.send_replace(None);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Relays one connection until one end closes it, or it is cut by [`Cut::Close`].
async fn relay(from: TcpStream, to: SocketAddr, mut cut: watch::Receiver<Option<Cut>>) {
    if *cut.borrow() == Some(Cut::Close) || whole(&mut cut).await.is_err() {
        return;
    }
    let Ok(to) = TcpStream::connect(to).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let forward = pass_on(from_read, to_write, cut.clone());
    let back = pass_on(to_read, from_write, cut.clone());
    tokio::select! {
        () = async { tokio::join!(forward, back); } => {}
        // Dropping the sockets closes both ends.
        _ = cut.wait_for(|cut| *cut == Some(Cut::Close)) => {}
    }
}

/// Waits until nothing is held back.
async fn whole(cut: &mut watch::Receiver<Option<Cut>>) -> Result<(), watch::error::RecvError> {
    cut.wait_for(|cut| *cut != Some(Cut::Hold)).await.map(drop)
}

/// Passes bytes on until the end of the stream, except while they are held back.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<Option<Cut>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if whole(&mut cut).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    /// A relay, its address, a connection through it, that connection's other end, and the listener there.
    async fn relayed() -> (Relay, SocketAddr, TcpStream, TcpStream, TcpListener) {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let relay = Relay::start(listen, target.local_addr().unwrap()).await.unwrap();
        let near = TcpStream::connect(listen).await.unwrap();
        let (far, _) = target.accept().await.unwrap();
        (relay, listen, near, far, target)
    }

    #[tokio::test]
    async fn what_is_held_back_arrives_after_the_cut() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (relay, _, mut near, mut far, _target) = relayed().await;
                near.write_all(b"a").await.unwrap();
                assert_eq!(far.read_u8().await.unwrap(), b'a');
                relay.cut(Cut::Hold);
                near.write_all(b"b").await.unwrap();
                let early = std::time::Duration::from_millis(50);
                assert!(tokio::time::timeout(early, far.read_u8()).await.is_err());
                relay.heal();
                assert_eq!(far.read_u8().await.unwrap(), b'b');
            })
            .await;
    }

    #[tokio::test]
    async fn a_cut_that_closes_ends_both_sides_and_takes_no_other_connection_until_it_is_healed() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (relay, listen, mut near, mut far, target) = relayed().await;
                relay.cut(Cut::Close);
                assert!(near.read_u8().await.is_err() && far.read_u8().await.is_err());
                let mut refused = TcpStream::connect(listen).await.unwrap();
                assert!(refused.read_u8().await.is_err());
                relay.heal();
                let mut again = TcpStream::connect(listen).await.unwrap();
                again.write_all(b"c").await.unwrap();
                let (mut far, _) = target.accept().await.unwrap();
                assert_eq!(far.read_u8().await.unwrap(), b'c');
            })
            .await;
    }
}
