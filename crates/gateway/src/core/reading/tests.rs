//! The bytes of clients whose rate is limited.

use std::sync::Arc;

use gatewayworker_protocol::command::code;
use gatewayworker_protocol::{Frame, MAX_FRAME_LEN};

use super::*;
use crate::core::listener_policy::{Framing, ListenerPolicy, OtherProtocol};
use crate::core::protocol::Protocols;
use crate::core::rate_limits::{RateLimitPolicy, RateLimits};
use crate::core::testing::{self, MemoryLink, MemoryPorts};
use crate::core::token_bucket::Rate;
use crate::core::worker_link::WorkerLink;

/// One client, whose rate is limited.
struct Limited {
    shard: Shard<MemoryPorts>,
    worker: Arc<WorkerLink<MemoryLink>>,
    connection: testing::MemoryConnection,
    key: Key,
    inbox: Inbox,
}

impl Limited {
    fn new(policy: ListenerPolicy) -> Self {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", usize::MAX, testing::OURS);
        let inbox = Inbox::new(&policy, Vec::new());
        let (key, connection) = testing::client(&mut shard, 1, &worker, policy);
        Self { shard, worker, connection, key, inbox }
    }

    fn receive(&mut self, bytes: &[u8], now_ms: u64) -> Reading<MemoryLink> {
        self.shard.receive(self.key, &mut self.inbox, &mut bytes.to_vec(), now_ms)
    }

    fn resume(&mut self, now_ms: u64) -> Reading<MemoryLink> {
        self.shard.resume(self.key, &mut self.inbox, now_ms)
    }

    /// The messages that the worker was told since this was last called, and the reason of a
    /// close.
    fn told(&mut self) -> Vec<String> {
        let mut written = std::mem::take(&mut *self.worker.buffer.written.borrow_mut());
        let mut told = Vec::new();
        while let Some(frame) = Frame::parse(&mut written, MAX_FRAME_LEN).unwrap() {
            let body = String::from_utf8_lossy(&frame.body).into_owned();
            told.push(if frame.cmd == code::ON_CLOSE { format!("({body})") } else { body });
        }
        told
    }
}

fn frame(opcode: u8, payload: &str) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload.as_bytes()].concat()
}

fn messages(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.flat_map(|n| frame(1, &n.to_string())).collect()
}

fn limits(messages: Option<Rate>, bytes: Option<Rate>, policy: RateLimitPolicy) -> ListenerPolicy {
    ListenerPolicy { rate_limits: Some(RateLimits { messages, bytes, policy }), ..testing::policy() }
}

#[test]
fn messages_of_a_throttled_client_wait_and_none_is_lost() {
    let mut client = Limited::new(limits(Some(Rate::new(10, 3)), None, RateLimitPolicy::Throttle));
    let sent = messages(0..6);
    let (now, rest) = sent.split_at(20);
    assert!(matches!(client.receive(now, 1000), Reading::More));
    assert!(matches!(client.receive(rest, 1000), Reading::Delayed(1100)));
    assert_eq!(client.told(), ["0", "1", "2"]);
    assert!(client.shard.table.get(client.key).unwrap().is_paused, "its silence says nothing");
    for (now_ms, told) in [(1050, None), (1100, Some("3")), (1200, Some("4")), (1250, None)] {
        assert!(matches!(client.resume(now_ms), Reading::Delayed(_)), "{now_ms}");
        assert_eq!(client.told(), Vec::from_iter(told), "{now_ms}");
    }
    assert!(matches!(client.resume(1300), Reading::More));
    assert_eq!(client.told(), ["5"]);
    assert!(!client.shard.table.get(client.key).unwrap().is_paused);
}

#[test]
fn pings_count_as_messages_and_a_close_frame_does_not() {
    let mut client = Limited::new(limits(Some(Rate::new(1, 2)), None, RateLimitPolicy::Throttle));
    let sent = [frame(9, "a"), frame(9, "b"), frame(10, "no ping")].concat();
    assert!(matches!(client.receive(&sent, 0), Reading::More));
    assert!(matches!(client.receive(&frame(9, "c"), 0), Reading::Delayed(1000)));
    while client.shard.flush() {}
    assert_eq!(client.connection.written.borrow()[..], [0x8a, 1, b'a', 0x8a, 1, b'b']);
    let mut leaves = Limited::new(limits(Some(Rate::new(1, 1)), None, RateLimitPolicy::Close));
    let sent = [frame(1, "bye"), frame(8, "")].concat();
    assert!(matches!(leaves.receive(&sent, 0), Reading::Closed));
    assert_eq!(leaves.told(), ["bye", "(client-left)"]);
}

