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
use super::resumption::control;
use super::send_queue::Priority;
use super::table::Key;
use super::websocket::encode;

/// What a message begins with that has a new token.
pub const PREFIX: &[u8] = br#"{"gw":"token","#;

/// A client that has sent so many wrong tokens since the last good one is closed.
const MAX_REFUSED: u8 = 10;

/// The name of the refusal that is no mistake of the client.
const KEYS_AWAY: &str = "keys-away";

/// How much longer a client stays whose token expires while a new one is checked, in ms.
const RENEWAL_MS: u64 = 10_000;

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
    /// Its token has expired while a new one was being checked.
    is_overdue: bool,
    /// How many wrong tokens it has sent since the last good one.
    refused: u8,
}

impl Tokens {
    /// When the first client is to be closed.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.ends.first().map(|(at_ms, _)| *at_ms)
    }

    /// Returns a client whose time is over. One whose new token is being checked gets more time, once.
    fn pop_expired(&mut self, now_ms: u64) -> Option<u32> {
        loop {
            let (_, id) = self.ends.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms)?;
            match self.by_id.get_mut(&id) {
                Some(held) if held.is_renewing && !held.is_overdue => {
                    held.is_overdue = true;
                    self.set_end(id, Some(now_ms.saturating_add(RENEWAL_MS)));
                }
                _ => {
                    self.forget(id);
                    return Some(id);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, id: u32) {
        if let Some(Held { expires_ms: Some(at_ms), .. }) = self.by_id.remove(&id) {
            self.ends.remove(&(at_ms, id));
        }
    }

    /// Does not close a client, which is cut off, until it [has come back](Shard::continue_token): it may bring a new token.
    pub(super) fn pause(&mut self, id: u32) {
        if let Some(Held { expires_ms: Some(at_ms), .. }) = self.by_id.get(&id) {
            self.ends.remove(&(*at_ms, id));
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
                self.answer_token(key, &format!(r#""ok":true,"expires_at":{expires_at}"#));
            }
            Err(reason) => {
                self.refuse_token(key, reason);
                if self.tokens.by_id.get(&id).is_some_and(|held| held.is_overdue) {
                    self.set_token_end(id, Some(now_ms));
                }
            }
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
        // Before the groups: a room hears of the client with what the new token says.
        self.set_session(id, &session);
        for group in &grant.groups {
            let joined = self.table.join_group(id, group, number());
            debug_assert!(joined.is_ok(), "it was checked");
        }
        self.set_token_end(id, grant.expires_ms);
        if let Some(held) = self.tokens.by_id.get_mut(&id) {
            (held.refused, held.is_overdue) = (0, false);
        }
        Ok(grant.expires_at)
    }

    /// Tells a client that its new token is refused, and closes it after too many. That the gateway has no keys is not
    /// the client's mistake.
    fn refuse_token(&mut self, key: Key, reason: &str) {
        self.answer_token(key, &format!(r#""ok":false,"error":"{reason}""#));
        let Some(held) = self.tokens.by_id.get_mut(&key.connection_id()) else { return };
        if reason == KEYS_AWAY {
            return;
        }
        held.refused = held.refused.saturating_add(1);
        if held.refused == MAX_REFUSED {
            self.pending_close.push((key, CloseReason::ProtocolError));
        }
    }

    fn answer_token(&mut self, key: Key, answer: &str) {
        self.enqueue(key, Priority::Urgent, |client| match &client.resumable {
            None => encode::message(false, format!(r#"{{"gw":"token",{answer}}}"#).as_bytes()),
            Some(_) => control::frame(&format!(r#"{{"token":{{{answer}}}}}"#)),
        });
    }

    /// Has a new token checked that a client has sent in a control message of `gw.1`.
    #[cold]
    pub(super) fn take_token(&mut self, key: Key, token: &str) {
        let message = serde_json::json!({"gw": "token", "token": token}).to_string();
        self.take_new_token(key, message.as_bytes());
    }

    /// The uid of the token that a client was admitted with.
    pub(super) fn token_uid(&self, id: u32) -> Option<Bytes> {
        self.tokens.by_id.get(&id).and_then(|held| held.uid.clone())
    }

    /// A client has come back, and may have shown a token again that is its own, good until this time. The token that is good
    /// for longer counts.
    pub(super) fn continue_token(&mut self, id: u32, shown_until_ms: Option<Option<u64>>) {
        let Some(held) = self.tokens.by_id.get(&id) else { return };
        let until_ms = match (held.expires_ms, shown_until_ms) {
            (Some(held_ms), Some(shown_until_ms)) => shown_until_ms.map(|shown_ms| shown_ms.max(held_ms)),
            (held_until_ms, _) => held_until_ms,
        };
        self.set_token_end(id, until_ms);
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
mod tests;
