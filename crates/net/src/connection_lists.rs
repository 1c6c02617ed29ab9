//! The lists that a register sends on one connection: which of them have all of its gateways, and
//! which perhaps only some.
//!
//! Plain data, with the time as an argument. `register_connection` gives it each list that comes.
//!
//! A register that has just started does not know all gateways yet, and a connection that begins may
//! be the first that anybody notices of its start. So the first list of a connection, and those of
//! the next seconds, take nothing from what the register listed before the connection; then the last
//! one does. A list of which the register says itself that it is not complete never does.

use std::time::Duration;

use gatewayworker_protocol::register::can_be_address;

use crate::AwakeDeadline;

/// How long the lists of a connection may not have all gateways, from the first one on. Gateways are back at a register
/// that has started again within this time: ours try each 5 s at least, those of the original notice
/// within 25 s that a register on another host was away.
const FIRST_LISTS: Duration = Duration::from_secs(30);

/// The most gateways that are taken from one list.
pub(crate) const MAX_GATEWAYS: usize = 4096;

/// What the lists of a connection are worth.
#[derive(Debug, Default)]
pub(crate) enum ConnectionLists {
    /// There was none.
    #[default]
    Awaited,
    /// They may not have all gateways until then. The last one has, if it is complete.
    First { until: AwakeDeadline, last: Option<Vec<String>> },
    /// Each complete one has all gateways.
    Later,
}

/// What a list says of the gateways of its register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// These are all.
    All(Vec<String>),
    /// These are all of which this connection told, and those that the register listed before it may
    /// be there, too.
    Some(Vec<String>),
}

impl ConnectionLists {
    /// Takes a list, and whether the register says that it is complete.
    pub(crate) fn received(&mut self, list: Vec<String>, is_complete: bool, now_ms: u64) -> Listed {
        match self {
            Self::Awaited => {
                let until = AwakeDeadline::new(FIRST_LISTS, now_ms);
                *self = Self::First { until, last: is_complete.then(|| list.clone()) };
            }
            Self::First { last, .. } => *last = is_complete.then(|| list.clone()),
            Self::Later if is_complete => return Listed::All(list),
            Self::Later => {}
        }
        Listed::Some(list)
    }

    /// When to call [`deadline`](Self::deadline) next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        match self {
            Self::First { until, .. } => Some(until.next_deadline()),
            Self::Awaited | Self::Later => None,
        }
    }

    /// Returns the last list when the time of the first lists is over.
    pub(crate) fn deadline(&mut self, now_ms: u64) -> Option<Listed> {
        let Self::First { until, last } = self else { return None };
        if !until.has_passed(now_ms) {
            return None;
        }
        let last = last.take();
        *self = Self::Later;
        last.map(Listed::All)
    }
}

/// The entries of a list that can be addresses, no more than [`MAX_GATEWAYS`] of them.
pub(crate) fn usable(list: Vec<String>) -> Vec<String> {
    list.into_iter().filter(|address| can_be_address(address)).take(MAX_GATEWAYS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|&address| address.to_owned()).collect()
    }

    #[test]
    fn the_first_lists_of_a_connection_may_lack_some_and_the_last_of_them_has_all_after_a_while() {
        let mut lists = ConnectionLists::default();
        assert_eq!(lists.received(list(&["a:1"]), true, 5_000), Listed::Some(list(&["a:1"])));
        assert_eq!(lists.received(list(&["b:1"]), true, 20_000), Listed::Some(list(&["b:1"])));
        assert_eq!((lists.next_deadline(), lists.deadline(35_000)), (Some(35_000), None));
        assert_eq!(
            (lists.next_deadline(), lists.deadline(36_000)),
            (Some(36_000), Some(Listed::All(list(&["b:1"]))))
        );
        assert_eq!(lists.received(list(&[]), true, 36_001), Listed::All(Vec::new()));
    }

    #[test]
    fn a_list_that_is_not_complete_lacks_some_at_any_time() {
        let mut lists = ConnectionLists::default();
        lists.received(list(&["a:1"]), false, 0);
        assert_eq!((lists.deadline(30_000), lists.deadline(31_000)), (None, None));
        assert_eq!(lists.next_deadline(), None);
        assert_eq!(lists.received(list(&["b:1"]), false, 40_000), Listed::Some(list(&["b:1"])));
        assert_eq!(lists.received(list(&["b:1"]), true, 50_000), Listed::All(list(&["b:1"])));
    }

    #[test]
    fn a_daemon_that_was_stopped_reads_further_lists_before_it_believes_the_first() {
        let mut lists = ConnectionLists::default();
        lists.received(list(&["a:1"]), true, 0);
        assert_eq!(lists.deadline(3_600_000), None);
        assert_eq!(lists.received(list(&["b:1"]), true, 3_600_001), Listed::Some(list(&["b:1"])));
    }

    #[test]
    fn a_list_is_bounded_and_what_cannot_be_an_address_is_no_part_of_it() {
        assert_eq!(usable(list(&["a:1", "", "b 1", &"x".repeat(400), "c:1"])), ["a:1", "c:1"]);
        let many: Vec<String> = (0..=MAX_GATEWAYS).map(|n| format!("a:{n}")).collect();
        assert_eq!(usable(many.clone()), many[..MAX_GATEWAYS]);
    }
}
