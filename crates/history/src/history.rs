//! [`History`]: what an application calls.
//!
//! It checks what it is given, and hands a message to its `sequencer`, which keeps and sends it. It reads from the `store`.

use std::fmt;
use std::sync::Arc;

use gatewayworker_client::history::HistoryCalls;
use gatewayworker_client::{ClientId, Delivery, Gateway, OutMessage};
use gatewayworker_protocol::{Body, GroupId, IdError};
use tokio_util::task::AbortOnDropHandle;

use crate::page::Range;
use crate::sequencer::{Job, Live, Sequencers};
use crate::stats::{ReadCall, Stats};
use crate::store::Store;
use crate::{Entry, Error, MAX_GROUP, Page, Position, Settings};

/// The most messages in a [`Page`].
pub const MAX_PAGE: usize = 1000;

/// The history of groups. Clones share it; its connection ends with the last of them.
#[derive(Clone)]
pub struct History {
    pub(crate) shared: Arc<Shared>,
    gateway: Gateway,
}

#[derive(Debug)]
pub(crate) struct Shared {
    store: Arc<Store>,
    sequencers: Sequencers,
    _checks: Option<AbortOnDropHandle<()>>,
}

/// A message that was kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Where it was kept.
    pub position: Position,
    /// When, in milliseconds since 1970: see [`Entry::time_ms`].
    pub time_ms: u64,
    /// The gateways that were not reached. Their members find the message by `since`.
    pub delivery: Delivery,
}

impl History {
    /// Opens the history that `url` names: `memory:` (or an empty text), `redis://host:port/` or `nats://host:port`. A connection to a
    /// server is made in the background, and made again whenever it is lost. Messages are sent through `gateway`. How much is
    /// kept is the default of [`Settings`].
    ///
    /// # Errors
    /// When the URL is not one of these, cannot be read, or needs a cargo feature that is missing.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(url: &str, gateway: &Gateway) -> Result<Self, Error> {
        Self::open_with(url, Settings::default(), gateway)
    }

    /// [`open`](Self::open) with settings. Give all workers the same.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and when a setting cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_with(url: &str, settings: Settings, gateway: &Gateway) -> Result<Self, Error> {
        let store = Arc::new(Store::open(url, settings, gateway)?);
        let shared =
            Shared { sequencers: Sequencers::start(&store), _checks: Store::start_checks(&store), store };
        Ok(Self { shared: Arc::new(shared), gateway: gateway.clone() })
    }

    /// Lets calls by name of this handle reach the history: `publish`, `history_since` and `history_last`, over HTTP and in answers
    /// of a backend. They do as long as it is open. A worker with `history.url` does so by itself.
    pub fn attach(&self) {
        let shared: Arc<dyn HistoryCalls> = self.shared.clone();
        self.gateway.attach_history(Arc::downgrade(&shared));
    }

    /// Returns the history that is attached to a handle: that of the worker's file, in an application. `None` if there is none.
    pub fn of(gateway: &Gateway) -> Option<Self> {
        let shared = gateway.attached_history()?.into_any().downcast().ok()?;
        Some(Self { shared, gateway: gateway.clone() })
    }

    /// A history of these parts, for the calls by name.
    pub(crate) fn with_shared(shared: Arc<Shared>, gateway: Gateway) -> Self {
        Self { shared, gateway }
    }

    /// Returns a clone that sends through another handle: in a handler, that of its event (`client.gateway()`). What such a handle
    /// refuses, as another worker may handle the event by now, is neither kept nor sent.
    #[must_use]
    pub fn with_gateway(&self, gateway: &Gateway) -> Self {
        Self { shared: self.shared.clone(), gateway: gateway.clone() }
    }

    /// Keeps a message, and then sends it as it is to every member of the group.
    ///
    /// If the returned future is dropped, the message may be kept and sent all the same, or neither.
    ///
    /// # Errors
    /// When it was not kept ([`Error::Busy`], [`Error::TooLong`], …), may have been kept and was not sent ([`Error::TimedOut`],
    /// [`Error::Server`]), or was kept and not sent ([`Error::NotSent`]). That it did not reach some gateway is no error, but said
    /// in [`Published::delivery`].
    pub async fn publish(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
        message: impl Into<OutMessage>,
    ) -> Result<Published, Error> {
        self.publish_as(group, message, Entry::to_message).await
    }

    /// Keeps a message, and then sends what `live` makes of it: a message that carries its position, for example. Return
    /// the same form of what [`since`](Self::since) and [`last`](Self::last) have.
    ///
    /// `live` must not block: other groups wait for it.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish), and [`Error::Panicked`].
    pub async fn publish_as(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
        message: impl Into<OutMessage>,
        live: impl FnOnce(&Entry) -> OutMessage + Send + 'static,
    ) -> Result<Published, Error> {
        let job = check_group(group).and_then(|group| self.job(group, &message.into(), Box::new(live)));
        let job = job.inspect_err(|error| self.shared.store.counts.count_publish(Err(error)))?;
        self.shared.sequencers.publish(job).await
    }

    /// Returns what there is to do to publish a message.
    fn job(&self, group: GroupId, message: &OutMessage, live: Live) -> Result<Job, Error> {
        let payload = message.payload();
        let bytes = match &payload.body {
            Body::Plain(bytes) if !payload.raw => bytes.clone(),
            _ => return Err(Error::Encoded),
        };
        let (len, limit) = (bytes.len() as u64, self.shared.store.settings.max_message_bytes);
        if len > limit {
            return Err(Error::TooLong { len, limit });
        }
        Ok(Job { group, message: bytes, binary: payload.binary, live, gateway: self.gateway.clone() })
    }

    /// Returns the messages after a position: the first `limit` of them, from one to [`MAX_PAGE`], the oldest first.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn since(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
        position: Position,
        limit: usize,
    ) -> Result<Page, Error> {
        let range = Range::After(position, limit.clamp(1, MAX_PAGE) as u64);
        self.shared.read(ReadCall::Since, &check_group(group)?, range).await
    }

    /// Returns the last `n` messages, from one to [`MAX_PAGE`], the oldest first.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn last(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
        n: usize,
    ) -> Result<Page, Error> {
        let range = Range::Last(n.clamp(1, MAX_PAGE) as u64);
        self.shared.read(ReadCall::Last, &check_group(group)?, range).await
    }

    /// Joins a client to a group, and returns what it has missed since `position`, or the last messages if it has none: `limit` at
    /// most.
    ///
    /// It reads when the client is a member, so a message may be both in the page and sent to the client, before it or after it.
    /// None is missing in between. The client drops what came twice: see [`Seen`](crate::Seen).
    ///
    /// If the returned future is dropped, the client may be a member.
    ///
    /// # Errors
    /// When the client may not be a member, as its gateway was not reached or did not answer, and when the store does not
    /// answer: then it is a member, and may ask by [`since`](Self::since).
    pub async fn join(
        &self,
        client: ClientId,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
        position: Option<Position>,
        limit: usize,
    ) -> Result<Page, Error> {
        let group = check_group(group)?;
        let delivery = self.gateway.join_group(client, &group).await?;
        if let Some((_, why)) = delivery.unreached.first() {
            return Err(Error::NotJoined(*why));
        }
        // A question goes the way of the join, behind it: when it is answered, the client is a member.
        self.gateway.is_online(client).await?;
        let limit = limit.clamp(1, MAX_PAGE) as u64;
        let range = position.map_or(Range::Last(limit), |position| Range::After(position, limit));
        self.shared.read(ReadCall::Join, &group, range).await
    }

    /// Returns what this process has done with the history since it was opened, and whether it works. It asks no server: a server
    /// is looked at every five seconds.
    pub fn stats(&self) -> Stats {
        self.shared.store.stats()
    }
}

