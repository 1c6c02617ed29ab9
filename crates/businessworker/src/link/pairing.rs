//! Epochs, from the pairing that a gateway names to the end of either link.
//!
//! `link` calls it. The call link is attached first, then the epoch begins, and from then on events come.
//! A task beside the reader ends the epoch when the call link ends or the gateway is silent.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gatewayworker_client::ClientId;
use gatewayworker_client::worker::CallLinkEnd;
use gatewayworker_net::{LinkWriter, limit_retransmission_pause};
use gatewayworker_protocol::Pairing;
use socket2::SockRef;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::EventLinks;
use crate::core::{Epoch, EventLink};
use crate::event_queues::EventQueues;
use crate::{Events, clock};

/// How long the event link is still read when the call link has ended: what the gateway had sent counts
/// if the gateway is lost.
const READ_OUT: Duration = Duration::from_secs(1);

/// How long a gateway whose bytes wait to be read is not judged again, and one that did not answer not asked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A sleep that ends later than this shows that the process did not run meanwhile.
const LATE: Duration = Duration::from_secs(1);

/// One connection of an event link, and the epoch that it has or will have.
pub(super) struct PairedLink<'a, E> {
    links: &'a EventLinks<E>,
    address: SocketAddrV4,
    link: &'a EventLink,
    writer: &'a Arc<LinkWriter>,
    paired: Notify,
    /// This side has closed the link, and why.
    closed: CancellationToken,
    why: Arc<OnceLock<String>>,
    /// The tasks of the epoch: one that ends it, and one that sees to it that CLOSED is heard.
    tasks: OnceLock<[Option<AbortOnDropHandle<()>>; 2]>,
}

impl<'a, E: Events> PairedLink<'a, E> {
    pub(super) fn new(
        links: &'a EventLinks<E>,
        address: SocketAddrV4,
        link: &'a EventLink,
        writer: &'a Arc<LinkWriter>,
    ) -> Self {
        Self {
            links,
            address,
            link,
            writer,
            paired: Notify::new(),
            closed: CancellationToken::new(),
            why: Arc::default(),
            tasks: OnceLock::new(),
        }
    }

    /// Is cancelled when this side has closed the link.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Begins the epoch of a pairing that the gateway has named: attaches the call link, and does what
    /// follows for the epoch before. Fails where the link has to be made again.
    pub(super) fn pair(&self, pairing: Pairing) -> io::Result<()> {
        let EventLinks { queues, heartbeats, limits, .. } = self.links;
        if self.link.epoch().is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the gateway has named a second pairing"));
        }
        let closed = queues.epochs.pairings().closed(self.address, pairing.instance).to_vec();
        let end = queues.handler.worker.attach(self.address, pairing, &closed).map_err(|why| {
            io::Error::other(format!("its call link could not be attached ({why}): both are made again"))
        })?;
        if !closed.is_empty() {
            info!(
                gateway = %self.address, clients = closed.len(),
                "a gateway that was taken for lost is back: it is told for which clients on_close has run"
            );
        }
        let (epoch, previous) = queues.epochs.begin(self.address, pairing);
        if let Some(previous) = &previous {
            queues.settle(previous);
        }
        let waiting = Arc::downgrade(queues);
        let heard = epoch.clone();
        let hear = move |was_read_out| {
            if heard.hear_call_link(clock::now_ms(), was_read_out)
                && let Some(queues) = waiting.upgrade()
            {
                queues.epochs.wake();
            }
        };
        // Where the call link has ended by now, the epoch ends with it.
        let _ = queues.handler.worker.listen(self.address, pairing.epoch, hear);
        self.link.paired(epoch.clone());
        queues.done.attend(&epoch);
        limit_retransmission_pause(self.writer.socket(), limits.silence);
        heartbeats.add(self.writer, self.link.reporting().cloned());
        let hearing = (!closed.is_empty()).then(|| {
            let hearing = closed_is_heard(queues.clone(), epoch.clone(), end.clone());
            AbortOnDropHandle::new(tokio::spawn(hearing))
        });
        let watch =
            Watch { queues: queues.clone(), epoch, end, writer: self.writer.clone(), limit: limits.silence };
        let watching = watch.run(self.why.clone(), self.closed.clone());
        let watching = AbortOnDropHandle::new(tokio::spawn(watching));
        let _ = self.tasks.set([Some(watching), hearing]);
        debug!(gateway = %self.address, epoch = pairing.epoch, "the gateway acknowledges events");
        self.paired.notify_one();
        Ok(())
    }

    /// Waits until the link is paired. Cancel safe.
    pub(super) async fn is_paired(&self) {
        self.paired.notified().await;
    }

    /// Puts the reason for which this side has closed the link in the place of what the reader saw.
    pub(super) fn explain(&self, ended: io::Result<()>) -> io::Result<()> {
        match self.why.get() {
            Some(why) => Err(io::Error::new(io::ErrorKind::TimedOut, why.clone())),
            None => ended,
        }
    }
}

