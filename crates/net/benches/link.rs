//! A link's outbox: frames pushed, written with one system call, and read by the
//! peer with another, so that the socket never fills.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Read;

use gatewayworker_microbench::Suite;
use gatewayworker_net::LinkWriter;
use tokio::net::{TcpListener, TcpStream};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut suite = Suite::default();
    for (name, frames, len) in [
        ("push/1 frame of 100 B and flush", 1, 100),
        ("push/64 frames of 100 B and flush", 64, 100),
        ("push/8 frames of 1 KiB and flush", 8, 1024),
    ] {
        let (writer, mut peer) = runtime.block_on(link());
        let (frame, mut received) = (vec![b'x'; len], vec![0; frames * len]);
        suite.add(name, move || {
            for _ in 0..frames {
                writer.push(|out| out.extend_from_slice(&frame)).unwrap();
            }
            writer.flush();
            peer.read_exact(&mut received).unwrap();
        });
    }
    suite.measure();
}

async fn link() -> (LinkWriter, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    gatewayworker_net::tune(&ours);
    let peer = listener.accept().await.unwrap().0.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    (LinkWriter::new(ours.into_split().1, 1 << 20), peer)
}
