//! Looks for whether a gateway is lost whose links have ended: it answers nothing, and no register has
//! listed it for a while.
//!
//! `link` runs it beside its attempts to connect. Until it is known, the gateway's events are held.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatewayworker_net::{HeldFor, RegisterLinks};
use tokio::time::sleep;
use tracing::debug;

use crate::event_queues::EventQueues;
use crate::{Events, clock};

/// How often it looks.
const TICK: Duration = Duration::from_millis(500);

/// In how many ticks it looks once through all clients.
const LOOK_THROUGH: u32 = 10;

/// Gives the gateway up when it is lost, or when nothing depends on it any more. Ends when it is known
/// what has become of the gateway.
///
/// `has_answered` is set whenever the gateway has said something: then it is not lost.
pub(super) async fn watch<E: Events>(
    queues: Arc<EventQueues<E>>,
    registers: RegisterLinks,
    gateway: SocketAddrV4,
    lost_after: Duration,
    has_answered: Arc<AtomicBool>,
) {
    let mut absent = HeldFor::new(lost_after);
    for tick in 0.. {
        let undecided = queues.epochs.pairings().undecided(gateway).cloned();
        let Some(epoch) = undecided else { return };
        if tick % LOOK_THROUGH == 0 && !queues.clients.has_clients_of(&epoch) {
            debug!(%gateway, "no client depends on what has become of the gateway");
            drop(queues.epochs.pairings().lose(gateway));
            queues.supersede(&epoch);
            return;
        }
        let is_absent = !has_answered.swap(false, Ordering::Relaxed) && registers.is_absent(gateway);
        if absent.tick(clock::now_ms(), is_absent) {
            queues.give_up(gateway);
            return;
        }
        sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_net::{WitnessLimits, registers};
    use gatewayworker_protocol::{Command, Origin, Pairing, SecretKey};
    use tokio::sync::{mpsc, watch as watch_channel};

    use super::*;
    use crate::client_map::ClientMap;
    use crate::core::{Clients, Event};
    use crate::handler::{HandlerRunner, Limits};
    use crate::{Client, CloseReason, Result};
    use gatewayworker_client::worker::WorkerHandle;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9);

    /// Reports which clients are closed, and why.
    struct Closes(mpsc::UnboundedSender<(u32, CloseReason, bool)>);

    impl Events for Closes {
        async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
            Ok(self.0.send((client.id().connection_id(), reason, client.redelivered()))?)
        }
    }

    /// A register that lists `gateways`, and the links of a worker that follows it.
    async fn following(gateways: Vec<String>) -> (RegisterLinks, [AbortOnDropHandle<()>; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let register = listener.local_addr().unwrap().to_string();
        let list = gatewayworker_protocol::register::Message::BroadcastAddresses {
            addresses: gateways,
            complete: true,
        };
        let registering = tokio::spawn(async move {
            let (mut worker, _) = listener.accept().await.unwrap();
            worker.write_all(list.to_line().as_bytes()).await.unwrap();
            std::future::pending().await
        });
        let links = RegisterLinks::new(WitnessLimits::default().with_settled(Duration::ZERO));
        let follow = {
            let links = links.clone();
            async move {
                let list = watch_channel::channel(Vec::new()).0;
                registers::follow(&[register], &SecretKey::default(), None, list, &links).await;
            }
        };
        (links, [AbortOnDropHandle::new(registering), AbortOnDropHandle::new(tokio::spawn(follow))])
    }

    /// A worker with client 1 of a gateway whose links have ended, and what its application reports.
    async fn worker() -> (Arc<EventQueues<Closes>>, mpsc::UnboundedReceiver<(u32, CloseReason, bool)>) {
        let (report, reports) = mpsc::unbounded_channel();
        let worker = WorkerHandle::builder(watch_channel::channel(Vec::new()).1).connect();
        let handler =
            HandlerRunner::new(Closes(report), worker, Limits { slow: Duration::MAX, cancel: None });
        let clients = Arc::new(Clients::new(ClientMap::default(), 1_000_000));
        let queues = EventQueues::new(clients, handler, 8, Duration::from_secs(10));
        let (epoch, _) = queues.epochs.begin(GATEWAY, Pairing { instance: 7, epoch: 1 });
        let origin = Origin { gateway: GATEWAY, client: GATEWAY, connection_id: 1, gateway_port: 0 };
        let mut event =
            Event::from_command(Command::OnConnect { origin, session: Default::default() }).unwrap();
        event.epoch = Some(epoch.clone());
        assert!(queues.has_room(&event));
        let event = queues.enqueue(event).expect("no other is before it");
        queues.clone().run(event).await;
        queues.epochs.end(&epoch);
        (queues, reports)
    }

    fn watching(
        queues: &Arc<EventQueues<Closes>>,
        registers: &RegisterLinks,
        lost_after: Duration,
    ) -> AbortOnDropHandle<()> {
        let watching = watch(queues.clone(), registers.clone(), GATEWAY, lost_after, Arc::default());
        AbortOnDropHandle::new(tokio::spawn(watching))
    }

    #[tokio::test]
    async fn a_gateway_that_no_register_lists_is_lost_after_a_while_and_its_clients_are_closed() {
        let (queues, mut reports) = worker().await;
        let (registers, _running) = following(Vec::new()).await;
        let lost_after = Duration::from_millis(600);
        let started = std::time::Instant::now();
        let _watching = watching(&queues, &registers, lost_after);
        assert_eq!(reports.recv().await, Some((1, CloseReason::GatewayLost, true)));
        assert!(started.elapsed() >= lost_after);
        assert_eq!(queues.epochs.pairings().closed(GATEWAY, 7), [1], "it is told if it comes back");
        queues.drained().await;
        assert!(queues.clients.table().is_empty());
    }

    #[tokio::test]
    async fn a_gateway_that_a_register_lists_is_not_lost() {
        let (queues, _reports) = worker().await;
        let (registers, _running) = following(vec![GATEWAY.to_string()]).await;
        let watching = watching(&queues, &registers, Duration::ZERO);
        let registered = async {
            while registers.trouble(Duration::ZERO).is_some() || !registers.in_touch() {
                tokio::task::yield_now().await;
            }
        };
        registered.await;
        tokio::time::timeout(3 * TICK, watching).await.unwrap_err();
        assert!(queues.epochs.is_undecided(GATEWAY));
    }

    #[tokio::test]
    async fn a_gateway_without_clients_here_is_nothing_to_wait_for() {
        let (queues, _reports) = worker().await;
        let epoch = queues.epochs.pairings().undecided(GATEWAY).cloned().unwrap();
        queues.supersede(&epoch);
        epoch_is_over_again(&queues);
        let registers = RegisterLinks::default();
        watching(&queues, &registers, Duration::from_secs(30)).await.unwrap();
        assert!(!queues.epochs.is_undecided(GATEWAY));
    }

    /// Begins and ends an epoch that has no clients.
    fn epoch_is_over_again(queues: &EventQueues<Closes>) {
        let (epoch, _) = queues.epochs.begin(GATEWAY, Pairing { instance: 7, epoch: 2 });
        queues.epochs.end(&epoch);
    }
}
