//! [`OwnCluster`]: does for other clusters what they say, at the own gateways only.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, ClientId, Command, Question};
use tokio::time::timeout;

use super::answer::encode_answers;
use super::{CallError, ClusterCall, ClusterNames, ClusterQuestion};
use crate::core::Outcome;
use crate::frames::to_each;
use crate::link::Link;
use crate::names::Names;
use crate::{Delivery, Error, Gateway, Unreached};

/// A gateway, as its cluster is announced to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedGateway {
    /// Its address.
    pub address: SocketAddrV4,
    /// Its process, by a random number that it has told the worker; `None` for a gateway of the original, and until the worker is
    /// attached to it. It tells two gateways with one address from one gateway that two clusters have.
    pub instance: Option<u64>,
}

impl ListedGateway {
    /// Whether another gateway with this address is known to be another process. Not if either has not said which process it is.
    pub fn differs_from(self, other: Self) -> bool {
        self.instance.zip(other.instance).is_some_and(|(one, other)| one != other)
    }
}

/// Why a question of another cluster has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The bytes are no question that one cluster may ask another.
    #[error("it is not a question that one cluster may ask another")]
    Unreadable,
    /// No gateway is known: whether there are clients is not known either.
    #[error("no gateway of the cluster is known here")]
    NoGateways,
}

/// The own cluster, for what other clusters say. Nothing that it does reaches another cluster.
#[derive(Debug, Clone)]
pub struct OwnCluster {
    pub(super) gateway: Gateway,
}

impl OwnCluster {
    /// The cluster of this handle.
    pub fn of(gateway: &Gateway) -> Self {
        Self { gateway: gateway.clone() }
    }

    /// Waits until the gateways are known, for as long as a question may take.
    pub async fn ready(&self) {
        self.gateway.links().ready().await;
    }

    /// The gateways that are connected.
    pub fn gateways(&self) -> Vec<ListedGateway> {
        let links = self.gateway.links().all();
        let connected = links.iter().filter(|(_, link)| link.is_live());
        connected
            .map(|(address, link)| ListedGateway { address: *address, instance: link.instance() })
            .collect()
    }

    /// The addresses of the gateways that the registers list, connected or not, and of those that are connected still.
    pub fn listed(&self) -> Vec<SocketAddrV4> {
        self.gateway.links().all().keys().copied().collect()
    }

    /// Whether a gateway is connected.
    pub fn has_gateway(&self) -> bool {
        self.gateway.links().read().values().any(|link| link.is_live())
    }

    /// Follows which groups and uids the own cluster has. One follower at a time gets the changes.
    pub fn names(&self) -> ClusterNames {
        ClusterNames::of(&self.gateway)
    }

    /// Obeys an encoded [`ClusterCall`]. Waits for nothing.
    ///
    /// # Errors
    /// When the bytes are no call. What became of the call itself is in the other result.
    pub fn obey(&self, call: Bytes) -> Result<Result<Delivery, Error>, CallError> {
        Ok(match ClusterCall::decode(call)? {
            ClusterCall::Everywhere { command, except } => self.tell_everywhere(command, except),
            ClusterCall::AtGateway { gateway, command } => self.gateway.tell_own(gateway, command),
        })
    }

    fn tell_everywhere(&self, command: Command, except: Vec<ClientId>) -> Result<Delivery, Error> {
        let names = match &command {
            Command::SendToGroup { groups, .. } => Names::groups(groups),
            Command::SendToUid { uids, .. } => Names::uids(uids),
            Command::Ungroup(group) => Names::groups([group]),
            _ => Names::Any,
        };
        to_each(&self.gateway, &names, except, |except| {
            vec![match &command {
                Command::SendToGroup { groups, message, .. } => {
                    Command::SendToGroup { groups: groups.clone(), except, message: message.clone() }
                }
                Command::SendToAll { message, .. } if !except.is_empty() => {
                    Command::SendToAll { to: Audience::Except(except), message: message.clone() }
                }
                other => other.clone(),
            }]
        })
    }

    /// Asks the own gateways an encoded [`ClusterQuestion`], and returns their answers as bytes for the asker. A gateway that does not answer within this time is one that has not: the answers of the others go to the asker in time.
    ///
    /// # Errors
    /// When the bytes are no question, or no gateway is known that could answer for the cluster.
    pub async fn answer(&self, question: Bytes, within: Duration) -> Result<Bytes, Unanswered> {
        let question = ClusterQuestion::decode(question).ok_or(Unanswered::Unreadable)?;
        let ClusterQuestion { gateway, question } = question;
        let outcomes = match gateway {
            Some(gateway) => {
                let answer = timeout(within, self.gateway.ask_own(gateway, question)).await;
                vec![(gateway, answer.unwrap_or(Err(Unreached::TimedOut)))]
            }
            None => self.ask_all(question, within).await.ok_or(Unanswered::NoGateways)?,
        };
        Ok(encode_answers(&outcomes))
    }

    async fn ask_all(&self, question: Question, within: Duration) -> Option<Vec<Outcome>> {
        let names = match &question {
            Question::ConnectionsByUid(uid) => Names::uids([uid]),
            Question::BatchConnectionsByUid(uids) => Names::uids(uids),
            Question::Count(Some(group)) | Question::SessionsByGroup(group) => Names::groups([group]),
            Question::BatchCount(groups) => Names::groups(groups),
            _ => Names::Any,
        };
        let question = |_, link: &Link| link.interest.may_have(&names).then(|| question.clone());
        self.gateway.ask_own_gateways(question, Some(within)).await.ok()
    }
}
