//! What the registers can bear witness to: whether any still lists a gateway.
//!
//! Plain data with the time as an argument. `registers` writes it, through
//! [`RegisterLinks`](crate::RegisterLinks), which workers and gateways ask.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::address_lists::RegisterList;
use crate::connection_lists::Listed;

/// When the word of a register counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WitnessLimits {
    /// How long a connection has to stand before the register is a witness: 60 s. A register that
    /// has just started does not know all gateways yet.
    pub settled: Duration,
    /// How long ago the register may have been heard last: 25 s, more than two of the pings that
    /// it answers.
    pub fresh: Duration,
}

impl Default for WitnessLimits {
    fn default() -> Self {
        Self { settled: Duration::from_secs(60), fresh: Duration::from_secs(25) }
    }
}

impl WitnessLimits {
    /// Sets how long a connection has to stand before its register is a witness.
    #[must_use]
    pub fn with_settled(mut self, settled: Duration) -> Self {
        self.settled = settled;
        self
    }

    /// Sets how long ago a register may have been heard last.
    #[must_use]
    pub fn with_fresh(mut self, fresh: Duration) -> Self {
        self.fresh = fresh;
        self
    }
}

/// The registers of a daemon: which are connected, when each was heard, what each lists.
#[derive(Debug, Default)]
pub struct RegisterView {
    limits: WitnessLimits,
    by_register: BTreeMap<String, Seen>,
}

/// What a daemon has seen of one register.
#[derive(Debug, Default)]
struct Seen {
    is_connected: bool,
    /// When it was connected, or disconnected.
    since_ms: u64,
    /// When it was heard on this connection.
    heard_ms: Option<u64>,
    /// It answers pings, so a silent one is none.
    answers_pings: bool,
    list: RegisterList,
}

impl RegisterView {
    /// A view without registers.
    pub fn new(limits: WitnessLimits) -> Self {
        Self { limits, by_register: BTreeMap::new() }
    }

    /// The register has accepted a connection that was made at `now_ms`.
    pub fn connected(&mut self, register: &str, now_ms: u64) {
        let seen = self.seen(register);
        (seen.is_connected, seen.since_ms) = (true, now_ms);
        (seen.heard_ms, seen.answers_pings) = (None, false);
        seen.list.connected();
    }

    /// The connection to the register is over.
    pub fn disconnected(&mut self, register: &str, now_ms: u64) {
        let seen = self.seen(register);
        if std::mem::replace(&mut seen.is_connected, false) {
            seen.since_ms = now_ms;
        }
    }

    /// The register has sent a line. `answers_pings` says whether it has answered a ping on this
    /// connection.
    pub fn heard(&mut self, register: &str, answers_pings: bool, now_ms: u64) {
        let seen = self.seen(register);
        (seen.heard_ms, seen.answers_pings) = (Some(now_ms), answers_pings);
    }

    /// The register has sent a list.
    pub fn listed(&mut self, register: &str, listed: Listed) {
        self.seen(register).list.take(listed);
    }

    /// Whether the registers bear witness that there is no gateway at `address`.
    ///
    /// They do if one of them qualifies: its connection has stood for [`WitnessLimits::settled`] and
    /// it was heard within [`WitnessLimits::fresh`]; and if no register lists the address, among
    /// those that are connected or have been disconnected for less than `settled`. A register that
    /// lists a host name may mean any address by it.
    ///
    /// A process that has just woken up has heard nobody for a while: it has no witness until it
    /// has read what arrived meanwhile.
    pub fn is_absent(&self, address: SocketAddrV4, now_ms: u64) -> bool {
        let mut has_witness = false;
        for seen in self.by_register.values() {
            let is_settled = elapsed(seen.since_ms, now_ms) >= self.limits.settled;
            if !seen.is_connected && is_settled {
                continue;
            }
            if seen.may_list(address) {
                return false;
            }
            has_witness |= seen.is_connected && is_settled && self.is_fresh(seen, now_ms);
        }
        has_witness
    }

    /// Whether the daemon is in touch with a register: one is connected and, if it answers pings, was
    /// heard within [`WitnessLimits::fresh`].
    ///
    /// The original's register answers no pings and says nothing to a gateway. There a connection that
    /// stands is all that can be known.
    pub fn in_touch(&self, now_ms: u64) -> bool {
        let is_near = |seen: &Seen| !seen.answers_pings || self.is_fresh(seen, now_ms);
        self.by_register.values().any(|seen| seen.is_connected && is_near(seen))
    }

