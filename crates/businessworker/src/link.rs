//! The event link to one gateway: says who the worker is, then reads events.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_net::Backoff;
use gatewayworker_protocol::{Command, Features, Frame, Hello, MAX_LARGE_FRAME_LEN, PingBody, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Events;
use crate::lanes::{Event, Lanes};
use crate::slice::{Slice, preemptions};

/// What is read into, in bytes: many small events together.
const CHUNK: usize = 64 * 1024;

/// The least that is read at once, in bytes. Events share the chunk that they were
/// read into, so it is used up before there is another: one that waits shall not keep
/// a chunk for itself, which the lanes' budget knows nothing of.
const READ: usize = 4 * 1024;

/// A link that stood this long was a success, however it ended.
const SUCCESS: Duration = Duration::from_secs(10);

/// Who the worker is to the gateways.
#[derive(Debug)]
pub(crate) struct Identity {
    name: String,
    /// Set by the configuration, or else drawn for this process.
    id: String,
    fixed: bool,
    connections: AtomicU64,
    secret_key: SecretKey,
}

impl Identity {
    pub(crate) fn new(name: String, id: Option<String>, secret_key: SecretKey) -> Self {
        let fixed = id.is_some();
        let id = id.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
        Self { name, id, fixed, connections: AtomicU64::new(0), secret_key }
    }

    /// Another key for each connection: the original's gateway, slow to notice that
    /// an old link has ended, would otherwise take the new one away with it.
    fn worker_key(&self) -> String {
        let Self { name, id, .. } = self;
        if self.fixed {
            return format!("{name}:{id}");
        }
        format!("{name}:{id}-{}", self.connections.fetch_add(1, Ordering::Relaxed))
    }

    fn hello(&self) -> Command {
        Command::WorkerConnect(Hello {
            worker_key: Some(self.worker_key()),
            secret_key: Some(self.secret_key.clone()),
            features: Some(Features::ALL),
        })
    }
}

/// Keeps an event link to `address`, until the gateway is neither connected nor
/// listed, or `stop` asks for the end and what the gateway had sent by then is read.
pub(crate) async fn run<E: Events>(
    lanes: Arc<Lanes<E>>,
    identity: Arc<Identity>,
    address: SocketAddrV4,
    mut listed: watch::Receiver<bool>,
    stop: CancellationToken,
    patience: Duration,
) {
    let mut backoff = Backoff::default();
    while *listed.borrow_and_update() {
        // Without a call link a handler could not even answer.
        let connect = async {
            lanes.handler.gateway.connected(address).await;
            gatewayworker_net::connect(address).await
        };
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = listed.changed() => continue,
            connected = connect => connected,
        };
        match connected {
            Err(error) => warn!(gateway = %address, %error, "no event link"),
            Ok(stream) => {
                let started = Instant::now();
                let ended = hold(&lanes, &identity, address, stream, &stop, patience).await;
                lanes.forget_gateway(address);
                lanes.handler.gateway.bus().set_passes_on(address, false);
                lanes.handler.gateway.set_takes_large_frames(address, false);
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
    debug!(gateway = %address, "no longer listed");
}

async fn hold<E: Events>(
    lanes: &Arc<Lanes<E>>,
    identity: &Identity,
    address: SocketAddrV4,
    mut stream: TcpStream,
    stop: &CancellationToken,
    patience: Duration,
) -> io::Result<()> {
    let mut hello = BytesMut::new();
    identity.hello().encode(&mut hello);
    stream.write_all(&hello).await?;
    let _linked = lanes.linked();
    info!(gateway = %address, "taking events");
    let (mut reading, mut writing) = stream.split();
    let waits = AtomicBool::new(false);
    let read = read_events(lanes, address, &mut reading, &waits);
    tokio::pin!(read);
    tokio::select! {
        ended = &mut read => return ended,
        () = stop.cancelled() => {}
    }
    if waits.load(Ordering::Relaxed) {
        // Otherwise nobody would know a worker that stops from one that has died.
        let mut goodbye = BytesMut::new();
        Command::Ping(PingBody::Draining.encode()).encode(&mut goodbye);
        writing.write_all(&goodbye).await?;
    }
    // Half-closed, the gateway takes the worker off its list, and closes. What it
    // sent before that is still read: a drain loses no event that has left.
    writing.shutdown().await?;
    timeout(patience, read).await.unwrap_or_else(|_| {
        warn!(gateway = %address, "the gateway did not close the event link: events may be lost");
        Ok(())
    })
}

async fn read_events<E: Events>(
    lanes: &Arc<Lanes<E>>,
    address: SocketAddrV4,
    reading: &mut (impl AsyncReadExt + Unpin),
    waits: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut slice = Slice::new(Instant::now());
    // There was no room for all that had come.
    let mut more = false;
    loop {
        let mut here = slice.begin(Instant::now(), preemptions());
        while let Some(frame) = Frame::parse(&mut buffer, MAX_LARGE_FRAME_LEN).map_err(io::Error::other)? {
            match Command::decode(frame).map(Event::of) {
                Ok(Ok(event)) => {
                    if lanes.make_room(&event).await {
                        // That was no handler's time, and others had the thread.
                        here = slice.begin(Instant::now(), preemptions());
                    }
                    lanes.put(event, here).await;
                    here = here && slice.goes_on(Instant::now(), preemptions);
                }
                Ok(Err(Command::Ping(body))) => {
                    if let Some(PingBody::Features(features)) = PingBody::parse(&body) {
                        waits.store(features.admission, Ordering::Relaxed);
                        lanes.handler.gateway.bus().set_passes_on(address, features.channel);
                        lanes.handler.gateway.set_takes_large_frames(address, features.large_frames);
                        debug!(gateway = %address, ?features, "the gateway has listed its features");
                    }
                }
                Ok(Err(Command::Publish { topic, payload })) => {
                    lanes.handler.gateway.bus().hear(topic, payload);
                }
                Ok(Err(other)) => debug!(gateway = %address, ?other, "not for a worker"),
                Err(error) => debug!(gateway = %address, %error, "ignored a frame"),
            }
        }
        if more {
            // The other links share this thread, and what was said is to leave.
            tokio::task::yield_now().await;
        }
        if buffer.capacity() - buffer.len() < READ {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gatewayworker_client::Gateway;
    use gatewayworker_protocol::{Origin, Payload};
    use tokio::task::Id;

    use super::*;
    use crate::handler::{Handler, Limits};
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
        let gateway = Gateway::following(watch::channel(Vec::new()).1).connect();
        let events = Arc::new(Where(Mutex::default()));
        let handler = Handler::new(events.clone(), gateway, Limits { slow: Duration::MAX, cancel: None });
        // Each event takes all the room there is.
        let lanes = Lanes::new(Arc::default(), handler, 8, 1);
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 2300);
        let mut sent = BytesMut::new();
        for connection_id in 1..=3 {
            let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
            let (session, message) = (bytes::Bytes::new(), Payload::plain("hi"));
            Command::OnMessage { origin, session, message }.encode(&mut sent);
        }
        let started = Instant::now();
        let read = read_events(&lanes, address, &mut &sent[..], &AtomicBool::new(false)).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(started.elapsed(), Duration::from_secs(1), "it waited for room");
        lanes.drained().await;
        // The reader is this test, which is no task.
        assert_eq!(*events.0.lock().unwrap(), [None, None, None]);
    }

    #[test]
    fn no_two_connections_have_the_same_key_unless_it_is_set() {
        let drawn = Identity::new("Chat".into(), None, SecretKey::default());
        let keys = [drawn.worker_key(), drawn.worker_key()];
        assert!(keys.iter().all(|key| key.starts_with("Chat:")));
        assert_ne!(keys[0], keys[1]);
        let set = Identity::new("Chat".into(), Some("7".into()), SecretKey::default());
        assert_eq!([set.worker_key(), set.worker_key()], ["Chat:7", "Chat:7"]);
    }
}
