//! Asking gateways, all at once or one; and other clusters at the same time, where there are any.
//!
//! `questions.rs` and `select.rs` call these methods; `link/mod.rs` carries each question to its
//! gateway, the handle's federation to other clusters, and `core` puts the answers together.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use gatewayworker_protocol::{Command, Question};
use tokio::time::timeout;

use crate::core::{Answers, Outcome};
use crate::federation::{ClusterAnswer, ClusterQuestion, Destination, decode_answers};
use crate::gateway::check_len;
use crate::link::Link;
use crate::names::Names;
use crate::{ClusterName, Error, Gateway, Unreached};

/// A question for another cluster as bytes, with the gateway that it is for; `None` for all gateways of all clusters.
type EncodedQuestion = (Option<SocketAddrV4>, Bytes);

impl Gateway {
    /// Asks every gateway the same question at once.
    pub(crate) async fn ask_all(&self, question: Question) -> Result<Answers, Error> {
        self.ask_named(Names::Any, question).await
    }

    /// Asks at once every gateway that may have one of these names. Another one has nobody to tell of.
    pub(crate) async fn ask_named(&self, names: Names, question: Question) -> Result<Answers, Error> {
        let elsewhere =
            self.federation().map(|_| ClusterQuestion { gateway: None, question: question.clone() });
        self.ask_each(
            |_, link| link.interest.may_have(&names).then(|| question.clone()),
            elsewhere.into_iter().collect(),
        )
        .await
    }

    /// Asks at once every gateway for which `question` returns one, and other clusters what is to be asked `elsewhere`.
    pub(crate) async fn ask_each(
        &self,
        question: impl Fn(SocketAddrV4, &Link) -> Option<Question>,
        elsewhere: Vec<ClusterQuestion>,
    ) -> Result<Answers, Error> {
        if elsewhere.is_empty() {
            return Ok(Answers::new(self.ask_own_gateways(question, None).await?));
        }
        let elsewhere = self.encode_elsewhere(elsewhere)?;
        let (own, others) = join(self.ask_own_gateways(question, None), self.ask_elsewhere(elsewhere)).await;
        let mut answers = Answers::new(own?);
        let links = self.links().all();
        for ClusterAnswer { cluster, answer } in others {
            let outcomes = answer.and_then(|answer| decode_answers(answer).ok_or(Unreached::BadAnswer));
            answers.add_cluster(cluster, outcomes, |gateway| links.contains_key(&gateway));
        }
        Ok(answers)
    }

    /// Makes bytes of questions for other clusters, each with the gateway that it is for.
    ///
    /// # Errors
    /// When one of them does not fit a message of NATS.
    fn encode_elsewhere(&self, questions: Vec<ClusterQuestion>) -> Result<Vec<EncodedQuestion>, Error> {
        let limit = self.federation().map_or(usize::MAX, |federation| federation.max_call_len());
        let encode = |question: ClusterQuestion| {
            let (gateway, bytes) = (question.gateway, question.encode());
            if bytes.len() > limit {
                return Err(Error::TooLargeForClusters { len: bytes.len(), limit });
            }
            Ok((gateway, bytes))
        };
        questions.into_iter().map(encode).collect()
    }

    async fn ask_elsewhere(&self, questions: Vec<EncodedQuestion>) -> Vec<ClusterAnswer> {
        let Some(federation) = self.federation() else { return Vec::new() };
        let within = self.links().settings.question_timeout;
        let asking = questions.into_iter().filter_map(|(gateway, question)| {
            let cluster = match gateway {
                None => return Some(federation.ask(Destination::All, question, within)),
                Some(gateway) => federation.cluster_of(gateway)?,
            };
            Some(federation.ask(Destination::One(&cluster), question, within))
        });
        join_all(asking.collect::<Vec<_>>()).await.into_iter().flatten().collect()
    }

    /// Asks at once every own gateway for which `question` returns one. A gateway without a
    /// connection counts as one that did not answer, and so does one that takes longer than `within`.
    pub(crate) async fn ask_own_gateways(
        &self,
        question: impl Fn(SocketAddrV4, &Link) -> Option<Question>,
        within: Option<Duration>,
    ) -> Result<Vec<Outcome>, Error> {
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
        let asking = questions.into_iter().map(async |(address, link, frame)| {
            let answer = match within {
                None => link.ask(frame).await,
                Some(within) => timeout(within, link.ask(frame)).await.unwrap_or(Err(Unreached::TimedOut)),
            };
            (address, answer)
        });
        Ok(join_all(asking).await)
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
        let cluster = match self.federation() {
            Some(federation) if !self.links().read().contains_key(&gateway) => federation.cluster_of(gateway),
            _ => None,
        };
        let answer = match cluster {
            None => self.ask_own(gateway, question).await,
            Some(cluster) => self.ask_one_elsewhere(&cluster, gateway, question).await,
        };
        let answer = answer.and_then(|answer| read(answer).ok_or(Unreached::BadAnswer));
        answer.map_err(|why| Error::Unreached { gateway, why })
    }

    /// Asks one gateway of the own cluster.
    pub(crate) async fn ask_own(
        &self,
        gateway: SocketAddrV4,
        question: Question,
    ) -> Result<Bytes, Unreached> {
        let link = self.links().all().get(&gateway).cloned().ok_or(Unreached::NotKnown)?;
        let frame = Command::Ask(question).into_frame();
        #[cfg(feature = "otel")]
        let _call = self.begin_call([&frame], || 1);
        link.ask(frame).await
    }

    async fn ask_one_elsewhere(
        &self,
        cluster: &ClusterName,
        gateway: SocketAddrV4,
        question: Question,
    ) -> Result<Bytes, Unreached> {
        let federation = self.federation().ok_or(Unreached::NotKnown)?;
        let question = ClusterQuestion { gateway: Some(gateway), question }.encode();
        let within = self.links().settings.question_timeout;
        let answers = federation.ask(Destination::One(cluster), question, within).await;
        let answer = answers.into_iter().next().ok_or(Unreached::NotKnown)?.answer?;
        let outcomes = decode_answers(answer).ok_or(Unreached::BadAnswer)?;
        let own = outcomes.into_iter().find(|(address, _)| *address == gateway);
        own.map_or(Err(Unreached::BadAnswer), |(_, outcome)| outcome)
    }
}
