//! [`Subjects`]: the subjects of NATS on which clusters speak.

use std::fmt::{Display, Write};
use std::sync::Arc;

use gatewayworker_client::ClusterName;

use super::partitions::Partition;
use super::slots::{Slot, Slots};

/// The subjects below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    prefix: Arc<str>,
}

impl Subjects {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Where a message for clusters in these slots goes.
    pub(crate) fn send(&self, partition: Partition, slots: Slots) -> String {
        self.slots("send", partition.number(), |slot| if slots.has(slot) { "1" } else { "0" })
    }

    /// What the owner of a partition in a cluster of this slot subscribes to. If the cluster is not durable, that is also what others send
    /// over JetStream, as NATS gives it to subscribers, too.
    pub(crate) fn sent_to(&self, partition: Partition, own: Slot, is_durable: bool) -> String {
        let way = if is_durable { "send" } else { "*" };
        self.slots(way, partition.number(), |slot| if slot == own { "1" } else { "*" })
    }

    /// Where a message that JetStream is to keep for clusters in these slots goes.
    pub(crate) fn durable(&self, partition: Partition, slots: Slots) -> String {
        self.slots("durable", partition.number(), |slot| if slots.has(slot) { "1" } else { "0" })
    }

    /// What JetStream keeps for clusters of this slot.
    pub(crate) fn durable_to(&self, own: Slot) -> String {
        self.slots("durable", "*", |slot| if slot == own { "1" } else { "*" })
    }

    /// All that JetStream keeps.
    pub(crate) fn all_durable(&self) -> String {
        format!("{}.durable.>", self.prefix)
    }

    /// The name of the stream that keeps it. Names of streams have no dots.
    pub(crate) fn stream(&self) -> String {
        self.prefix.replace('.', "_")
    }

    /// What the subjects begin with where JetStream answers.
    pub(crate) fn inbox(prefix: &str) -> String {
        format!("{prefix}.inbox")
    }

    fn slots(&self, way: &str, partition: impl Display, token: impl Fn(Slot) -> &'static str) -> String {
        let mut subject = String::with_capacity(self.prefix.len() + 13 + 2 * usize::from(Slots::COUNT));
        // Writing to a text never fails.
        let _ = write!(subject, "{}.{way}.{partition}", self.prefix);
        for slot in Slots::every() {
            subject.push('.');
            subject.push_str(token(slot));
        }
        subject
    }

    /// Where the workers of a cluster announce themselves to each other.
    pub(crate) fn workers(&self, cluster: &ClusterName) -> String {
        format!("{}.worker.{cluster}", self.prefix)
    }

    /// Where a cluster is announced to all others.
    pub(crate) fn cluster(&self, cluster: &ClusterName) -> String {
        format!("{}.cluster.{cluster}", self.prefix)
    }

    /// Where all clusters are announced.
    pub(crate) fn clusters(&self) -> String {
        format!("{}.cluster.*", self.prefix)
    }

    /// Where is said which names a cluster has.
    pub(crate) fn names(&self, cluster: &ClusterName) -> String {
        format!("{}.names.{cluster}", self.prefix)
    }

    /// Where is said which names any cluster has.
    pub(crate) fn all_names(&self) -> String {
        format!("{}.names.*", self.prefix)
    }

    /// Where a cluster is asked for all its names.
    pub(crate) fn names_wanted(&self, cluster: &ClusterName) -> String {
        format!("{}.names-wanted.{cluster}", self.prefix)
    }

    /// Where a cluster is asked.
    pub(crate) fn ask(&self, cluster: &ClusterName) -> String {
        format!("{}.ask.{cluster}", self.prefix)
    }

    /// Where answers for a process go; the number of the question is the last token.
    pub(crate) fn answers(&self, process: u64) -> String {
        format!("{}.answer.{process:016x}.*", self.prefix)
    }

    /// Where the answer to one question goes.
    pub(crate) fn answer(&self, process: u64, question: u64) -> String {
        format!("{}.answer.{process:016x}.{question}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a nats-server matches: token by token.
    fn matches(filter: &str, subject: &str) -> bool {
        let (filter, subject): (Vec<_>, Vec<_>) = (filter.split('.').collect(), subject.split('.').collect());
        filter.len() == subject.len()
            && filter.iter().zip(subject).all(|(wanted, token)| *wanted == "*" || *wanted == token)
    }

    #[test]
    fn a_message_goes_to_the_slots_that_it_is_for_and_to_one_partition() {
        let subjects = Subjects::new("gatewayworker.federation");
        let partition = Partition::of(7);
        for for_slot in Slots::every() {
            let subject = subjects.send(partition, Slots::NONE.with(for_slot));
            let durable = subjects.durable(partition, Slots::NONE.with(for_slot));
            assert!(subject.split('.').count() <= 32 && durable.split('.').count() <= 32);
            for own in Slots::every() {
                assert_eq!(matches(&subjects.durable_to(own), &durable), own == for_slot);
                for heard in Partition::all() {
                    let is_for_it = own == for_slot && heard == partition;
                    assert_eq!(matches(&subjects.sent_to(heard, own, true), &subject), is_for_it);
                    assert_eq!(matches(&subjects.sent_to(heard, own, false), &subject), is_for_it);
                    assert_eq!(matches(&subjects.sent_to(heard, own, false), &durable), is_for_it);
                    assert!(!matches(&subjects.sent_to(heard, own, true), &durable), "JetStream has it");
                }
            }
            let everybody = subjects.send(partition, Slots::ALL);
            assert!(matches(&subjects.sent_to(partition, for_slot, true), &everybody));
        }
    }
}
