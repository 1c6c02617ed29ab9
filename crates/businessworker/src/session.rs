//! [`Session`]: a client's session as its handler sees it.
//!
//! `handler` makes one for each event and takes the changes out of it when the handler has
//! ended. The session that is stored is in the gateway.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gatewayworker_client::worker::{EventCalls, Fence, SessionObserver};
use gatewayworker_client::{ClientId, Error, SessionData, SessionError, php};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::{Epoch, normalized};

/// The session of the client whose event is being handled: PHP's `$_SESSION`.
///
/// Changes are written back once, after the handler, where they made another session. A
/// write through [`Client::gateway`](crate::Client::gateway) shows here at once. A clone is
/// the same session; changes after the handler has returned are lost.
///
/// A session that cannot be read (a PHP worker put an object into it, say) makes each
/// method an error that looks into it, and is overwritten by [`replace`](Self::replace)
/// only.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

struct Shared {
    id: ClientId,
    view: Mutex<View>,
    /// Where the gateway is told when the event is done.
    acknowledged: Option<Acknowledged>,
}

/// What a handle needs for an event that is acknowledged.
struct Acknowledged {
    /// What the handler said.
    calls: EventCalls,
    /// Ends what it may say.
    epoch: Arc<Epoch>,
}

#[derive(Default)]
struct View {
    /// The session in the gateway, as far as is known here.
    stored: Bytes,
    /// The content of `stored`, once a handler has looked into it.
    data: Option<SessionData>,
    /// `data` was changed here.
    changed: bool,
    /// The gateway was told to merge something; `stored` is the expected result.
    merged: bool,
}

impl View {
    fn data(&mut self) -> Result<&mut SessionData, SessionError> {
        if self.data.is_none() {
            self.data = Some(SessionData::parse(&self.stored)?);
        }
        Ok(self.data.get_or_insert_default())
    }
}

impl Session {
    /// With the epoch of an event that is acknowledged: it notes what the handler says to gateways, until
    /// the epoch is over.
    pub(crate) fn new(id: ClientId, stored: Bytes, epoch: Option<&Arc<Epoch>>) -> Self {
        let view = Mutex::new(View { stored, ..View::default() });
        let acknowledged =
            epoch.map(|epoch| Acknowledged { calls: EventCalls::new(id.gateway()), epoch: epoch.clone() });
        Self(Arc::new(Shared { id, view, acknowledged }))
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.0.view()
    }