    fn is_fresh(&self, seen: &Seen, now_ms: u64) -> bool {
        seen.heard_ms.is_some_and(|heard_ms| elapsed(heard_ms, now_ms) <= self.limits.fresh)
    }

    fn seen(&mut self, register: &str) -> &mut Seen {
        self.by_register.entry(register.to_owned()).or_default()
    }
}

impl Seen {
    /// Whether the register lists a gateway, or a host name, which may stand for any.
    fn may_list(&self, gateway: SocketAddrV4) -> bool {
        self.list
            .iter()
            .any(|address| address.parse().map_or(true, |address: SocketAddrV4| address == gateway))
    }
}

fn elapsed(since_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(since_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 2300);

    /// A view with a register that was connected at 0 and lists `addresses`.
    fn view(register: &str, addresses: &[&str]) -> RegisterView {
        let mut view = RegisterView::default();
        connect(&mut view, register, addresses);
        view
    }

    fn connect(view: &mut RegisterView, register: &str, addresses: &[&str]) {
        view.connected(register, 0);
        view.heard(register, true, 0);
        view.listed(register, all(addresses));
    }

    fn all(addresses: &[&str]) -> Listed {
        Listed::All(addresses.iter().map(|&address| address.to_owned()).collect())
    }

    #[test]
    fn a_register_bears_witness_once_its_connection_has_stood_for_a_while() {
        let mut view = view("a", &[]);
        view.heard("a", true, 59_000);
        assert!(!view.is_absent(GATEWAY, 59_999));
        assert!(view.is_absent(GATEWAY, 60_000));
    }

    #[test]
    fn a_register_that_was_not_heard_for_a_while_bears_no_witness() {
        let mut view = view("a", &[]);
        assert!(!view.is_absent(GATEWAY, 3_600_000), "this process has slept");
        view.heard("a", true, 3_600_000);
        assert!(view.is_absent(GATEWAY, 3_625_000));
        assert!(!view.is_absent(GATEWAY, 3_625_001));
    }

    #[test]
    fn a_listed_gateway_is_not_absent_whichever_register_lists_it() {
        let mut view = view("a", &[]);
        connect(&mut view, "b", &["10.0.0.1:2300"]);
        view.heard("a", true, 60_000);
        assert!(!view.is_absent(GATEWAY, 60_000));
        view.listed("b", all(&["10.0.0.2:2300"]));
        assert!(view.is_absent(GATEWAY, 60_000));
    }

    #[test]
    fn a_gateway_that_was_listed_before_the_connection_is_not_absent_until_the_register_lists_all() {
        let mut view = view("a", &["10.0.0.1:2300"]);
        view.connected("a", 1_000);
        view.listed("a", Listed::Some(Vec::new()));
        view.heard("a", true, 61_000);
        assert!(!view.is_absent(GATEWAY, 61_000));
        view.listed("a", all(&[]));
        assert!(view.is_absent(GATEWAY, 61_000));
    }

    #[test]
    fn the_list_of_a_register_that_went_counts_for_a_while() {
        let mut view = view("a", &[]);
        connect(&mut view, "b", &["10.0.0.1:2300"]);
        view.disconnected("b", 60_000);
        view.disconnected("b", 90_000);
        view.heard("a", true, 119_999);
        assert!(!view.is_absent(GATEWAY, 119_999));
        assert!(view.is_absent(GATEWAY, 120_000));
    }

    #[test]
    fn a_register_that_lists_a_host_name_may_mean_any_gateway() {
        let mut view = view("a", &["gateway-1:2300"]);
        view.heard("a", true, 60_000);
        assert!(!view.is_absent(GATEWAY, 60_000));
    }

    #[test]
    fn without_a_register_nothing_is_absent_and_nobody_in_touch() {
        let mut view = view("a", &[]);
        view.disconnected("a", 60_000);
        assert!(!view.is_absent(GATEWAY, 60_000));
        assert!(!view.in_touch(60_000));
    }

    #[test]
    fn a_daemon_is_in_touch_with_a_register_that_answers_or_answers_nobody() {
        let mut view = RegisterView::default();
        view.connected("a", 0);
        assert!(view.in_touch(3_600_000), "the original's register is silent");
        view.heard("a", true, 3_600_000);
        assert!(view.in_touch(3_625_000));
        assert!(!view.in_touch(3_625_001));
        view.connected("a", 3_700_000);
        assert!(view.in_touch(3_700_000));
    }
}
