//! A link's outbox: frames pushed, and written with one system call for many.

#![allow(missing_docs, clippy::unwrap_used)]

use gatewayworker_microbench::Suite;
use gatewayworker_net::LinkWriter;
use tokio::net::{TcpListener, TcpStream};

const FRAMES: usize = 64;

fn main() {
    // Its own thread takes away what is written.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut suite = Suite::default();
    for (name, len) in [("push/64 of 100 B, then a flush", 100), ("push/64 of 1 KiB, then a flush", 1024)] {
        let writer = runtime.block_on(writer());
        let frame = vec![b'x'; len];
        suite.add(name, move || {
            for _ in 0..FRAMES {
                // A full one is as good: it is written all the same.
                let _ = writer.push(|out| out.extend_from_slice(&frame));
            }
            writer.flush();
        });
    }
    suite.measure();
}

async fn writer() -> LinkWriter {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = listener.accept().await.unwrap();
    tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
    LinkWriter::new(ours.into_split().1, 1 << 20)
}
