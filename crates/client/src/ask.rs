//! Asking all gateways at once, and making one answer of theirs.

use std::fmt;
use std::net::SocketAddrV4;

use bytes::Bytes;
use futures_util::future::join_all;
use gatewayworker_protocol::Question;

use crate::{Error, Gateway, Unreached};

/// Why there is no whole answer to a question that all gateways are asked.
#[derive(Debug)]
pub enum AskError<T> {
    /// Not every gateway answered. What did come is never passed off as the whole,
    /// but it is here.
    Incomplete {
        /// The answer that those gateways make that did answer.
        partial: T,
        /// The others, with the reason.
        missing: Vec<(SocketAddrV4, Unreached)>,
    },
    /// Nobody was asked.
    NotAsked(Error),
}

impl<T> AskError<T> {
    /// Makes another type of what did come.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AskError<U> {
        match self {
            Self::Incomplete { partial, missing } => {
                AskError::Incomplete { partial: change(partial), missing }
            }
            Self::NotAsked(error) => AskError::NotAsked(error),
        }
    }
}

impl<T> fmt::Display for AskError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { missing, .. } => {
                f.write_str("the answer is incomplete")?;
                missing.iter().try_for_each(|(gateway, why)| write!(f, "; gateway {gateway}: {why}"))
            }
            Self::NotAsked(error) => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for AskError<T> {}

impl<T> From<Error> for AskError<T> {
    fn from(error: Error) -> Self {
        Self::NotAsked(error)
    }
}

impl<T> From<gatewayworker_protocol::IdError> for AskError<T> {
    fn from(error: gatewayworker_protocol::IdError) -> Self {
        Self::NotAsked(error.into())
    }
}

/// The answers of several gateways.
pub(crate) struct Answers(Vec<(SocketAddrV4, Result<Bytes, Unreached>)>);

impl Gateway {
    /// Asks every gateway the same.
    pub(crate) async fn ask_all(&self, question: Question) -> Result<Answers, Error> {
        self.ask_each(|_| Some(question.clone())).await
    }

    /// Asks the gateways that there is a question for. One without a live link
    /// counts as asked in vain.
    pub(crate) async fn ask_each(
        &self,
        question: impl Fn(SocketAddrV4) -> Option<Question>,
    ) -> Result<Answers, Error> {
        self.links().settle().await;
        let links = self.links().all();
        if links.is_empty() {
            return Err(Error::NoGateways);
        }
        let asking = links.iter().filter_map(|(address, link)| {
            let question = question(*address)?;
            Some(async move { (*address, link.ask(question).await) })
        });
        Ok(Answers(join_all(asking).await))
    }

    /// Asks the one gateway that can know.
    pub(crate) async fn ask_one<T>(
        &self,
        gateway: SocketAddrV4,
        question: Question,
        read: impl FnOnce(Bytes) -> Option<T>,
    ) -> Result<T, Error> {
        self.links().settle().await;
        let link = self.links().all().get(&gateway).cloned();
        let answer = match link {
            Some(link) => link.ask(question).await,
            None => Err(Unreached::NotKnown),
        };
        let answer = answer.and_then(|answer| read(answer).ok_or(Unreached::BadAnswer));
        answer.map_err(|why| Error::Unreached { gateway, why })
    }
}

impl Answers {
    /// One answer made of all: each is read, and what was read added to `whole`.
    pub(crate) fn gather<T: Default, P>(
        self,
        read: impl Fn(SocketAddrV4, Bytes) -> Option<P>,
        add: impl Fn(&mut T, P),
    ) -> Result<T, AskError<T>> {
        let mut whole = T::default();
        let mut missing = Vec::new();
        for (gateway, answer) in self.0 {
            match answer.and_then(|answer| read(gateway, answer).ok_or(Unreached::BadAnswer)) {
                Ok(part) => add(&mut whole, part),
                Err(why) => missing.push((gateway, why)),
            }
        }
        if missing.is_empty() { Ok(whole) } else { Err(AskError::Incomplete { partial: whole, missing }) }
    }
}
