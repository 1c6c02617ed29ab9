//! The room: the group of all clients, and its last lines for those who come in.
//!
//! A line is kept in a history first, and then sent to the group; a client that joins gets the last ones. The history is that
//! of the worker's file (`[history]`), or one in the memory of this worker. Where it is away, lines are sent without being
//! kept: also where another worker keeps one in its memory.

use std::sync::OnceLock;

use gatewayworker::history::{Entry, Error};
use gatewayworker::{Client, Gateway, History, OutMessage, Result};
use tracing::debug;

/// The group.
const ROOM: &str = "chat";

/// How many of the last lines a client gets that comes in.
pub(crate) const LINES: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Room {
    history: OnceLock<History>,
}

impl Room {
    /// Opens the history, before the first client comes.
    pub(crate) fn open(&self, gateway: &Gateway) -> Result {
        let history = match History::of(gateway) {
            Some(history) => history,
            None => {
                let history = History::open("memory:", gateway)?;
                // So that metrics and `status` show it.
                history.attach();
                history
            }
        };
        self.history.get_or_init(|| history);
        Ok(())
    }

    /// Lets a client join, and returns the last lines, oldest first. A line that is said meanwhile may be among them and come
    /// by itself, too.
    pub(crate) async fn join(&self, client: &Client) -> Result<Vec<OutMessage>> {
        if let Some(history) = self.history.get() {
            let history = history.with_gateway(client.gateway());
            match history.join(client.id(), ROOM, None, LINES).await {
                Ok(page) => return Ok(page.messages.iter().map(Entry::to_message).collect()),
                Err(error) => debug!(%error, "a client gets no lines of before"),
            }
        }
        client.join_group(ROOM).await?;
        Ok(Vec::new())
    }

    /// Says a line to everybody.
    pub(crate) async fn say(&self, gateway: &Gateway, line: impl Into<OutMessage>) -> Result {
        let line = line.into();
        if let Some(history) = self.history.get() {
            match history.with_gateway(gateway).publish(ROOM, line.clone()).await {
                Ok(_) => return Ok(()),
                Err(Error::Gateway(error) | Error::NotSent { error, .. }) => return Err(error.into()),
                Err(error) => debug!(%error, "a line is not kept"),
            }
        }
        gateway.send_to_group([ROOM], line).await?;
        Ok(())
    }
}
