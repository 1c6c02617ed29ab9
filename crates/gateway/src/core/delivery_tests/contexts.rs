//! What workers that ask are told beside events: the number, the uid and the groups.

use bytes::Bytes;
use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{
    CloseReason, EventContext, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, Features, Frame, HEADER_LEN,
    TraceContext, code,
};

use super::{Gateway, Link};
use crate::core::Shard;
use crate::core::event_spans::SpanSettings;
use crate::core::table::Key;
use crate::core::testing;
use crate::core::worker_link::{Gone, Peer};

/// An event as a worker was told it.
struct Told {
    cmd: u8,
    flag: u8,
    is_traced: bool,
    context: Option<EventContext>,
    body: String,
}

/// What a worker was told; an ADOPT is left out.
fn told(link: &Link) -> Vec<Told> {
    let mut written = std::mem::take(&mut *link.buffer.written.borrow_mut());
    let frames = std::iter::from_fn(|| Frame::parse(&mut written, usize::MAX).unwrap());
    frames
        .filter(|frame| frame.cmd != code::ADOPT)
        .map(|mut frame| {
            let is_traced = frame.flag & FLAG_TRACE_CONTEXT != 0;
            if is_traced {
                TraceContext::take(&mut frame.body).unwrap();
            }
            let has_context = frame.flag & FLAG_EVENT_CONTEXT != 0;
            let context = has_context.then(|| EventContext::take(&mut frame.body).unwrap());
            let body = String::from_utf8(frame.body.to_vec()).unwrap();
            Told { cmd: frame.cmd, flag: frame.flag, is_traced, context, body }
        })
        .collect()
}

/// The context of the only event that a worker was told.
fn context(link: &Link) -> EventContext {
    let mut told = told(link);
    assert_eq!(told.len(), 1);
    told.remove(0).context.expect("a context")
}

impl Gateway {
    /// A worker that asks, or one that does not.
    fn worker_that(&mut self, asks: bool, epoch: u32) -> Link {
        let features = Features { event_context: asks, ..Features::ALL };
        let peer = Peer { features, epoch, process: Some(epoch.into()) };
        let link = self.workers.join(&format!("worker {epoch}"), 1 << 20, peer);
        self.settle();
        link
    }

    fn bind(&mut self, key: Key, uid: &'static str, groups: &[&'static str]) {
        let id = key.connection_id();
        let table = &mut self.shard(id).table;
        table.bind_uid(id, &Bytes::from_static(uid.as_bytes()), 0).unwrap();
        groups
            .iter()
            .for_each(|group| table.join_group(id, &Bytes::from_static(group.as_bytes()), 0).unwrap());
    }
}

fn groups(context: &EventContext) -> Vec<String> {
    let mut groups: Vec<String> = context.group_texts().map(Into::into).collect();
    groups.sort();
    groups
}

#[test]
fn a_worker_that_asks_is_told_the_uid_and_the_groups_and_a_number_with_each_event() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker_that(true, 1);
    let (key, _) = testing::client(gateway.shard(7), 7, &worker, testing::policy());
    gateway.shard(7).tell_connected(key, Some(b"handshake"), 0);
    let first = told(&worker);
    let events: Vec<_> = first.iter().map(|event| (event.cmd, event.body.as_str())).collect();
    assert_eq!(events, [(code::ON_CONNECT, ""), (code::ON_WEBSOCKET_CONNECT, "handshake")]);
    let first: Vec<_> = first.into_iter().map(|event| event.context.unwrap()).collect();
    assert!(first.iter().all(|context| context.uid.is_none() && context.groups.is_empty()));
    assert_ne!(first[0].number, first[1].number);
    gateway.bind(key, "ann", &["room-1", "room-2"]);
    gateway.say(key, "hi");
    let of_message = context(&worker);
    assert_eq!(of_message.uid_text().as_deref(), Some("ann"));
    assert_eq!(groups(&of_message), ["room-1", "room-2"]);
    assert!(!of_message.is_cut && !first.iter().any(|context| context.number == of_message.number));
}

#[test]
fn a_worker_that_does_not_ask_is_told_what_it_always_was() {
    for (asked, link) in [(true, None), (false, Some(1)), (false, None)] {
        let mut gateway = Gateway::new();
        let worker = match link {
            _ if asked => gateway.worker_that(true, 1),
            Some(epoch) => gateway.worker_that(false, epoch),
            None => gateway.php("php"),
        };
        let key = gateway.connect(7, &worker);
        gateway.bind(key, "ann", &["room"]);
        gateway.say(key, "hi");
        assert!(told(&worker).iter().all(|event| event.context.is_some() == asked));
    }
}

#[test]
fn a_close_carries_the_uid_and_the_groups_that_the_client_had() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker_that(true, 1);
    let key = gateway.connect(7, &worker);
    gateway.bind(key, "ann", &["room"]);
    gateway.done(&worker, 7, 1);
    told(&worker);
    gateway.close(key, CloseReason::ClientLeft);
    let closed = told(&worker).remove(0);
    assert_eq!((closed.cmd, closed.body.as_str()), (code::ON_CLOSE, "client-left"));
    let first = closed.context.unwrap();
    assert_eq!((first.uid_text().as_deref(), groups(&first)), (Some("ann"), vec!["room".to_owned()]));
    // To another worker, too, when this one is gone.
    let next = gateway.worker_that(true, 2);
    gateway.gone(&worker, Gone::Ended);
    assert_eq!(context(&next), first);
}