impl<E: Events> EventLinks<E> {
    /// Ends an epoch with its event link. `is_drained` says that the gateway has let this worker go. Without
    /// that the clients are this worker's, whatever it was doing: the gateway may have died.
    pub(super) fn end_epoch(&self, epoch: &Arc<Epoch>, is_drained: bool) {
        if is_drained {
            // The gateway lives, and has given these clients to others, or will. Handlers of other gateways'
            // clients may still have something to say to it: its call link stays.
            self.queues.epochs.end(epoch);
            self.queues.supersede(epoch);
        } else {
            self.queues.end_epoch(epoch);
            self.queues.hold(epoch);
        }
    }
}

/// Waits until the gateway of an epoch has read CLOSED and ATTACH: it answers a question that stands behind
/// them on its call link.
async fn closed_is_heard<E: Events>(queues: Arc<EventQueues<E>>, epoch: Arc<Epoch>, end: CallLinkEnd) {
    let client = ClientId::new(epoch.gateway(), 0);
    loop {
        let answer = queues.handler.worker.gateway().is_online(client).await;
        // The answer may be another connection's, and then says nothing of this one.
        if end.has_ended() {
            return;
        }
        if answer.is_ok() {
            return queues.epochs.pairings().closed_was_heard(&epoch);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What may end an epoch, beside the end of its event link.
struct Watch<E> {
    queues: Arc<EventQueues<E>>,
    epoch: Arc<Epoch>,
    end: CallLinkEnd,
    writer: Arc<LinkWriter>,
    /// How long the gateway may be silent.
    limit: Duration,
}

impl<E: Events> Watch<E> {
    /// Ends the epoch with the call link, or when the gateway is silent, and then closes the event link.
    async fn run(self, why: Arc<OnceLock<String>>, closed: CancellationToken) {
        let reason = tokio::select! {
            () = self.end.ended() => "its call link has ended, and so does this one".into(),
            () = self.queues.epochs.over(&self.epoch) => "its epoch is over".into(),
            silent_ms = self.silence() => format!(
                "nothing was heard of the gateway for {silent_ms} ms (link_timeout_ms): the links are closed, \
                 and made again when it answers"
            ),
        };
        self.queues.end_epoch(&self.epoch);
        if self.end.has_ended() {
            sleep(READ_OUT).await;
        }
        let _ = why.set(reason);
        self.writer.close(io::ErrorKind::TimedOut);
        closed.cancel();
    }

    /// Waits until the gateway has been silent for too long; returns for how long, in ms.
    async fn silence(&self) -> u128 {
        // A process that did not run judges nobody by that time: its host may have slept, and the gateway's.
        let mut awake_since_ms = clock::now_ms();
        loop {
            let now_ms = clock::now_ms();
            let silent_ms = self.epoch.silent_ms(now_ms).min(now_ms - awake_since_ms);
            let silent = Duration::from_millis(silent_ms);
            if let Some(left) = self.limit.checked_sub(silent).filter(|left| !left.is_zero()) {
                if !sleep_in_time(left).await {
                    awake_since_ms = clock::now_ms();
                }
                continue;
            }
            // This process may have been held up: what has come meanwhile is a sign of life.
            let mut byte = [MaybeUninit::uninit()];
            match SockRef::from(self.writer.socket()).peek(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return silent.as_millis(),
                // The reader finds what there is, or how the link has ended.
                _ if sleep_in_time(LOOK_AGAIN).await => {}
                _ => awake_since_ms = clock::now_ms(),
            }
        }
    }
}

/// Sleeps; returns whether the process ran meanwhile.
async fn sleep_in_time(time: Duration) -> bool {
    let begin_ms = clock::now_ms();
    sleep(time).await;
    Duration::from_millis(clock::now_ms() - begin_ms) <= time + LATE
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use gatewayworker_client::worker::WorkerHandle;
    use gatewayworker_protocol::{Command, Frame, MAX_FRAME_LEN, Question, frame_answer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;
    use crate::client_map::ClientMap;
    use crate::core::Clients;
    use crate::handler::{HandlerRunner, Limits};

    const PAIRING: Pairing = Pairing { instance: 7, epoch: 1 };

    struct NoEvents;

    impl Events for NoEvents {}

    /// A worker that tells a gateway which was lost that client 1 is closed, the gateway's end of the call
    /// link, and the task that waits for its answer.
    async fn telling() -> (Arc<EventQueues<NoEvents>>, SocketAddrV4, TcpStream, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway: SocketAddrV4 = listener.local_addr().unwrap().to_string().parse().unwrap();
        let worker = WorkerHandle::builder(watch::channel(vec![gateway.to_string()]).1).connect();
        let (mut link, _) = listener.accept().await.unwrap();
        worker.gateway().connected(gateway).await;
        let handler =
            HandlerRunner::new(NoEvents, worker.clone(), Limits { slow: Duration::MAX, cancel: None });
        let clients = Arc::new(Clients::new(ClientMap::default(), 1_000_000));
        let queues = EventQueues::new(clients, handler, 8, Duration::from_secs(10));
        queues.epochs.pairings().remember_closed(gateway, PAIRING.instance, vec![1]);
        let end = worker.attach(gateway, PAIRING, &[1]).unwrap();
        let (epoch, _) = queues.epochs.begin(gateway, PAIRING);
        let hearing = tokio::spawn(closed_is_heard(queues.clone(), epoch, end));
        let mut received = BytesMut::new();
        loop {
            link.read_buf(&mut received).await.unwrap();
            while let Some(frame) = Frame::parse(&mut received, MAX_FRAME_LEN).unwrap() {
                if Command::decode(frame).unwrap() == Command::Ask(Question::IsOnline(0)) {
                    return (queues, gateway, link, AbortOnDropHandle::new(hearing));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_gateway_has_heard_what_was_closed_when_it_answers_behind_that() {
        let (queues, gateway, mut link, hearing) = telling().await;
        assert_eq!(queues.epochs.pairings().closed(gateway, 7), [1], "it has not answered");
        let mut answer = BytesMut::new();
        frame_answer(b"i:0;", &mut answer);
        link.write_all(&answer).await.unwrap();
        hearing.await.unwrap();
        assert!(queues.epochs.pairings().closed(gateway, 7).is_empty());
    }

    #[tokio::test]
    async fn a_gateway_whose_link_dies_before_it_answers_is_told_again() {
        let (queues, gateway, link, hearing) = telling().await;
        drop(link);
        hearing.await.unwrap();
        assert_eq!(queues.epochs.pairings().closed(gateway, 7), [1]);
    }
}
