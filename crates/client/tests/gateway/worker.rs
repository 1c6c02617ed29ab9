//! What the businessworker does with a handle: epochs, fences, and what is written.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::worker::{EventCalls, Fence, SessionObserver, WorkerHandle, Written};
use gatewayworker_client::{ClientId, Error, Gateway, Liveness, Unreached, php};
use gatewayworker_protocol::command::EventCounts;
use gatewayworker_protocol::{Command, MAX_FRAME_LEN, Pairing};

use crate::fake::{FakeGateway, listed, soon};
use crate::text;

const PROCESS: u64 = 0xabc;

/// What the worker keeps of an event.
struct Event {
    calls: EventCalls,
    fence: Arc<Fence>,
}

impl SessionObserver for Event {
    fn session_replaced(&self, _: ClientId, _: &[u8]) {}
    fn session_merged(&self, _: ClientId, _: &php::Array) {}

    fn calls(&self) -> Option<&EventCalls> {
        Some(&self.calls)
    }

    fn fence(&self) -> Option<&Fence> {
        Some(&self.fence)
    }
}

async fn worker(gateways: &[SocketAddrV4]) -> WorkerHandle {
    let liveness = Liveness::new(Duration::from_millis(200), Duration::from_secs(1));
    let worker = WorkerHandle::builder(listed(gateways).1).process(PROCESS).liveness(liveness).connect();
    for gateway in gateways {
        soon(worker.gateway().connected(*gateway)).await;
    }
    worker
}

/// The handle of an event from `own`, and what is kept of the event.
fn event(worker: &WorkerHandle, own: SocketAddrV4) -> (Gateway, Arc<Event>) {
    let event = Arc::new(Event { calls: EventCalls::new(own), fence: Arc::default() });
    (worker.gateway_observed_by(event.clone()), event)
}

fn pairing(epoch: u32) -> Pairing {
    Pairing { instance: 1, epoch }
}

fn attach(epoch: u32) -> Command {
    Command::Attach { epoch, process: PROCESS }
}

fn counts() -> EventCounts {
    EventCounts(vec![(3, 2), (4, 1)])
}

#[tokio::test]
async fn an_attached_link_says_closes_then_its_epoch_then_what_is_done_behind_the_commands() {
    let mut fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    worker.attach(fake.address, pairing(7), &[1, 2]).unwrap();
    worker.gateway().send_to_client(fake.id(3), "m").await.unwrap();
    worker.tell_done(fake.address, 7, &counts().0).unwrap();
    worker.tell_return(fake.address, 7, counts(), false).unwrap();
    worker.tell_return(fake.address, 7, counts(), true).unwrap();
    for expected in [
        Command::Closed(vec![1, 2]),
        attach(7),
        Command::SendToOne { to: 3, message: text("m") },
        Command::Done { epoch: 7, counts: counts() },
        Command::Return { epoch: 7, counts: counts(), is_begun: false },
        Command::Return { epoch: 7, counts: counts(), is_begun: true },
    ] {
        assert_eq!(fake.told().await, expected);
    }
}

#[tokio::test]
async fn nothing_is_said_about_events_of_another_epoch() {
    let mut fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    let not_attached = Err(Unreached::NotConnected);
    assert_eq!(worker.tell_done(fake.address, 7, &counts().0), not_attached);
    worker.attach(fake.address, pairing(7), &[]).unwrap();
    assert_eq!(worker.tell_done(fake.address, 6, &counts().0), not_attached);
    worker.end_call_link(fake.address, 6);
    worker.tell_done(fake.address, 7, &counts().0).unwrap();
    assert_eq!(fake.told().await, attach(7));
    assert_eq!(fake.told().await, Command::Done { epoch: 7, counts: counts() });
}

#[tokio::test]
async fn the_end_of_a_call_link_is_told_and_the_next_one_takes_the_next_epoch() {
    let mut fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    let end = worker.attach(fake.address, pairing(7), &[]).unwrap();
    assert_eq!(fake.told().await, attach(7));
    assert!(!end.has_ended());
    worker.end_call_link(fake.address, 7);
    soon(end.ended()).await;
    assert!(worker.attach(fake.address, pairing(8), &[]).is_err());
    soon(worker.gateway().connected(fake.address)).await;
    let end = worker.attach(fake.address, pairing(8), &[]).unwrap();
    assert_eq!(fake.told().await, attach(8));
    // An epoch that begins while the one before it still has the link needs another link.
    assert!(worker.attach(fake.address, pairing(9), &[]).is_err());
    soon(end.ended()).await;
    soon(worker.gateway().connected(fake.address)).await;
    worker.attach(fake.address, pairing(9), &[]).unwrap();
    assert_eq!(fake.told().await, attach(9));
}

#[tokio::test]
async fn the_end_of_a_call_link_is_told_when_the_handle_is_dropped() {
    let fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    let end = worker.attach(fake.address, pairing(7), &[]).unwrap();
    drop(worker);
    soon(end.ended()).await;
}