#[test]
fn an_event_that_is_given_again_keeps_its_context_also_over_a_worker_that_does_not_ask() {
    let mut gateway = Gateway::new();
    let mut worker = gateway.worker_that(true, 1);
    let key = gateway.connect(7, &worker);
    gateway.done(&worker, 7, 1);
    told(&worker);
    gateway.bind(key, "ann", &["room"]);
    gateway.say(key, "hi");
    let first = context(&worker);
    // What has changed since is not told.
    gateway.bind(key, "bob", &[]);
    for (epoch, asks) in [(2, true), (3, false), (4, true)] {
        let next = gateway.worker_that(asks, epoch);
        gateway.gone(&worker, Gone::Stopped);
        let again = told(&next).remove(0);
        assert_eq!((again.flag & FLAG_REDELIVERED, again.body.as_str()), (FLAG_REDELIVERED, "hi"));
        assert_eq!(again.context, asks.then(|| first.clone()));
        worker = next;
    }
}

#[test]
fn an_event_that_was_made_for_a_worker_that_does_not_ask_gets_a_context_that_it_keeps() {
    let mut gateway = Gateway::new();
    let worker = gateway.worker_that(false, 1);
    let key = gateway.connect(7, &worker);
    gateway.bind(key, "ann", &["room"]);
    gateway.done(&worker, 7, 1);
    told(&worker);
    gateway.say(key, "hi");
    let second = gateway.worker_that(true, 2);
    gateway.gone(&worker, Gone::Ended);
    let of_message = context(&second);
    assert_eq!(
        (of_message.uid_text().as_deref(), groups(&of_message)),
        (Some("ann"), vec!["room".to_owned()])
    );
    gateway.done(&second, 7, 2);
    // Of one that is gone, nothing is known any more.
    let third = gateway.worker_that(false, 3);
    gateway.gone(&second, Gone::Ended);
    gateway.close(key, CloseReason::ClientLeft);
    told(&third);
    let fourth = gateway.worker_that(true, 4);
    gateway.gone(&third, Gone::Ended);
    let of_close = context(&fourth);
    assert_eq!((&of_close.uid, of_close.groups.len()), (&None, 0));
    assert_ne!(of_close.number, of_message.number);
    let fifth = gateway.worker_that(true, 5);
    gateway.gone(&fourth, Gone::Ended);
    assert_eq!(context(&fifth), of_close);
}

#[test]
fn a_traced_event_carries_both_and_each_worker_is_told_what_it_reads() {
    let mut gateway = Gateway::new();
    let shard = Shard::new(gateway.shards[0].settings.clone(), gateway.workers.clone());
    gateway.shards = vec![shard.with_spans(SpanSettings { sample: 1.0, seed: 7 })];
    let worker = gateway.worker_that(true, 1);
    let key = gateway.connect(7, &worker);
    gateway.done(&worker, 7, 1);
    told(&worker);
    gateway.say(key, "hi");
    let first = told(&worker).remove(0);
    assert!(first.is_traced && first.context.is_some());
    let mut last = worker;
    for (epoch, trace_context, event_context) in [(2, false, true), (3, true, false), (4, true, true)] {
        let features = Features { trace_context, event_context, ..Features::ALL };
        let peer = Peer { features, epoch, process: Some(epoch.into()) };
        let next = gateway.workers.join(&format!("worker {epoch}"), 1 << 20, peer);
        gateway.gone(&last, Gone::Stopped);
        let again = told(&next).remove(0);
        assert_eq!(again.body, "hi");
        assert_eq!(again.is_traced, trace_context);
        assert_eq!(again.context, first.context.clone().filter(|_| event_context));
        last = next;
    }
}

#[test]
fn a_message_that_leaves_no_room_in_its_frame_goes_without_a_context() {
    let mut gateway = Gateway::new();
    let features = Features { large_frames: false, event_context: true, ..Features::ALL };
    let worker = gateway.workers.join("a", usize::MAX, Peer { features, epoch: 1, process: Some(1) });
    gateway.settle();
    let key = gateway.connect(7, &worker);
    gateway.done(&worker, 7, 1);
    told(&worker);
    let fits = features.max_frame_len() - HEADER_LEN;
    let mut context = Vec::new();
    EventContext::write(&mut context, 0, None, [b""; 0]);
    for (len, has_context) in [(fits, false), (fits - context.len() + 1, false), (fits - context.len(), true)]
    {
        gateway.say(key, &"x".repeat(len));
        let told = told(&worker).remove(0);
        assert_eq!((told.context.is_some(), told.body.len()), (has_context, len));
        gateway.done(&worker, 7, 1);
    }
}

#[test]
fn no_two_shards_draw_the_same_number() {
    let mut gateway = Gateway::of_two_shards();
    let worker = gateway.worker_that(true, 1);
    gateway.connect(2, &worker);
    gateway.connect(3, &worker);
    let numbers: Vec<_> = told(&worker).into_iter().map(|event| event.context.unwrap().number).collect();
    assert_eq!(numbers.len(), 2);
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(numbers.iter().map(|number| number >> 48).sum::<u64>(), 1);
}
