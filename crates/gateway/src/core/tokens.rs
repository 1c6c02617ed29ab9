//! Clients that came with a token: what it gives them, until when it is valid, and the new tokens that they send.
//!
//! The shell has checked the token and says what it is worth, a [`Grant`]. A client that came without one has nothing
//! here, and a message of it is not looked at. A new token is a text message that begins with [`PREFIX`]; no worker is
//! told of it. It cannot make another user of a client. A client whose token expires is closed with 4401.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::TOKEN_EXPIRED;
use gatewayworker_protocol::php::{self, Array, Value};

use super::Shard;
use super::close::Close;
use super::effects::Effect;
use super::membership_limits::MembershipLimit;
use super::ports::Ports;
use super::send_queue::Priority;
use super::table::Key;
use super::websocket::encode;

/// What a message begins with that has a new token.
pub const PREFIX: &[u8] = br#"{"gw":"token","#;

/// A client that has sent so many wrong tokens is closed.
const MAX_REFUSED: u8 = 10;

/// The longest message that may have a new token, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// What a token gives to a client.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Its uid.
    pub uid: Option<Bytes>,
    /// The groups that it joins.
    pub groups: Vec<Bytes>,
    /// Its session, serialized; empty for none.
    pub session: Bytes,
    /// When it is closed unless it sends a new token, in ms of the shard's clock.
    pub expires_ms: Option<u64>,
    /// When its token expires, in seconds since 1970, as the client is told.
    pub expires_at: Option<u64>,
}

/// The clients of a shard that came with a token.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_id: HashMap<u32, Held, RandomState>,
    /// Their ends, the first one first.
    ends: BTreeSet<(u64, u32)>,
}

/// What is known of one client's token.
#[derive(Debug, Default)]
struct Held {
    /// The uid of the token. The application may have bound the client to another one.
    uid: Option<Bytes>,
    expires_ms: Option<u64>,
    /// A new token is being checked.
    is_renewing: bool,
    /// How many wrong tokens it has sent.
    refused: u8,
}

impl Tokens {
    /// When the first client is to be closed.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.ends.first().map(|(at_ms, _)| *at_ms)
    }

    /// Returns a client whose time is over.
    fn pop_expired(&mut self, now_ms: u64) -> Option<u32> {
        let (_, id) = self.ends.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.forget(id);
        Some(id)
    }

    pub(super) fn forget(&mut self, id: u32) {
        if let Some(Held { expires_ms: Some(at_ms), .. }) = self.by_id.remove(&id) {
            self.ends.remove(&(at_ms, id));
        }
    }

    /// Sets when a client is closed.
    fn set_end(&mut self, id: u32, expires_ms: Option<u64>) {
        let held = self.by_id.entry(id).or_default();
        if let Some(before_ms) = std::mem::replace(&mut held.expires_ms, expires_ms) {
            self.ends.remove(&(before_ms, id));
        }
        self.ends.extend(expires_ms.map(|at_ms| (at_ms, id)));
    }
}

impl<P: Ports> Shard<P> {
    /// Gives a client what its token says. To be called before a worker is told of the client, and behind a check of
    /// the limits; `number` returns the next number in the order of joining and binding.
    ///
    /// # Errors
    /// When another client has taken the last place of the uid meanwhile. The client is to be closed.
    pub fn identify(
        &mut self,
        key: Key,
        grant: Grant,
        mut number: impl FnMut() -> u64,
        now_ms: u64,
    ) -> Result<(), MembershipLimit> {
        self.set_now(now_ms);
        let id = key.connection_id();
        let Some(client) = self.table.get(key) else { return Ok(()) };
        client.has_token = true;
        client.session = Box::from(&*grant.session);
        self.set_token_end(id, grant.expires_ms);
        if let Some(uid) = &grant.uid {
            self.table.bind_uid(id, uid, number())?;
        }
        for group in &grant.groups {
            self.table.join_group(id, group, number())?;
        }
        if let Some(held) = self.tokens.by_id.get_mut(&id) {
            held.uid = grant.uid;
        }
        Ok(())
    }

    fn set_token_end(&mut self, id: u32, expires_ms: Option<u64>) {
        self.effects.signals.deadline |=
            expires_ms.is_some_and(|at_ms| self.tokens.next_ms().is_none_or(|next_ms| at_ms < next_ms));
        self.tokens.set_end(id, expires_ms);
    }

    /// Has a new token checked that a client has sent. One is checked at a time.
    #[cold]
    pub(super) fn take_new_token(&mut self, key: Key, message: &[u8]) {
        let Some(held) = self.tokens.by_id.get_mut(&key.connection_id()) else { return };
        if held.is_renewing {
            return self.refuse_token(key, "busy");
        }
        if message.len() > MAX_MESSAGE_BYTES {
            return self.refuse_token(key, "malformed");
        }
        held.is_renewing = true;
        self.effects.list.push_back(Effect::NewToken(key, message.into()));
    }

