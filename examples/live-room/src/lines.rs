//! The last comments of a room, for those who come in, and those that were missed by a page that lost its connection.
//!
//! A comment is kept in a history first, and then sent to the room, with its position: a page says in its next join which one
//! it has seen last, and drops what comes twice. Without a history, or while it is away, comments are sent all the same.

use gatewayworker::history::{Entry, Error, Position};
use gatewayworker::{ClientId, Delivery, Gateway, History, OutMessage};
use serde_json::Value;
use tracing::warn;

/// The most comments that a page gets.
const MOST: usize = 50;

/// Where comments are kept, if anywhere. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lines(Option<History>);

impl Lines {
    /// Opens the history at `url`: `redis://host:port/`, or `memory:`, which one process alone can do. Empty: none.
    ///
    /// # Errors
    /// The URL is invalid.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(url: &str, gateway: &Gateway) -> anyhow::Result<Self> {
        let is_on = !url.is_empty();
        let history = is_on.then(|| History::open(url, gateway)).transpose()?;
        // So that metrics and `status` show it.
        history.iter().for_each(History::attach);
        Ok(Self(history))
    }

    /// The history that a worker's file names, if there is none yet.
    pub(crate) fn or_of(&self, gateway: &Gateway) -> Self {
        Self(self.0.clone().or_else(|| History::of(gateway)))
    }

    /// Sends a comment to the members of a room.
    pub(crate) async fn say(
        &self,
        gateway: &Gateway,
        room: &str,
        comment: impl Into<OutMessage>,
    ) -> Result<Delivery, gatewayworker::Error> {
        let comment = comment.into();
        if let Some(history) = &self.0 {
            match history.with_gateway(gateway).publish_as(room, comment.clone(), with_position).await {
                Ok(published) => return Ok(published.delivery),
                Err(Error::Gateway(error) | Error::NotSent { error, .. }) => return Err(error),
                Err(error) => warn!(room, %error, "a comment is not kept"),
            }
        }
        gateway.send_to_group([room], comment).await
    }

    /// Lets a client join a room. Returns the comments after `position`, or the last ones, the oldest first; `None` if the
    /// client's gateway was not reached.
    pub(crate) async fn join(
        &self,
        gateway: &Gateway,
        client: ClientId,
        room: &str,
        position: Option<Position>,
    ) -> Result<Option<Vec<OutMessage>>, gatewayworker::Error> {
        if let Some(history) = &self.0 {
            match history.with_gateway(gateway).join(client, room, position, MOST).await {
                Ok(page) => return Ok(Some(page.messages.iter().map(with_position).collect())),
                Err(Error::NotJoined(_)) => return Ok(None),
                Err(error) => warn!(room, %error, "a client gets no comments of before"),
            }
        }
        let delivery = gateway.join_group(client, room).await?;
        Ok(delivery.is_complete().then(Vec::new))
    }
}

/// The comment with its position, as pages get it.
fn with_position(entry: &Entry) -> OutMessage {
    match serde_json::from_slice(&entry.message) {
        Ok(Value::Object(mut comment)) => {
            comment.insert("position".to_owned(), entry.position.to_string().into());
            Value::Object(comment).into()
        }
        _ => entry.to_message(),
    }
}
