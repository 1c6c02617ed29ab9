//! Asking gateways, all at once or one.
//!
//! `questions.rs` and `select.rs` call these methods; `link/mod.rs` carries each question to its
//! gateway, and `core` puts the answers together.

use std::net::SocketAddrV4;

use bytes::Bytes;
use futures_util::future::join_all;
use gatewayworker_protocol::{Command, Question};

use crate::core::Answers;
use crate::gateway::check_len;
use crate::link::Link;
use crate::names::Names;
use crate::{Error, Gateway, Unreached};

impl Gateway {
    /// Asks every gateway the same question at once.
    pub(crate) async fn ask_all(&self, question: Question) -> Result<Answers, Error> {
        self.ask_each(|_, _| Some(question.clone())).await
    }

    /// Asks at once every gateway that may have one of these names. Another one has nobody to tell of.
    pub(crate) async fn ask_named(&self, names: Names, question: Question) -> Result<Answers, Error> {
        self.ask_each(|_, link| link.interest.may_have(&names).then(|| question.clone())).await
    }

    /// Asks at once every gateway for which `question` returns one. A gateway without a
    /// connection counts as one that did not answer.
    pub(crate) async fn ask_each(
        &self,
        question: impl Fn(SocketAddrV4, &Link) -> Option<Question>,
    ) -> Result<Answers, Error> {
        self.links().ready().await;
        self.check_fence()?;
        let links = self.links().all();
        if links.is_empty() {
            return Err(Error::NoGateways);
        }
        let mut questions = Vec::new();
        for (address, link) in links.iter() {
            let Some(question) = question(*address, link) else { continue };
            let frame = Command::Ask(question).into_frame();
            // A gateway would end the link, and with it the questions of others.
            check_len(&frame, link.max_frame_len())?;
            questions.push((*address, link, frame));
        }
        #[cfg(feature = "otel")]
        let _call = self.begin_call(questions.first().map(|(_, _, frame)| frame), || questions.len());
        let asking =
            questions.into_iter().map(async |(address, link, frame)| (address, link.ask(frame).await));
        Ok(Answers::new(join_all(asking).await))
    }

    /// Asks one gateway, and reads its answer with `read`, which returns `None` where the
    /// answer has not the shape that it should have.
    pub(crate) async fn ask_one<T>(
        &self,
        gateway: SocketAddrV4,
        question: Question,
        read: impl FnOnce(Bytes) -> Option<T>,
    ) -> Result<T, Error> {
        self.links().ready().await;
        self.check_fence()?;
        let link = self.links().all().get(&gateway).cloned();
        let answer = match link {
            Some(link) => {
                let frame = Command::Ask(question).into_frame();
                #[cfg(feature = "otel")]
                let _call = self.begin_call([&frame], || 1);
                link.ask(frame).await
            }
            None => Err(Unreached::NotKnown),
        };
        let answer = answer.and_then(|answer| read(answer).ok_or(Unreached::BadAnswer));
        answer.map_err(|why| Error::Unreached { gateway, why })
    }
}