    /// Gives a client what its new token says, which is checked, or tells it the name of the reason why that is
    /// refused. It joins the groups of the token and leaves none; the keys of the session replace those of the same
    /// names, and others stay.
    pub fn renew(
        &mut self,
        key: Key,
        checked: Result<Grant, &'static str>,
        number: impl FnMut() -> u64,
        now_ms: u64,
    ) {
        self.set_now(now_ms);
        let id = key.connection_id();
        let Some(held) = self.tokens.by_id.get_mut(&id) else { return };
        held.is_renewing = false;
        match checked.and_then(|grant| self.apply_renewal(key, grant, number)) {
            Ok(expires_at) => {
                let expires_at = expires_at.map_or("null".to_owned(), |at| at.to_string());
                self.answer_token(key, &format!(r#"{{"gw":"token","ok":true,"expires_at":{expires_at}}}"#));
            }
            Err(reason) => self.refuse_token(key, reason),
        }
        self.close_pending();
    }

    /// Applies a new token, or nothing of it. Returns when it expires.
    fn apply_renewal(
        &mut self,
        key: Key,
        grant: Grant,
        mut number: impl FnMut() -> u64,
    ) -> Result<Option<u64>, &'static str> {
        let id = key.connection_id();
        let Some(client) = self.table.look(key) else { return Err("missing") };
        if self.tokens.by_id.get(&id).is_none_or(|held| held.uid != grant.uid) {
            return Err("other-uid");
        }
        self.table.check_joins(client, &grant.groups).map_err(|_| "claims")?;
        let session = replace_keys(&client.session, &grant.session, self.settings.max_session_bytes);
        let session = session.ok_or("claims")?;
        for group in &grant.groups {
            let joined = self.table.join_group(id, group, number());
            debug_assert!(joined.is_ok(), "it was checked");
        }
        self.set_session(id, &session);
        self.set_token_end(id, grant.expires_ms);
        Ok(grant.expires_at)
    }

    /// Tells a client that its new token is refused, and closes it after too many.
    fn refuse_token(&mut self, key: Key, reason: &str) {
        self.answer_token(key, &format!(r#"{{"gw":"token","ok":false,"error":"{reason}"}}"#));
        let Some(held) = self.tokens.by_id.get_mut(&key.connection_id()) else { return };
        held.refused = held.refused.saturating_add(1);
        if held.refused == MAX_REFUSED {
            self.pending_close.push((key, CloseReason::ProtocolError));
        }
    }

    fn answer_token(&mut self, key: Key, answer: &str) {
        self.enqueue(key, Priority::Urgent, |_| encode::message(false, answer.as_bytes()));
    }

    /// Closes the clients whose tokens have expired.
    pub(super) fn close_expired(&mut self, now_ms: u64) {
        while let Some(id) = self.tokens.pop_expired(now_ms) {
            let Some(key) = self.table.key_of(id) else { continue };
            let Some(client) = self.table.get(key) else { continue };
            let last = client.policy().close_frame(TOKEN_EXPIRED, "your token has expired");
            self.close_with(key, Close::new(CloseReason::TokenExpired, last));
        }
    }

    /// Closes a client that another one has taken the last place of its uid from.
    pub fn close_over_limit(&mut self, key: Key) {
        self.pending_close.push((key, CloseReason::NotAdmitted));
        self.close_pending();
    }
}

/// Returns a session in which the keys of `update` have its values, as a whole; `None` where one of both cannot be read,
/// or the session would be too long.
fn replace_keys(stored: &[u8], update: &[u8], limit: usize) -> Option<Vec<u8>> {
    if update.is_empty() {
        return Some(stored.to_vec());
    }
    // A merge goes into arrays, and would leave the end of a longer list there. Null is none.
    let Ok(Value::Array(keys)) = php::unserialize(update) else { return None };
    let nulls: Array = keys.into_iter().map(|(key, _)| (key, Value::Null)).collect();
    let cleared = php::merge_sessions(stored, &php::serialize(&nulls.into()), usize::MAX).ok()?;
    php::merge_sessions(&cleared, update, limit).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewayworker_protocol::Features;

    use super::super::inbox::Inbox;
    use super::super::membership_limits::MembershipLimits;
    use super::super::testing::{self, MemoryConnection, MemoryDirectory, MemoryLink, MemoryPorts};
    use super::super::worker_link::WorkerLink;
    use super::*;

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
            super::super::Settings { membership_limits: MembershipLimits::new(2, 1, 100), ..shard.settings };
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
}
