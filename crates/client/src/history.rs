//! The history of groups: the port through which the calls of [`calls`](crate::calls) reach it.
//!
//! `gatewayworker_history` implements it. Whoever opens a history for a handle attaches it here; the handle does not keep it
//! open.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use gatewayworker_protocol::GroupId;
use serde_json::Value;

use crate::calls::CallError;
use crate::{Gateway, OutMessage};

/// A call that is being made: its answer as JSON.
pub type HistoryCall = Pin<Box<dyn Future<Output = Result<Value, CallError>> + Send>>;

/// What keeps the last messages of groups.
pub trait HistoryCalls: fmt::Debug + Send + Sync + 'static {
    /// The call `publish`: keeps a message, and then sends it through `gateway`; `with_position` as JSON with its position.
    fn publish(
        self: Arc<Self>,
        gateway: Gateway,
        group: GroupId,
        message: OutMessage,
        with_position: bool,
    ) -> HistoryCall;

    /// The call `history_since`; `position` as a client has it.
    fn since(self: Arc<Self>, group: GroupId, position: String, limit: usize) -> HistoryCall;

    /// The call `history_last`.
    fn last(self: Arc<Self>, group: GroupId, limit: usize) -> HistoryCall;

    /// Itself, for the crate that knows its type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl Gateway {
    /// Attaches a history to this handle and its clones: calls by name reach it as long as it is open. The first one stays.
    pub fn attach_history(&self, history: Weak<dyn HistoryCalls>) {
        let _ = self.history_cell().set(history);
    }

    /// Returns the history that is attached, while it is open.
    pub fn attached_history(&self) -> Option<Arc<dyn HistoryCalls>> {
        self.history_cell().get().and_then(Weak::upgrade)
    }
}
