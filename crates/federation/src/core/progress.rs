//! [`Progress`]: where a worker begins to read what JetStream keeps for its cluster; [`DeliveryOrder`] and [`Standstill`]: whether it has to
//! begin anew.
//!
//! A worker that begins makes a consumer of its own, behind what was acknowledged to those before, and deletes them. So their workers get nothing any
//! more, and messages that were given to them and not acknowledged come again in their order. (A consumer of JetStream that two workers
//! use one after the other would give the second one the new messages first.) `durable/receiving.rs` calls this.

use std::time::Duration;

use gatewayworker_client::ClusterName;

/// Stands behind the cluster in the name of a consumer: no cluster has it in its name.
const MARK: char = '~';

/// How far a cluster has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The highest number of the stream of which it is known that all before it, and itself, are done.
    done: Option<u64>,
    /// When the stream was made, in ns since 1970.
    made_ns: Option<i128>,
}

impl Progress {
    /// The name of a consumer of a cluster; no other consumer may have the same `process` and `generation`.
    pub(crate) fn consumer(cluster: &ClusterName, process: u64, generation: u64) -> String {
        format!("{cluster}{MARK}{process:016x}-{generation}")
    }

    /// Whether a consumer of this name is the cluster's.
    pub(crate) fn is_consumer_of(cluster: &ClusterName, name: &str) -> bool {
        name.split_once(MARK).is_some_and(|(before, _)| before == cluster.as_str())
    }

    /// Notes what is done.
    pub(crate) fn done_to(&mut self, number: u64) {
        self.done = self.done.max(Some(number));
    }

    /// Notes when the stream was made. If it is another one than before, all that it has is to be done.
    pub(crate) fn of_stream(&mut self, made_ns: i128) {
        if self.made_ns.replace(made_ns).is_some_and(|before| before != made_ns) {
            self.done = Some(0);
        }
    }

    /// Notes a consumer that has begun with `start` and has acknowledged all up to `acknowledged`; 0 for nothing, as servers say before there is something.
    pub(crate) fn consumer_is_at(&mut self, start: u64, acknowledged: u64) {
        self.done_to(acknowledged.max(start.saturating_sub(1)));
    }

    /// Notes the last number of the stream. It may have lost its end in a crash of NATS: what gets those numbers again is to be done.
    pub(crate) fn stream_ends_with(&mut self, last: u64) {
        self.done = self.done.map(|done| done.min(last));
    }

    /// The number with which the next consumer begins. The first one of a cluster begins behind the last number of the stream.
    pub(crate) fn start(self, last_of_stream: u64) -> u64 {
        self.done.unwrap_or(last_of_stream) + 1
    }
}

/// Follows the numbers that a consumer gives to what it delivers.
#[derive(Debug, Default)]
pub(crate) struct DeliveryOrder {
    last: u64,
}

impl DeliveryOrder {
    /// Notes a message that is the `number`th of its consumer and was delivered `times` times. Returns whether it follows the one before: if not, messages
    /// were lost on the way here, and a new consumer has to begin where the last one was done.
    pub(crate) fn follows(&mut self, number: u64, times: u64) -> bool {
        let follows = number == self.last + 1 && times <= 1;
        self.last = number;
        follows
    }
}

/// Finds that the process stood still: another worker may have begun meanwhile, and what came here before is older than what that one has done.
#[derive(Debug)]
pub(crate) struct Standstill {
    looked_ms: u64,
}

impl Standstill {
    /// How often the worker is to look at least.
    pub(crate) const LOOK: Duration = Duration::from_millis(500);

    /// If it has not looked for longer, it stood still, in ms. Another worker begins after 3 s.
    const STILL_MS: u64 = 2_000;

    pub(crate) fn new(now_ms: u64) -> Self {
        Self { looked_ms: now_ms }
    }

    /// Looks. Returns whether a standstill lies between this and the look before.
    pub(crate) fn is_over(&mut self, now_ms: u64) -> bool {
        now_ms > std::mem::replace(&mut self.looked_ms, now_ms) + Self::STILL_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_goes_on_behind_all_that_was_acknowledged() {
        let mut progress = Progress::default();
        assert_eq!(progress.start(20), 21, "a cluster begins with what is new");
        progress.consumer_is_at(5, 0);
        assert_eq!(progress.start(20), 5, "a consumer that has acknowledged nothing");
        progress.consumer_is_at(5, 9);
        progress.done_to(7);
        assert_eq!(progress.start(20), 10);
        progress.of_stream(1);
        assert_eq!(progress.start(20), 10);
        progress.of_stream(2);
        assert_eq!(progress.start(3), 1, "the stream was made anew");
    }

    #[test]
    fn a_worker_does_not_begin_behind_the_end_of_a_stream_that_has_lost_some() {
        let mut progress = Progress::default();
        progress.stream_ends_with(20);
        assert_eq!(progress.start(20), 21, "nothing is known to be done");
        progress.done_to(30);
        progress.stream_ends_with(40);
        assert_eq!(progress.start(40), 31);
        progress.stream_ends_with(25);
        assert_eq!(progress.start(25), 26);
    }

    #[test]
    fn a_worker_that_stood_still_notices_it_at_its_first_look() {
        let mut standstill = Standstill::new(1_000);
        assert!(!standstill.is_over(1_500));
        assert!(!standstill.is_over(3_500));
        assert!(standstill.is_over(5_501));
        assert!(!standstill.is_over(5_502));
    }

    #[test]
    fn a_consumer_is_known_by_its_cluster() {
        let name = |name: &str| name.parse::<ClusterName>().unwrap();
        let consumer = Progress::consumer(&name("sh-1"), 7, 2);
        assert_eq!(consumer, "sh-1~0000000000000007-2");
        assert!(Progress::is_consumer_of(&name("sh-1"), &consumer));
        assert!(!Progress::is_consumer_of(&name("sh"), &consumer));
        assert!(!Progress::is_consumer_of(&name("sh-1"), "sh-1"));
    }

    #[test]
    fn a_gap_and_a_message_that_is_delivered_again_are_noticed() {
        let mut order = DeliveryOrder::default();
        assert!(order.follows(1, 1) && order.follows(2, 1));
        assert!(!order.follows(4, 1));
        assert!(!DeliveryOrder::default().follows(1, 2));
    }
}
