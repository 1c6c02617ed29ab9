//! The answers of several gateways, made into one.
//!
//! The rule: what some gateways did not answer is never passed off as the whole. The caller
//! gets it as [`AskError::Incomplete`], with the gateways that are missing.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use bytes::Bytes;

use crate::{AskError, ClusterName, Unreached};

/// The outcome of a question at one gateway.
pub(crate) type Outcome = (SocketAddrV4, Result<Bytes, Unreached>);

/// The outcome of one question at each gateway that was asked.
#[derive(Debug)]
pub struct Answers {
    outcomes: Vec<Outcome>,
    missing_clusters: Vec<(ClusterName, Unreached)>,
    /// Which other cluster has answered for a gateway.
    clusters: BTreeMap<SocketAddrV4, ClusterName>,
}

impl Answers {
    /// The outcomes, in the order in which they shall be put together.
    pub fn new(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes, missing_clusters: Vec::new(), clusters: BTreeMap::new() }
    }

    /// Adds the outcomes at the gateways of another cluster, or that the cluster has not answered. `address_in_ids` says which address the client
    /// ids of a gateway have here. An answer with a gateway that has none, or for which another cluster has answered, counts as
    /// none: its client ids would be taken for those of other clients, which might be closed.
    pub fn add_cluster(
        &mut self,
        cluster: ClusterName,
        outcomes: Result<Vec<Outcome>, Unreached>,
        address_in_ids: impl Fn(SocketAddrV4) -> Option<SocketAddrV4>,
    ) {
        let is_free =
            |gateway: &SocketAddrV4| self.clusters.get(gateway).is_none_or(|other| *other == cluster);
        let name = |(gateway, outcome): Outcome| Some((address_in_ids(gateway).filter(&is_free)?, outcome));
        let named = outcomes.and_then(|outcomes| {
            outcomes.into_iter().map(name).collect::<Option<Vec<Outcome>>>().ok_or(Unreached::BadAnswer)
        });
        match named {
            Ok(outcomes) => {
                self.clusters.extend(outcomes.iter().map(|(gateway, _)| (*gateway, cluster.clone())));
                self.outcomes.extend(outcomes);
            }
            Err(why) => self.missing_clusters.push((cluster, why)),
        }
    }

    /// Makes one answer: `read` makes a part of each gateway's answer, or `None` where it
    /// cannot be read; `add` puts the part to the others.
    ///
    /// # Errors
    /// When a gateway or a cluster has not answered, or an answer cannot be read. The error carries what
    /// the other gateways' parts make.
    pub fn gather<T: Default, P>(
        self,
        read: impl Fn(SocketAddrV4, Bytes) -> Option<P>,
        add: impl Fn(&mut T, P),
    ) -> Result<T, AskError<T>> {
        let mut whole = T::default();
        let mut missing = Vec::new();
        for (gateway, outcome) in self.outcomes {
            match outcome.and_then(|answer| read(gateway, answer).ok_or(Unreached::BadAnswer)) {
                Ok(part) => add(&mut whole, part),
                Err(why) => missing.push((gateway, why)),
            }
        }
        let missing_clusters = self.missing_clusters;
        if missing.is_empty() && missing_clusters.is_empty() {
            Ok(whole)
        } else {
            Err(AskError::Incomplete { partial: whole, missing, missing_clusters })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, 1].into(), port)
    }

    /// The sum of the numbers that the gateways answer.
    fn sum(outcomes: Vec<(SocketAddrV4, Result<Bytes, Unreached>)>) -> Result<u64, AskError<u64>> {
        let read = |_, answer: Bytes| std::str::from_utf8(&answer).ok()?.parse::<u64>().ok();
        Answers::new(outcomes).gather(read, |all: &mut u64, part| *all += part)
    }

    #[test]
    fn all_answers_make_the_whole() {
        let outcomes = vec![(gateway(1), Ok("3".into())), (gateway(2), Ok("4".into()))];
        assert_eq!(sum(outcomes).unwrap(), 7);
    }

    #[test]
    fn a_gateway_that_dies_with_the_question_in_flight_makes_the_answer_incomplete() {
        let outcomes = vec![(gateway(1), Ok("3".into())), (gateway(2), Err(Unreached::Lost))];
        let Err(AskError::Incomplete { partial: 3, missing, .. }) = sum(outcomes) else { panic!() };
        assert_eq!(missing, [(gateway(2), Unreached::Lost)]);
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_named_and_the_answers_of_others_are_there() {
        let mut answers = Answers::new(vec![(gateway(1), Ok("3".into()))]);
        let [near, far] = ["near", "far"].map(|name| name.parse::<ClusterName>().unwrap());
        answers.add_cluster(near, Ok(vec![(gateway(2), Ok("4".into()))]), Some);
        answers.add_cluster(far.clone(), Err(Unreached::TimedOut), Some);
        let read = |_, answer: Bytes| std::str::from_utf8(&answer).ok()?.parse::<u64>().ok();
        let answer = answers.gather(read, |all: &mut u64, part| *all += part);
        let Err(AskError::Incomplete { partial: 7, missing, missing_clusters }) = answer else { panic!() };
        assert_eq!((missing, missing_clusters), (vec![], vec![(far, Unreached::TimedOut)]));
    }

    #[test]
    fn an_answer_for_a_gateway_without_an_address_in_ids_or_of_another_cluster_counts_as_none() {
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<ClusterName>().unwrap());
        let answer =
            |port| Ok(vec![(gateway(port), Ok(Bytes::from("3"))), (gateway(port + 1), Ok("4".into()))]);
        let mut answers = Answers::new(vec![(gateway(1), Ok("3".into()))]);
        let named = |address| Some(address).filter(|address| *address != gateway(9));
        answers.add_cluster(a.clone(), answer(2), named);
        answers.add_cluster(a.clone(), answer(2), named);
        answers.add_cluster(b.clone(), answer(3), named);
        answers.add_cluster(c.clone(), answer(8), named);
        assert_eq!(answers.missing_clusters, [(b, Unreached::BadAnswer), (c, Unreached::BadAnswer)]);
        assert!(answers.outcomes.iter().all(|(address, _)| *address < gateway(4)));
    }

    #[test]
    fn an_answer_has_the_address_that_its_gateway_has_in_ids() {
        let far = "far".parse::<ClusterName>().unwrap();
        let mut answers = Answers::new(vec![(gateway(1), Ok("3".into()))]);
        answers.add_cluster(far, Ok(vec![(gateway(1), Ok("4".into()))]), |_| Some(gateway(7)));
        let addresses: Vec<_> =
            answers.gather(|gateway, _| Some(gateway), |all: &mut Vec<_>, one| all.push(one)).unwrap();
        assert_eq!(addresses, [gateway(1), gateway(7)]);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_a_missing_one() {
        let outcomes = vec![(gateway(1), Ok("x".into())), (gateway(2), Ok("4".into()))];
        let Err(AskError::Incomplete { partial: 4, missing, .. }) = sum(outcomes) else { panic!() };
        assert_eq!(missing, [(gateway(1), Unreached::BadAnswer)]);
    }
}