impl Shared {
    /// Reads a page.
    pub(crate) async fn read(&self, call: ReadCall, group: &GroupId, range: Range) -> Result<Page, Error> {
        let page = self.store.read(group, range).await.map(|contents| contents.into_page(range));
        self.store.counts.count_read(call, matches!(range, Range::After(..)), page.as_ref());
        page
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

pub(crate) fn check_group(group: impl TryInto<GroupId, Error: Into<IdError>>) -> Result<GroupId, Error> {
    let group = group.try_into().map_err(|error| Error::Group(error.into()))?;
    let len = group.as_bytes().len();
    if len > MAX_GROUP { Err(Error::LongGroup(len)) } else { Ok(group) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_kept_is_refused_and_says_why() {
        let gateway = Gateway::builder(["127.0.0.1:1"]).connect();
        let refused = History::open("http://me:secret@here", &gateway).unwrap_err().to_string();
        assert!(refused.contains("http") && !refused.contains("secret"), "{refused}");
        let settings = Settings::default().with_kept(0, 1);
        assert!(matches!(History::open_with("", settings, &gateway), Err(Error::Settings(_))));
        let history =
            History::open_with("memory:", Settings::default().with_max_message_bytes(4), &gateway).unwrap();
        assert!(matches!(history.publish("", "text").await, Err(Error::Group(_))));
        let long = "g".repeat(MAX_GROUP + 1);
        assert!(matches!(history.publish(long, "text").await, Err(Error::LongGroup(201))));
        let long = history.publish("room", "texts").await;
        assert!(matches!(long, Err(Error::TooLong { len: 5, limit: 4 })));
        let value = gatewayworker_client::php::Value::Int(7);
        assert!(matches!(history.publish("room", value).await, Err(Error::Encoded)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_kept_and_not_sent_is_found() {
        let gateway = Gateway::following(tokio::sync::watch::channel(Vec::new()).1).connect();
        let history = History::open("memory:", &gateway).unwrap();
        let Err(Error::NotSent { position, .. }) = history.publish("room", "text").await else {
            panic!("it was sent to nobody")
        };
        let page = history.last("room", 50).await.unwrap();
        assert_eq!((page.position, page.messages[0].text(), page.whole), (position, Some("text"), true));
        assert_eq!(history.since("room", position, 50).await.unwrap().messages, []);
        let error = history.publish_as("room", "text", |_| panic!("as asked")).await;
        assert!(matches!(error, Err(Error::Panicked)), "{error:?}");
        assert!(matches!(history.publish("room", "text").await, Err(Error::NotSent { .. })));
        assert_eq!(history.last("room", 2).await.unwrap().messages.len(), 2);
    }
}