    /// Returns the value under `key`, or `None` where there is none.
    ///
    /// # Errors
    /// When it has another type, or the session cannot be read.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        self.view().data()?.get(key)
    }

    /// Puts a value under `key`.
    ///
    /// # Errors
    /// When the value has no PHP form, or the session cannot be read.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<(), SessionError> {
        let mut view = self.view();
        let changed = view.data()?.insert(key, value)?;
        view.changed |= changed;
        Ok(())
    }

    /// Takes out the value under `key`; returns whether there was one.
    ///
    /// # Errors
    /// When the session cannot be read.
    pub fn remove(&self, key: &str) -> Result<bool, SessionError> {
        let mut view = self.view();
        let removed = view.data()?.remove(key);
        view.changed |= removed;
        Ok(removed)
    }

    /// Returns whether the session has no values. One that cannot be read has some.
    pub fn is_empty(&self) -> bool {
        self.view().data().is_ok_and(|data| data.is_empty())
    }

    /// Returns a copy of the whole session.
    ///
    /// # Errors
    /// When the session cannot be read.
    pub fn to_data(&self) -> Result<SessionData, SessionError> {
        self.view().data().cloned()
    }

    /// Replaces the whole session.
    pub fn replace(&self, data: SessionData) {
        let mut view = self.view();
        view.data = Some(data);
        view.changed = true;
    }

    /// Returns the observer that learns of writes through a handle.
    pub(crate) fn observer(&self) -> Arc<dyn SessionObserver> {
        self.0.clone()
    }

    /// Returns what the handler has said to gateways.
    pub(crate) fn calls(&self) -> Option<&EventCalls> {
        self.0.calls()
    }

    /// Looks whether the epoch of the event is over, as a call would.
    pub(crate) fn check_fence(&self) -> Result<(), Error> {
        let Some(Acknowledged { calls, epoch }) = &self.0.acknowledged else { return Ok(()) };
        if epoch.fence().is_over() {
            calls.note_unhandled(false);
            return Err(Error::Fenced);
        }
        Ok(())
    }

    /// Takes the session that has to be written back; `None` where it was not changed, and
    /// when called again.
    pub(crate) fn take_changes(&self) -> Option<Bytes> {
        let mut view = self.view();
        if !std::mem::take(&mut view.changed) {
            return None;
        }
        let bytes = view.data.as_ref()?.to_bytes();
        let same = normalized(&bytes) == normalized(&view.stored);
        (!same).then(|| {
            view.stored = bytes.clone();
            bytes
        })
    }

    /// Takes the session that is in the gateway, as far as is known here, without the changes of a handler that
    /// are not written yet.
    pub(crate) fn take_stored(&self) -> Bytes {
        std::mem::take(&mut self.view().stored)
    }

    /// Takes the session that the merges should have made which the gateway was told of;
    /// `None` where there were none.
    pub(crate) fn take_merged(&self) -> Option<Bytes> {
        let mut view = self.view();
        std::mem::take(&mut view.merged).then(|| view.stored.clone())
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        // A panic under the lock could only come from a value's own Serialize,
        // which runs before anything is changed.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionObserver for Shared {
    fn session_replaced(&self, id: ClientId, bytes: &[u8]) {
        if id == self.id {
            let stored = Bytes::copy_from_slice(bytes);
            *self.view() = View { stored, ..View::default() };
        }
    }

    fn session_merged(&self, id: ClientId, with: &php::Array) {
        if id != self.id {
            return;
        }
        let mut view = self.view();
        // One that cannot be read cannot be merged with either: the gateway keeps it.
        let Ok(mut stored) = SessionData::parse(&view.stored) else { return };
        stored.merge(with.clone());
        view.stored = stored.to_bytes();
        view.merged = true;
        match &mut view.data {
            Some(data) => data.merge(with.clone()),
            None => view.data = Some(stored),
        }
    }

    fn calls(&self) -> Option<&EventCalls> {
        self.acknowledged.as_ref().map(|event| &event.calls)
    }

    fn fence(&self) -> Option<&Fence> {
        self.acknowledged.as_ref().map(|event| &**event.epoch.fence())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view().data() {
            Ok(data) => data.as_array().fmt(f),
            Err(error) => f.write_str(&error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use serde_json::json;

    use super::*;

    fn id(connection: u32) -> ClientId {
        ClientId::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300), connection)
    }

    fn session(data: serde_json::Value) -> Session {
        Session::new(id(1), bytes(data), None)
    }

    fn bytes(data: serde_json::Value) -> Bytes {
        SessionData::of(&data).unwrap().to_bytes()
    }

    fn array(data: serde_json::Value) -> php::Array {
        SessionData::of(&data).unwrap().into_array()
    }

    #[test]
    fn a_session_is_written_back_once_and_only_when_changed() {
        let session = session(json!({"n": 1}));
        assert_eq!(session.get("n"), Ok(Some(1)));
        session.insert("n", 1).unwrap();
        assert_eq!(session.take_changes(), None);
        session.insert("n", 2).unwrap();
        session.insert("n", 1).unwrap();
        assert_eq!(session.take_changes(), None, "changed back");
        session.insert("n", 2).unwrap();
        assert_eq!(session.take_changes(), Some(bytes(json!({"n": 2}))));
        assert_eq!(session.take_changes(), None);
    }

    #[test]
    fn no_session_and_an_empty_one_are_the_same() {
        let session = Session::new(id(1), Bytes::new(), None);
        assert!(session.is_empty());
        session.insert("a", 1).unwrap();
        session.remove("a").unwrap();
        assert_eq!(session.take_changes(), None);
    }

    #[test]
    fn a_write_through_the_handle_shows_and_is_not_repeated() {
        let session = session(json!({"n": 1}));
        session.insert("n", 2).unwrap();
        session.observer().session_replaced(id(1), &bytes(json!({"m": 3})));
        assert_eq!(session.get::<i32>("n"), Ok(None));
        assert_eq!(session.get("m"), Ok(Some(3)));
        assert_eq!(session.take_changes(), None);
    }

    #[test]
    fn a_merge_through_the_handle_shows_and_keeps_changes_that_are_not_written_yet() {
        let session = session(json!({"a": 1}));
        session.observer().session_merged(id(1), &array(json!({"b": 2})));
        assert_eq!(session.take_changes(), None);
        session.insert("c", 3).unwrap();
        session.observer().session_merged(id(1), &array(json!({"d": 4})));
        assert_eq!(session.take_merged(), Some(bytes(json!({"a": 1, "b": 2, "d": 4}))));
        assert_eq!(
            session.to_data().unwrap(),
            SessionData::of(&json!({"a": 1, "b": 2, "c": 3, "d": 4})).unwrap()
        );
        assert!(session.take_changes().is_some());
    }

    #[test]
    fn another_clients_session_is_another_session() {
        let session = session(json!({"a": 1}));
        session.observer().session_replaced(id(2), b"");
        session.observer().session_merged(id(2), &array(json!({"b": 2})));
        assert_eq!(session.to_data().unwrap(), SessionData::of(&json!({"a": 1})).unwrap());
    }

    #[test]
    fn an_unreadable_session_is_an_error_and_is_not_overwritten() {
        let session = Session::new(id(1), Bytes::from_static(b"O:8:\"stdClass\":0:{}"), None);
        assert!(session.get::<i32>("a").is_err());
        assert!(session.insert("a", 1).is_err());
        assert!(!session.is_empty());
        assert_eq!(session.take_changes(), None);
        session.replace(SessionData::new());
        assert_eq!(session.take_changes().unwrap(), "a:0:{}");
    }
}
