//! What workers ask about a shard's clients: one file for each question.
//!
//! A question's file says what one shard knows (`part`) and what the parts of all shards are
//! together (`whole`): what the original would have answered, in its order and with its key types.
//! All connections stand in the order of connecting, a group's in the order of joining, a uid's in
//! the order of binding; the numbers beside things are their places in that order.
//!
//! [`answer_with`] picks the file. What the parts are is known to the question's own type, so that
//! no question can be answered with another one's parts.
//!
//! A new question: its bytes in `protocol`, a file here, and a line in [`answer_with`].

mod batch_connections_by_uid;
mod batch_count;
mod connections_by_uid;
mod count;
mod group_ids;
mod is_online;
mod select;
mod session;
mod sessions;

use bytes::Bytes;
use gatewayworker_protocol::Question;
use gatewayworker_protocol::inspect::InspectRequest;
use gatewayworker_protocol::php::{Array, Key, Value};
use gatewayworker_protocol::presence::PresenceReport;

use super::ports::Ports;
use super::table::Table;

/// A question to all shards, or to the one that has a connection.
pub trait Gather: Send + Sync + 'static {
    /// What one shard knows.
    type Part: Send + 'static;

    /// The only connection that the question is about: only its shard knows anything.
    fn connection_id(&self) -> Option<u32> {
        None
    }

    /// What a shard with this table knows.
    fn part<P: Ports>(&self, table: &Table<P>) -> Self::Part;

    /// The serialized answer, of the parts of all shards that were asked.
    fn whole(&self, parts: Vec<Self::Part>) -> Bytes;
}

/// Asks the shards: whoever reads a link's commands has one.
pub trait AskShards {
    /// What can go wrong.
    type Error;

    /// Collects the parts of the shards, and returns the whole.
    fn gather<Q: Gather>(&mut self, question: Q) -> impl Future<Output = Result<Bytes, Self::Error>>;

    /// Returns what is to be added to a time of the shards' clocks, in ms, for one since 1970.
    fn clock_start_ms(&self) -> u64;

    /// Answers a question about the gateway itself, of which a shard's table knows a part at most.
    fn inspect(&mut self, request: InspectRequest) -> impl Future<Output = Result<Bytes, Self::Error>>;

    /// Takes a report of another gateway about presence rooms, `None` where it could not be read, and returns the answer.
    /// No shard is asked.
    fn take_presence(&mut self, report: Option<PresenceReport>) -> Bytes;
}

/// Returns the serialized answer to a question.
///
/// # Errors
/// When a shard could not be asked.
pub async fn answer_with<A: AskShards>(question: Question, shards: &mut A) -> Result<Bytes, A::Error> {
    match question {
        Question::IsOnline(id) => shards.gather(is_online::IsOnline(id)).await,
        Question::Session(id) => shards.gather(session::Session(id)).await,
        Question::AllSessions => shards.gather(sessions::Sessions { group: None }).await,
        Question::SessionsByGroup(group) => shards.gather(sessions::Sessions { group: Some(group) }).await,
        Question::Count(group) => shards.gather(count::Count(group)).await,
        Question::BatchCount(groups) => shards.gather(batch_count::BatchCount(groups)).await,
        Question::ConnectionsByUid(uid) => shards.gather(connections_by_uid::ConnectionsByUid(uid)).await,
        Question::BatchConnectionsByUid(uids) => {
            shards.gather(batch_connections_by_uid::BatchConnectionsByUid(uids)).await
        }
        Question::GroupIds => shards.gather(group_ids::GroupIds).await,
        Question::Select(select) => {
            let clock_start_ms = shards.clock_start_ms();
            shards.gather(select::Selection { select, clock_start_ms }).await
        }
        Question::Inspect(request) => shards.inspect(request).await,
        Question::PresenceReport(report) => Ok(shards.take_presence(report.map(|report| *report))),
    }
}

/// A list of connection ids, in the order that stands beside them.
fn id_list(mut ids: Vec<(u64, u32)>) -> Value {
    ids.sort_unstable();
    Array::list(ids.into_iter().map(|(_, id)| i64::from(id))).into()
}

fn map(entries: impl Iterator<Item = (Key, Value)>) -> Value {
    entries.collect::<Array>().into()
}

fn id_key(id: u32) -> Key {
    Key::Int(id.into())
}
