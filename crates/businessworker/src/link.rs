//! The event link to one gateway: connects, says who the worker is, then reads events and
//! enqueues them.
//!
//! `serve` runs one for each gateway that the registers list. What is said on the link, and
//! what a gateway's command means, is decided by `core`; events go on to `event_queues`.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_client::worker::{GatewayFeatures, WorkerHandle};
use gatewayworker_net::Backoff;
use gatewayworker_protocol::{Features, Frame, MAX_LARGE_FRAME_LEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Events;
use crate::core::{EventLink, Identity, Received};
use crate::event_queues::EventQueues;
use crate::inline_slice::{InlineTimeSlice, preemptions};

/// The size of the chunks that are read into, in bytes: many small events together.
const CHUNK: usize = 64 * 1024;

/// The least that is read at once, in bytes. Events share the chunk that they were
/// read into, so it is used up before there is another: one that waits shall not keep
/// a chunk for itself, which the budget of events does not count.
const MIN_READ: usize = 4 * 1024;

/// After this long a link was a success, however it ended.
const SUCCESS: Duration = Duration::from_secs(10);

/// Keeps an event link to `address`, until the gateway is neither connected nor
/// listed, or `stop` asks for the end and what the gateway had sent by then is read.
pub(crate) async fn run<E: Events>(
    queues: Arc<EventQueues<E>>,
    identity: Arc<Identity>,
    address: SocketAddrV4,
    mut listed: watch::Receiver<bool>,
    stop: CancellationToken,
    close_timeout: Duration,
) {
    let mut backoff = Backoff::default();
    while *listed.borrow_and_update() {
        // Without a call link a handler could not even answer.
        let connect = async {
            queues.handler.worker.gateway().connected(address).await;
            gatewayworker_net::connect(address).await
        };
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = listed.changed() => continue,
            connected = connect => connected,
        };
        match connected {
            Err(error) => {
                warn!(gateway = %address, %error, "the event link to the gateway could not be connected: it is tried again")
            }
            Ok(stream) => {
                let started = Instant::now();
                let ended = hold(&queues, &identity, address, stream, &stop, close_timeout).await;
                queues.forget_gateway(address);
                note_features(&queues.handler.worker, address, Features::default());
                if stop.is_cancelled() {
                    return;
                }
                match ended {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        info!(gateway = %address, "the gateway has closed the event link");
                    }
                    Err(error) => warn!(gateway = %address, %error, "the event link ended"),
                }
                if started.elapsed() > SUCCESS {
                    backoff.reset();
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = listed.changed() => {}
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    debug!(gateway = %address, "no register lists the gateway any more");
}

async fn hold<E: Events>(
    queues: &Arc<EventQueues<E>>,
    identity: &Identity,
    address: SocketAddrV4,
    mut stream: TcpStream,
    stop: &CancellationToken,
    close_timeout: Duration,
) -> io::Result<()> {
    let mut hello = BytesMut::new();
    identity.hello(false).encode(&mut hello);
    stream.write_all(&hello).await?;
    let _linked = queues.linked();
    info!(gateway = %address, "the worker is taking events");
    let (mut reading, mut writing) = stream.split();
    let link = EventLink::default();
    let read = read_events(queues, address, &mut reading, &link);
    tokio::pin!(read);
    tokio::select! {
        ended = &mut read => return ended,
        () = stop.cancelled() => {}
    }
    if let Some(command) = link.drain() {
        let mut draining = BytesMut::new();
        command.encode(&mut draining);
        writing.write_all(&draining).await?;
    }
    // The gateway takes a worker whose side is closed off its list, and closes its own. What
    // it sent before that is still read: a drain loses no event that has left.
    writing.shutdown().await?;
    timeout(close_timeout, read).await.unwrap_or_else(|_| {
        warn!(gateway = %address, "the gateway did not close the event link in time: events may be lost");
        Ok(())
    })
}

async fn read_events<E: Events>(
    queues: &Arc<EventQueues<E>>,
    address: SocketAddrV4,
    reading: &mut (impl AsyncReadExt + Unpin),
    link: &EventLink,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut slice = InlineTimeSlice::new(Instant::now());
    // More has come than the buffer had room for.
    let mut more = false;
    loop {
        let mut inline = slice.begin(Instant::now(), preemptions());
        while let Some(frame) = Frame::parse(&mut buffer, MAX_LARGE_FRAME_LEN).map_err(io::Error::other)? {
            let received = match link.receive(frame) {
                Ok(received) => received,
                Err(error) => {
                    debug!(gateway = %address, %error, "ignored a frame that cannot be decoded");
                    continue;
                }
            };
            match received {
                Received::Event(event) => {
                    if queues.make_room(&event).await {
                        // That was no handler's time, and others had the thread.
                        inline = slice.begin(Instant::now(), preemptions());
                    }
                    queues.enqueue(event, inline).await;
                    inline = inline && slice.handler_ran(Instant::now(), preemptions);
                }
                Received::Welcome { features, .. } => {
                    note_features(&queues.handler.worker, address, features);
                    debug!(gateway = %address, ?features, "the gateway has listed its features");
                }
                Received::Published { topic, payload } => {
                    queues.handler.worker.deliver_published(&topic, &payload);
                }
                Received::Heartbeat | Received::Adopt { .. } | Received::Forget(_) => {}
                Received::Unexpected(command) => {
                    debug!(gateway = %address, ?command, "ignored a command that is not for a worker");
                }
            }
        }
        if more {
            // The other links share this thread, and have to write what handlers said.
            tokio::task::yield_now().await;
        }
        if buffer.capacity() - buffer.len() < MIN_READ {
            buffer.reserve(CHUNK);
        }
        let room = buffer.capacity() - buffer.len();
        let read = reading.read_buf(&mut buffer).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
        }
        more = read == room;
    }
}

/// Tells the worker's handle what a gateway can do; nothing beyond the original, when its
/// event link has ended.
fn note_features(worker: &WorkerHandle, gateway: SocketAddrV4, features: Features) {
    let features = GatewayFeatures::default()
        .with_passing_events_on(features.channel)
        .with_large_frames(features.large_frames);
    worker.set_features(gateway, features);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gatewayworker_client::worker::WorkerHandle;
    use gatewayworker_protocol::{Command, Origin, Payload};
    use tokio::task::Id;

    use super::*;
    use crate::client_map::ClientMap;
    use crate::core::Clients;
    use crate::handler::{HandlerRunner, Limits};
    use crate::{Client, Message, Result};

    /// Notes in which task each message is handled, and takes a second for the first.
    struct Where(Mutex<Vec<Option<Id>>>);

    impl Events for Where {
        async fn on_message(&self, _: &Client, _: Message) -> Result {
            let handled = {
                let mut tasks = self.0.lock().unwrap();
                tasks.push(tokio::task::try_id());
                tasks.len()
            };
            if handled == 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_room_is_not_held_against_the_handler_behind_it() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let events = Arc::new(Where(Mutex::default()));
        let handler =
            HandlerRunner::new(events.clone(), worker, Limits { slow: Duration::MAX, cancel: None });
        // Each event takes all the room there is.
        let queues = EventQueues::new(Arc::new(Clients::new(ClientMap::default(), 1)), handler, 8);
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 2300);
        let mut sent = BytesMut::new();
        for connection_id in 1..=3 {
            let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
            let (session, message) = (bytes::Bytes::new(), Payload::plain("hi"));
            Command::OnMessage { origin, session, message }.encode(&mut sent);
        }
        let started = Instant::now();
        let read = read_events(&queues, address, &mut &sent[..], &EventLink::default()).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(started.elapsed(), Duration::from_secs(1), "it waited for room");
        queues.drained().await;
        // The reader is this test, which is no task.
        assert_eq!(*events.0.lock().unwrap(), [None, None, None]);
    }
}