#[tokio::test]
async fn a_frozen_gateway_ends_the_call_link_of_its_epoch() {
    let fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    let end = worker.attach(fake.address, pairing(7), &[]).unwrap();
    fake.freeze();
    soon(end.ended()).await;
    assert!(!worker.is_connected(fake.address) && worker.has_link(fake.address));
}

#[tokio::test]
async fn only_attached_links_are_pinged_and_from_any_thread() {
    let (mut one, mut other) = (FakeGateway::start().await, FakeGateway::start().await);
    let worker = worker(&[one.address, other.address]).await;
    worker.attach(one.address, pairing(7), &[]).unwrap();
    assert_eq!(one.told().await, attach(7));
    let pinging = worker.clone();
    // This thread, on which the links run, is held up meanwhile.
    std::thread::spawn(move || pinging.ping_links()).join().unwrap();
    assert_eq!(one.told().await, Command::Ping(Bytes::new()));
    worker.gateway().send_to_client(other.id(3), "m").await.unwrap();
    assert_eq!(other.told().await, Command::SendToOne { to: 3, message: text("m") });
}

#[tokio::test]
async fn calls_of_an_epoch_that_is_over_fail_and_send_nothing() {
    let mut fake = FakeGateway::start().await;
    let worker = worker(&[fake.address]).await;
    let (gateway, event) = event(&worker, fake.address);
    let fence = &event.fence;
    gateway.send_to_client(fake.id(3), "before").await.unwrap();
    fence.end();
    assert!(!event.calls.was_fenced(), "nothing was refused yet");
    let id = fake.id(3);
    assert!(matches!(gateway.send_to_client(id, "m").await, Err(Error::Fenced)));
    assert!(matches!(gateway.clone().send_to_all("m").await, Err(Error::Fenced)));
    assert!(matches!(gateway.send_to_all("m").only([id]).await, Err(Error::Fenced)));
    assert!(matches!(gateway.join_group(id, "g").await, Err(Error::Fenced)));
    assert!(matches!(gateway.close_client(id).await, Err(Error::Fenced)));
    assert!(matches!(gateway.session(id).await, Err(Error::Fenced)));
    assert!(matches!(
        gateway.client_count().await,
        Err(gatewayworker_client::AskError::NotAsked(Error::Fenced))
    ));
    assert_eq!(fence.refused(), 7);
    assert!(event.calls.was_fenced());
    worker.gateway().send_to_client(id, "after").await.unwrap();
    for expected in ["before", "after"] {
        assert_eq!(fake.told().await, Command::SendToOne { to: 3, message: text(expected) });
    }
}

#[tokio::test]
async fn a_handler_that_answers_its_client_waits_for_no_link() {
    let (fake, other) = (FakeGateway::start().await, FakeGateway::start().await);
    let worker = worker(&[fake.address, other.address]).await;
    let (gateway, event) = event(&worker, fake.address);
    gateway.send_to_client(fake.id(3), "m").await.unwrap();
    assert!(event.calls.take_mark().is_none());
}

#[tokio::test]
async fn what_a_handler_tells_other_gateways_is_waited_for_until_it_is_written() {
    let (fake, other) = (FakeGateway::start().await, FakeGateway::start().await);
    let worker = worker(&[fake.address, other.address]).await;
    let (gateway, event) = event(&worker, fake.address);
    gateway.send_to_all("m").await.unwrap();
    let mark = event.calls.take_mark().unwrap();
    assert_eq!(mark.state(), Written::Waiting);
    soon(async {
        while mark.state() != Written::Written {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What a clone of the handle says later belongs to no event.
    gateway.send_to_all("m").await.unwrap();
    assert_eq!(event.calls.take_mark().unwrap().state(), Written::Written);
}

#[tokio::test]
async fn a_link_that_dies_with_a_part_of_what_a_handler_said_is_named() {
    let (fake, other) = (FakeGateway::start().await, FakeGateway::start().await);
    let worker = worker(&[fake.address, other.address]).await;
    other.freeze();
    let body = Bytes::from(vec![b'x'; MAX_FRAME_LEN / 2]);
    let (gateway, event) = event(&worker, fake.address);
    gateway.send_to_client(other.id(3), body.clone()).await.unwrap();
    gateway.send_to_client(other.id(3), body).await.unwrap();
    let mark = event.calls.take_mark().unwrap();
    assert_eq!(mark.state(), Written::Waiting);
    soon(async {
        while mark.state() == Written::Waiting {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(mark.state(), Written::Dead(vec![other.address]));
}

#[tokio::test]
async fn a_link_that_a_handler_finds_dead_is_named() {
    let (fake, other) = (FakeGateway::start().await, crate::nobody().await);
    let list = listed(&[fake.address, other]).1;
    let worker = WorkerHandle::builder(list).connect();
    let (gateway, event) = event(&worker, fake.address);
    let delivery = gateway.send_to_all("m").await.unwrap();
    assert_eq!(delivery.unreached, [(other, Unreached::NotConnected)]);
    assert_eq!(event.calls.take_mark().unwrap().state(), Written::Dead(vec![other]));
}
