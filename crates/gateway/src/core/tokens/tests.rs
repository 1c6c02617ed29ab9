//! Tests of tokens: what a client gets by one, its end, and new ones.

use std::sync::Arc;

use gatewayworker_protocol::Features;

use super::*;
use crate::core::inbox::Inbox;
use crate::core::membership_limits::MembershipLimits;
use crate::core::testing::{self, MemoryConnection, MemoryDirectory, MemoryLink, MemoryPorts};
use crate::core::worker_link::WorkerLink;

fn grant(uid: &'static str, groups: &[&'static str], expires_ms: u64) -> Grant {
    Grant {
        uid: Some(uid.into()),
        groups: groups.iter().map(|group| Bytes::from(*group)).collect(),
        session: Bytes::from_static(b"a:1:{s:4:\"name\";s:1:\"A\";}"),
        expires_ms: Some(expires_ms),
        expires_at: Some(1_800_000_000),
    }
}

struct Fixture {
    shard: Shard<MemoryPorts>,
    _workers: MemoryDirectory,
    worker: Arc<WorkerLink<MemoryLink>>,
    key: Key,
    connection: MemoryConnection,
}

/// A client of u1 in room-1 whose token expires after 10 s.
fn fixture() -> Fixture {
    let (mut shard, workers) = testing::shard();
    let worker = workers.join("worker", 1 << 20, Features::default());
    let (key, connection) = testing::client(&mut shard, 1, &worker, testing::policy());
    shard.identify(key, grant("u1", &["room-1"], 10_000), || 7, 0).unwrap();
    shard.tell_connected(key, Some(b"handshake"), 0);
    assert_eq!(testing::told(&worker), ["connect 1", "handshake 1"]);
    Fixture { shard, _workers: workers, worker, key, connection }
}

impl Fixture {
    /// The client sends a text message, behind a mask of zeros.
    fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | 126, (text.len() >> 8) as u8, text.len() as u8, 0, 0, 0, 0];
        if text.len() < 126 {
            frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        }
        frame.extend_from_slice(text.as_bytes());
        self.shard.receive(self.key, &mut Inbox::default(), &mut frame, 0);
    }

    /// The message of the effect that has a new token checked.
    fn asked(&mut self) -> Option<String> {
        match self.shard.next_effect()? {
            Effect::NewToken(key, message) if key == self.key => {
                Some(String::from_utf8(message.into()).unwrap())
            }
            _ => None,
        }
    }

    /// What was sent to the client since the last call, without the headers of frames.
    fn received(&mut self) -> String {
        while self.shard.flush() {}
        let written = std::mem::take(&mut *self.connection.written.borrow_mut());
        String::from_utf8_lossy(&written).into_owned()
    }

    fn finished(&mut self) -> Option<CloseReason> {
        let mut effects = std::iter::from_fn(|| self.shard.next_effect());
        effects.find_map(|effect| match effect {
            Effect::Finish(finished) => Some(finished.reason),
            _ => None,
        })
    }
}

#[test]
fn a_client_is_what_its_token_says_before_a_worker_hears_of_it() {
    let f = fixture();
    let client = f.shard.table().client(1).unwrap();
    assert!(f.shard.table().is_uid_of(b"u1", client) && f.shard.table().is_member(b"room-1", client));
    assert_eq!(&*client.session, b"a:1:{s:4:\"name\";s:1:\"A\";}");
}

#[test]
fn a_client_whose_token_expires_is_closed_with_4401() {
    let mut f = fixture();
    assert_eq!(f.shard.next_deadline(), Some(10_000));
    f.shard.advance(9_999);
    assert_eq!(f.finished(), None);
    f.shard.advance(10_000);
    let Some(Effect::Finish(finished)) = f.shard.next_effect() else { panic!("it is not closed") };
    assert_eq!((finished.reason, finished.record.code), (CloseReason::TokenExpired, Some(4401)));
    assert_eq!((f.shard.next_deadline(), testing::told(&f.worker)), (None, vec!["close 1".to_owned()]));
}