#[test]
fn a_fragmented_message_is_one_however_many_fragments_it_has() {
    let mut client = Limited::new(limits(Some(Rate::new(1, 1)), None, RateLimitPolicy::Close));
    let mut begin = frame(1, "a");
    begin[0] = 1;
    let mut middle = frame(0, "b");
    middle[0] = 0;
    let sent = [begin, middle.clone(), middle, frame(0, "c")].concat();
    assert!(matches!(client.receive(&sent, 0), Reading::More));
    assert_eq!(client.told(), ["abbc"]);
    assert!(matches!(client.receive(&frame(1, "d"), 0), Reading::Closed));
}

#[test]
fn a_client_over_its_rate_is_closed_with_1008_and_its_messages_until_then_arrive() {
    let mut client = Limited::new(limits(Some(Rate::new(10, 3)), None, RateLimitPolicy::Close));
    assert!(matches!(client.receive(&messages(0..6), 0), Reading::Closed));
    assert_eq!(client.told(), ["0", "1", "2", "(rate-limited)"]);
    let Some(Effect::Log(Notice::OverRate { limit, is_closed: true, .. })) = client.shard.next_effect()
    else {
        panic!("it is logged")
    };
    assert_eq!(limit, "max_messages_per_second");
    let Some(Effect::Finish(finished)) = client.shard.next_effect() else { panic!("it ends") };
    assert_eq!(finished.reason, CloseReason::RateLimited);
    assert_eq!(finished.outbox.first()[..4], [0x88, 19, 0x03, 0xf0]);
}

#[test]
fn bytes_of_a_throttled_client_arrive_at_its_rate() {
    let rate = Rate::new(1000, 100);
    let mut client = Limited::new(limits(None, Some(rate), RateLimitPolicy::Throttle));
    let sent = messages(0..1000);
    let (mut read, mut now_ms) = (0, 5000);
    while read < sent.len() {
        let most = client.inbox.max_read(usize::MAX).min(sent.len() - read);
        let reading = client.receive(&sent[read..read + most], now_ms);
        read += most;
        let mut reading = reading;
        while let Reading::Delayed(until_ms) = reading {
            assert!(until_ms > now_ms && until_ms <= now_ms + 50);
            now_ms = until_ms;
            reading = client.resume(now_ms);
        }
    }
    let expected_ms = (sent.len() as u64 - 100) * 1000 / 1000;
    assert!((expected_ms..=expected_ms + 50).contains(&(now_ms - 5000)), "{} ms", now_ms - 5000);
    assert_eq!(client.told(), Vec::from_iter((0..1000).map(|n: u32| n.to_string())));
}

#[test]
fn a_client_that_sends_more_bytes_than_it_may_at_once_is_closed() {
    let mut client = Limited::new(limits(None, Some(Rate::new(10, 20)), RateLimitPolicy::Close));
    assert!(matches!(client.receive(&messages(0..2), 0), Reading::More));
    assert!(matches!(client.receive(&messages(2..3), 0), Reading::Closed));
    assert_eq!(client.told(), ["0", "1", "(rate-limited)"]);
}

#[test]
fn lines_are_limited_as_websocket_messages_are() {
    let protocols = Protocols::default();
    let (index, protocol) = protocols.find("text").unwrap();
    let framing = Framing::Other(OtherProtocol { protocol, index, of: protocols.len() });
    for (policy, told) in [
        (RateLimitPolicy::Throttle, vec!["1", "2"]),
        (RateLimitPolicy::Close, vec!["1", "2", "(rate-limited)"]),
    ] {
        let limits = limits(Some(Rate::new(10, 2)), None, policy);
        let mut client = Limited::new(ListenerPolicy { framing: framing.clone(), ..limits });
        let reading = client.receive(b"1\n2\n3\n", 0);
        assert_eq!(client.told(), told);
        if let Reading::Delayed(until_ms) = reading {
            assert!(matches!(client.resume(until_ms), Reading::More));
            assert_eq!(client.told(), ["3"]);
        }
    }
}