#[test]
fn a_client_that_has_left_leaves_nothing_behind() {
    let mut f = fixture();
    f.shard.read_ended(f.key);
    assert_eq!(f.shard.next_deadline(), None);
    assert!(f.shard.tokens.by_id.is_empty() && f.shard.tokens.ends.is_empty());
}

#[test]
fn a_new_token_prolongs_its_client_and_reaches_no_worker() {
    let mut f = fixture();
    f.send(r#"{"gw":"token","token":"e.y.j"}"#);
    assert_eq!(f.asked().as_deref(), Some(r#"{"gw":"token","token":"e.y.j"}"#));
    let mut new = grant("u1", &["room-2"], 20_000);
    new.session = Bytes::from_static(b"a:1:{s:5:\"other\";i:1;}");
    f.shard.renew(f.key, Ok(new), || 8, 5_000);
    assert!(f.received().ends_with(r#"{"gw":"token","ok":true,"expires_at":1800000000}"#));
    let client = f.shard.table().client(1).unwrap();
    assert!(f.shard.table().is_member(b"room-1", client) && f.shard.table().is_member(b"room-2", client));
    assert_eq!(&*client.session, br#"a:2:{s:4:"name";s:1:"A";s:5:"other";i:1;}"#);
    assert_eq!(testing::told(&f.worker), [""; 0]);
    f.shard.advance(19_999);
    assert_eq!((f.finished(), f.shard.next_deadline()), (None, Some(20_000)));
    // A token that ends earlier counts, too, and one that never ends.
    f.shard.renew(f.key, Ok(grant("u1", &[], 15_000)), || 9, 6_000);
    assert_eq!(f.shard.next_deadline(), Some(15_000));
    f.shard.renew(f.key, Ok(Grant { expires_ms: None, ..grant("u1", &[], 0) }), || 9, 6_000);
    assert_eq!(f.shard.next_deadline(), None);
}

#[test]
fn a_list_in_the_session_is_replaced_as_a_whole() {
    let stored = br#"a:2:{s:1:"a";a:2:{i:0;s:1:"x";i:1;s:1:"y";}s:1:"b";i:1;}"#;
    let update = br#"a:1:{s:1:"a";a:1:{i:0;s:1:"z";}}"#;
    let replaced = replace_keys(stored, update, 1000).unwrap();
    assert_eq!(replaced, br#"a:2:{s:1:"a";a:1:{i:0;s:1:"z";}s:1:"b";i:1;}"#);
    assert_eq!(replace_keys(stored, b"", 1000).unwrap(), stored);
    assert_eq!(replace_keys(b"", update, 1000).unwrap(), update);
    assert_eq!(replace_keys(stored, update, 20), None);
}

#[test]
fn a_new_token_of_another_user_changes_nothing() {
    let mut f = fixture();
    f.shard.renew(f.key, Ok(grant("u2", &["room-2"], 20_000)), || 8, 0);
    assert!(f.received().ends_with(r#"{"gw":"token","ok":false,"error":"other-uid"}"#));
    let client = f.shard.table().client(1).unwrap();
    assert!(f.shard.table().is_uid_of(b"u1", client) && !f.shard.table().is_member(b"room-2", client));
    assert_eq!(f.shard.next_deadline(), Some(10_000));
}

#[test]
fn one_token_is_checked_at_a_time_and_a_client_with_ten_wrong_ones_is_closed() {
    let mut f = fixture();
    f.send(r#"{"gw":"token","token":"a"}"#);
    assert!(f.asked().is_some());
    f.send(r#"{"gw":"token","token":"b"}"#);
    assert!(f.asked().is_none());
    assert!(f.received().ends_with(r#"{"gw":"token","ok":false,"error":"busy"}"#));
    for _ in 2..10 {
        f.shard.renew(f.key, Err("expired"), || 8, 0);
        assert!(f.received().ends_with(r#"{"gw":"token","ok":false,"error":"expired"}"#));
    }
    assert_eq!(f.finished(), None);
    f.shard.renew(f.key, Err("expired"), || 8, 0);
    assert_eq!(f.finished(), Some(CloseReason::ProtocolError));
}

#[test]
fn a_good_token_makes_up_for_wrong_ones_and_missing_keys_are_nobodys_mistake() {
    let mut f = fixture();
    for _ in 0..3 {
        for _ in 0..9 {
            f.shard.renew(f.key, Err("expired"), || 8, 0);
        }
        f.shard.renew(f.key, Ok(grant("u1", &[], 20_000)), || 8, 0);
    }
    for _ in 0..20 {
        f.shard.renew(f.key, Err("keys-away"), || 8, 0);
    }
    assert_eq!(f.finished(), None);
    assert_eq!(gatewayworker_auth::Refusal::KeysAway.name(), KEYS_AWAY);
}

#[test]
fn a_token_that_expires_while_a_new_one_is_checked_waits_for_the_answer_and_no_longer_than_ten_seconds() {
    for (answered, is_closed_at) in
        [(Some(Ok(30_000)), 30_000), (Some(Err("expired")), 11_000), (None, 20_000)]
    {
        let mut f = fixture();
        f.send(r#"{"gw":"token","token":"a"}"#);
        assert!(f.asked().is_some());
        f.shard.advance(10_000);
        assert_eq!(f.finished(), None);
        if let Some(answer) = answered {
            f.shard.renew(f.key, answer.map(|expires_ms| grant("u1", &[], expires_ms)), || 8, 11_000);
        }
        assert_eq!(f.shard.next_deadline(), Some(is_closed_at));
        f.shard.advance(is_closed_at);
        assert_eq!(f.finished(), Some(CloseReason::TokenExpired));
    }
}

#[test]
fn only_clients_that_came_with_a_token_may_send_new_ones() {
    let mut f = fixture();
    f.send(r#"{"gw": "token"}"#);
    f.send("hello");
    assert_eq!(testing::told(&f.worker), [r#"message 1 {"gw": "token"}"#, "message 1 hello"]);
    let (key, _) = testing::client(&mut f.shard, 2, &f.worker, testing::policy());
    f.key = key;
    f.send(r#"{"gw":"token","token":"a"}"#);
    assert!(f.asked().is_none());
    assert_eq!(testing::told(&f.worker), [r#"message 2 {"gw":"token","token":"a"}"#]);
}

#[test]
fn a_token_with_more_groups_than_a_client_may_be_in_changes_nothing() {
    let (shard, workers) = testing::shard();
    let settings =
        crate::core::Settings { membership_limits: MembershipLimits::new(2, 1, 100), ..shard.settings };
    let mut shard = Shard::<MemoryPorts>::new(settings, workers.clone());
    let worker = workers.join("worker", 1 << 20, Features::default());
    let (key, _) = testing::client(&mut shard, 1, &worker, testing::policy());
    shard.identify(key, grant("u1", &["a"], 10_000), || 1, 0).unwrap();
    shard.renew(key, Ok(grant("u1", &["b", "c"], 20_000)), || 2, 0);
    assert_eq!((shard.table().groups_len(), shard.next_deadline()), (1, Some(10_000)));
    shard.renew(key, Ok(grant("u1", &["a", "b"], 20_000)), || 2, 0);
    assert_eq!((shard.table().groups_len(), shard.next_deadline()), (2, Some(20_000)));
    let (second, _) = testing::client(&mut shard, 2, &worker, testing::policy());
    let limit = shard.identify(second, grant("u1", &[], 10_000), || 3, 0);
    assert_eq!(limit, Err(MembershipLimit::ClientsPerUid));
}
