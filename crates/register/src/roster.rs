//! The register's state: its peers, the addresses that they announce, and the list that each of them
//! is still to be sent.
//!
//! Plain data without sockets, tasks and clocks; time is `now_ms`, milliseconds since any start. The
//! shell (`server` and `connection`) calls it in this cycle, and so does a simulation:
//!
//! 1. [`connected`](Roster::connected) for a new connection, [`received`](Roster::received) for each
//!    of its lines, [`disconnected`](Roster::disconnected) at its end. An error of `received` is why
//!    the shell closes the peer; `disconnected` follows then, too.
//! 2. After each of them, write what [`next_line`](Roster::next_line) returns for that peer until it
//!    returns nothing, and look at [`next_deadline`](Roster::next_deadline), which may be earlier now.
//! 3. At `next_deadline`, call [`deadline`](Roster::deadline). If it returns a version, every peer
//!    may have a `next_line`.
//! 4. At [`peer_deadline`](Roster::peer_deadline), with what had arrived before it read, call
//!    [`timed_out`](Roster::timed_out). Close the peer for the cause that it returns; if it returns
//!    none, there is another deadline.
//!
//! A list replaces the one before it, so nothing is queued: a peer that reads slowly skips the lists
//! that it has missed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_net::AwakeDeadline;
use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{MAX_LINE, MAX_LINE_UNAUTHENTICATED, Message};

use crate::addresses::Addresses;
use crate::config::Limits;
use crate::request::{self, CloseCause, Request};

/// The time between two publications, so that a burst of announcements (a cluster that starts) goes
/// out as a few lists and not as one for each gateway.
const PAUSE_BETWEEN_LISTS_MS: u64 = 3;

/// Names one connection while it stands.
pub type PeerId = u64;

/// The state of a register.
#[derive(Debug)]
pub struct Roster {
    secret_key: SecretKey,
    introduction: Duration,
    silence: Duration,
    peers: BTreeMap<PeerId, Peer>,
    addresses: Addresses,
    /// The version of the list that was published last.
    published: u64,
    /// No list is published before.
    pause_until_ms: u64,
    /// Until when the gateways have time to announce themselves; `None` once they have had it.
    gathering: Option<AwakeDeadline>,
    wrong_keys: u64,
    /// How many peers have asked for the list.
    followers: usize,
}

#[derive(Debug)]
struct Peer {
    has_shown_key: bool,
    /// Until when the peer has to send a line: first the one with the key, then, once it has
    /// pinged, any.
    deadline: Option<AwakeDeadline>,
    has_pinged: bool,
    /// It is to be sent an answer to its ping.
    pong_due: bool,
    announced: Option<String>,
    list: Following,
}

/// The lists that a peer is sent.
#[derive(Debug)]
enum Following {
    /// None: the peer has not asked.
    Nothing,
    /// It has asked, and gets the list in any case.
    Asked,
    /// It was sent this version, and gets the list when a later one is published.
    Since(u64),
}

impl Roster {
    /// A register without peers that starts now.
    pub fn new(secret_key: SecretKey, limits: &Limits, now_ms: u64) -> Self {
        Self {
            secret_key,
            introduction: limits.introduction,
            silence: limits.silence,
            peers: BTreeMap::new(),
            addresses: Addresses::default(),
            published: 0,
            pause_until_ms: 0,
            gathering: Some(AwakeDeadline::new(limits.gathering, now_ms)),
            wrong_keys: 0,
            followers: 0,
        }
    }

    /// Takes a new connection.
    pub fn connected(&mut self, peer: PeerId, now_ms: u64) {
        self.peers.insert(
            peer,
            Peer {
                has_shown_key: false,
                deadline: Some(AwakeDeadline::new(self.introduction, now_ms)),
                has_pinged: false,
                pong_due: false,
                announced: None,
                list: Following::Nothing,
            },
        );
    }

    /// The longest line that the peer may send next, in bytes, without its end.
    pub fn max_line_len(&self, peer: PeerId) -> usize {
        if self.has_shown_key(peer) { MAX_LINE } else { MAX_LINE_UNAUTHENTICATED }
    }

    /// Whether the peer has shown the cluster's key.
    pub fn has_shown_key(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.has_shown_key)
    }

    /// Takes a line of the peer, without its end, and returns what it asked.
    ///
    /// # Errors
    /// Why the peer is to be closed.
    pub fn received(&mut self, id: PeerId, line: &[u8], now_ms: u64) -> Result<Request, CloseCause> {
        let request = request::read(line, &self.secret_key);
        if request == Err(CloseCause::WrongKey) {
            self.wrong_keys += 1;
        }
        let request = request?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(request) };
        match &request {
            Request::Ping { answer } => {
                peer.has_pinged = true;
                peer.pong_due |= answer;
            }
            Request::List => {
                peer.has_shown_key = true;
                self.followers += usize::from(matches!(peer.list, Following::Nothing));
                peer.list = Following::Asked;
            }
            Request::Announce(address) => {
                peer.has_shown_key = true;
                if peer.announced.as_ref() != Some(address) {
                    if let Some(before) = peer.announced.replace(address.clone()) {
                        self.addresses.remove(&before);
                    }
                    self.addresses.add(address);
                }
            }
        }
        if peer.has_shown_key {
            // A peer that never pinged may be silent for as long as its connection stands: the
            // original pings no register on its own host.
            peer.deadline = peer.has_pinged.then(|| AwakeDeadline::new(self.silence, now_ms));
        }
        Ok(request)
    }

    /// Forgets a connection that has ended. Returns the address that is listed no longer, if there
    /// is one.
    pub fn disconnected(&mut self, peer: PeerId) -> Option<String> {
        let peer = self.peers.remove(&peer)?;
        self.followers -= usize::from(!matches!(peer.list, Following::Nothing));
        let address = peer.announced?;
        self.addresses.remove(&address).then_some(address)
    }

    /// Whether the peer has asked for the list, so that each publication is due to it.
    pub fn follows(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| !matches!(peer.list, Following::Nothing))
    }

    /// The next line to write to the peer, `\n` included: a list, or the answer to a ping. `None`
    /// while it has all that it should have.
    ///
    /// A peer that has not shown the key is sent nothing.
    pub fn next_line(&mut self, peer: PeerId) -> Option<Bytes> {
        let peer = self.peers.get_mut(&peer)?;
        let is_list_due = match peer.list {
            Following::Nothing => false,
            Following::Since(version) => version < self.published,
            Following::Asked => true,
        };
        if is_list_due {
            // It may be newer than the list published last: then that one is not sent again.
            peer.list = Following::Since(self.addresses.version());
            return Some(self.addresses.line());
        }
        (peer.has_shown_key && std::mem::take(&mut peer.pong_due)).then(|| Message::Pong.to_line().into())
    }

    /// When [`deadline`](Self::deadline) is to be called next: when the next list is to be published,
    /// or the gateways have had time to announce themselves.
    pub fn next_deadline(&self) -> Option<u64> {
        let publication = (self.addresses.version() > self.published).then_some(self.pause_until_ms);
        let gathered = self.gathering.as_ref().map(AwakeDeadline::next_deadline);
        publication.into_iter().chain(gathered).min()
    }

    /// Publishes the list if it is time, and returns its version then.
    pub fn deadline(&mut self, now_ms: u64) -> Option<u64> {
        if self.gathering.as_mut().is_some_and(|gathering| gathering.has_passed(now_ms)) {
            self.gathering = None;
            self.addresses.complete();
        }
        if self.addresses.version() == self.published || now_ms < self.pause_until_ms {
            return None;
        }
        self.published = self.addresses.version();
        self.pause_until_ms = now_ms + PAUSE_BETWEEN_LISTS_MS;
        Some(self.published)
    }

    /// When [`timed_out`](Self::timed_out) is to be called if the peer sends no line until then.
    pub fn peer_deadline(&self, peer: PeerId) -> Option<u64> {
        Some(self.peers.get(&peer)?.deadline.as_ref()?.next_deadline())
    }

    /// Why the peer is to be closed now, if its time is over. A register that was stopped meanwhile
    /// gives it more ([`AwakeDeadline`]).
    pub fn timed_out(&mut self, peer: PeerId, now_ms: u64) -> Option<CloseCause> {
        let peer = self.peers.get_mut(&peer)?;
        let cause = if peer.has_shown_key { CloseCause::Silent } else { CloseCause::NoIntroduction };
        peer.deadline.as_mut()?.has_passed(now_ms).then_some(cause)
    }

    /// How many gateways are listed.
    pub fn gateways(&self) -> usize {
        self.addresses.len()
    }

    /// How many peers follow the list: workers, and client libraries.
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// How many lines had a key that is not the cluster's.
    pub fn wrong_keys(&self) -> u64 {
        self.wrong_keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &[u8] = br#"{"event":"worker_connect","secret_key":"key"}"#;
    const PING: &[u8] = br#"{"event":"ping"}"#;

    /// When a register that was started at 0 has given the gateways time.
    const GATHERED_MS: u64 = 30_000;

    fn roster() -> Roster {
        let mut roster = Roster::new(SecretKey::new("key"), &Limits::default(), 0);
        for peer in 1..=4 {
            roster.connected(peer, 0);
        }
        roster
    }

    fn announce(roster: &mut Roster, peer: PeerId, address: &str, now_ms: u64) {
        let key = SecretKey::new("key");
        let line = Message::GatewayConnect { address: address.into(), secret_key: key }.to_line();
        assert_eq!(roster.received(peer, line.as_bytes(), now_ms), Ok(Request::Announce(address.into())));
    }

    fn next_list(roster: &mut Roster, peer: PeerId) -> Option<Vec<String>> {
        match Message::parse(&roster.next_line(peer)?).unwrap() {
            Message::BroadcastAddresses { addresses, .. } => Some(addresses),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_peer_that_asks_gets_the_list_at_once_and_after_each_publication() {
        let mut roster = roster();
        roster.received(1, ASK, 0).unwrap();
        assert_eq!(next_list(&mut roster, 1).unwrap(), Vec::<String>::new());
        announce(&mut roster, 2, "a:1", 5);
        assert_eq!(next_list(&mut roster, 1), None, "it is not published yet");
        assert_eq!(roster.next_deadline(), Some(0));
        assert!(roster.deadline(5).is_some());
        assert_eq!(next_list(&mut roster, 1).unwrap(), ["a:1"]);
        assert_eq!(next_list(&mut roster, 1), None);
        roster.received(1, ASK, 6).unwrap();
        assert_eq!(next_list(&mut roster, 1).unwrap(), ["a:1"], "it has asked again");
        assert_eq!(next_list(&mut roster, 2), None, "a gateway has not asked");
    }

    #[test]
    fn a_register_that_has_just_started_says_that_its_list_is_not_complete() {
        let mut roster = roster();
        announce(&mut roster, 2, "a:1", 0);
        roster.received(1, ASK, 0).unwrap();
        roster.deadline(0);
        let line =
            |complete| Message::BroadcastAddresses { addresses: vec!["a:1".into()], complete }.to_line();
        assert_eq!(roster.next_line(1).unwrap(), line(false));
        assert_eq!(roster.deadline(GATHERED_MS), None, "it looks at what has arrived");
        assert!(roster.deadline(roster.next_deadline().unwrap()).is_some());
        assert_eq!(roster.next_line(1).unwrap(), line(true));
        assert_eq!((roster.next_line(1), roster.next_deadline()), (None, None));
    }

    #[test]
    fn a_register_that_was_stopped_as_it_started_gives_the_gateways_time_again() {
        let mut roster = roster();
        assert_eq!(roster.deadline(120_000), None);
        assert_eq!(roster.next_deadline(), Some(120_000 + GATHERED_MS));
    }

    #[test]
    fn a_burst_of_announcements_is_one_list() {
        let mut roster = roster();
        roster.received(1, ASK, 0).unwrap();
        next_list(&mut roster, 1);
        announce(&mut roster, 2, "a:1", 10);
        assert!(roster.deadline(10).is_some());
        announce(&mut roster, 3, "b:1", 11);
        announce(&mut roster, 4, "c:1", 12);
        assert_eq!(roster.next_deadline(), Some(13));
        assert_eq!(roster.deadline(12), None);
        assert!(roster.deadline(13).is_some());
        assert_eq!(next_list(&mut roster, 1).unwrap(), ["a:1", "b:1", "c:1"]);
        assert_eq!((next_list(&mut roster, 1), roster.next_deadline()), (None, Some(GATHERED_MS)));
    }

    #[test]
    fn a_peer_that_asks_before_a_publication_is_not_sent_the_same_list_twice() {
        let mut roster = roster();
        announce(&mut roster, 2, "a:1", 0);
        roster.received(1, ASK, 0).unwrap();
        assert_eq!(next_list(&mut roster, 1).unwrap(), ["a:1"]);
        assert!(roster.deadline(0).is_some());
        assert_eq!(next_list(&mut roster, 1), None);
    }

    #[test]
    fn another_address_on_the_same_connection_takes_the_first_ones_place() {
        let mut roster = roster();
        announce(&mut roster, 1, "a:1", 0);
        announce(&mut roster, 1, "a:2", 0);
        roster.received(2, ASK, 0).unwrap();
        assert_eq!(next_list(&mut roster, 2).unwrap(), ["a:2"]);
        assert_eq!(roster.disconnected(1).as_deref(), Some("a:2"));
        assert_eq!(roster.gateways(), 0);
    }

    #[test]
    fn a_repeated_announcement_changes_nothing() {
        let mut roster = roster();
        announce(&mut roster, 1, "a:1", 0);
        roster.deadline(0);
        announce(&mut roster, 1, "a:1", 1);
        assert_eq!(roster.next_deadline(), Some(GATHERED_MS), "nothing is to be published");
        assert!(roster.disconnected(1).is_some(), "it counted once");
    }

    #[test]
    fn a_peer_that_asks_for_the_list_counts_once_until_it_leaves() {
        let mut roster = roster();
        roster.received(1, ASK, 0).unwrap();
        roster.received(1, ASK, 1).unwrap();
        roster.received(2, ASK, 2).unwrap();
        announce(&mut roster, 3, "a:1", 3);
        assert_eq!(roster.followers(), 2);
        roster.disconnected(1);
        roster.disconnected(3);
        assert_eq!(roster.followers(), 1);
    }

    #[test]
    fn a_peer_that_announces_nothing_changes_nothing_by_leaving() {
        let mut roster = roster();
        assert_eq!(roster.disconnected(1), None);
        assert_eq!(roster.next_deadline(), Some(GATHERED_MS), "nothing is to be published");
    }

    #[test]
    fn a_peer_without_the_key_is_closed_in_time_and_a_ping_does_not_count() {
        let mut roster = roster();
        roster.received(1, PING, 9_000).unwrap();
        assert_eq!((roster.peer_deadline(1), roster.timed_out(1, 10_000)), (Some(10_000), None));
        assert_eq!((roster.peer_deadline(1), roster.timed_out(1, 10_999)), (Some(11_000), None));
        assert_eq!(roster.timed_out(1, 11_000), Some(CloseCause::NoIntroduction));
        assert_eq!(roster.max_line_len(1), MAX_LINE_UNAUTHENTICATED);
    }

    #[test]
    fn only_a_peer_that_has_pinged_is_closed_for_its_silence() {
        let mut roster = roster();
        roster.received(1, ASK, 1_000).unwrap();
        assert_eq!((roster.peer_deadline(1), roster.max_line_len(1)), (None, MAX_LINE));
        roster.received(1, PING, 2_000).unwrap();
        assert_eq!((roster.peer_deadline(1), roster.timed_out(1, 57_000)), (Some(57_000), None));
        assert_eq!(roster.timed_out(1, 57_999), None);
        assert_eq!(roster.timed_out(1, 58_000), Some(CloseCause::Silent), "within 60 s");
    }

    #[test]
    fn a_register_that_was_stopped_reads_before_it_judges() {
        let mut roster = roster();
        roster.received(1, ASK, 0).unwrap();
        roster.received(1, PING, 0).unwrap();
        assert_eq!(roster.timed_out(1, 120_000), None, "it has not read what came meanwhile");
        roster.received(1, PING, 120_001).unwrap();
        assert_eq!(roster.peer_deadline(1), Some(175_001));
    }

    #[test]
    fn a_ping_is_answered_if_it_asks_and_the_peer_has_shown_the_key() {
        const ASKING: &[u8] = br#"{"event":"ping","answer":true}"#;
        let mut roster = roster();
        roster.received(1, ASKING, 0).unwrap();
        assert_eq!(roster.next_line(1), None, "it has not shown the key");
        announce(&mut roster, 1, "a:1", 0);
        roster.received(1, ASKING, 1).unwrap();
        roster.received(1, ASKING, 2).unwrap();
        assert_eq!(roster.next_line(1).unwrap(), "{\"event\":\"pong\"}\n");
        assert_eq!(roster.next_line(1), None, "one answer is enough");
        roster.received(1, PING, 3).unwrap();
        assert_eq!(roster.next_line(1), None, "the original's ping asks for nothing");
    }

    #[test]
    fn a_wrong_key_is_counted_and_gives_nothing() {
        let mut roster = roster();
        let line = br#"{"event":"worker_connect","secret_key":"other"}"#;
        assert_eq!(roster.received(1, line, 0), Err(CloseCause::WrongKey));
        assert_eq!((roster.wrong_keys(), roster.has_shown_key(1)), (1, false));
        assert_eq!(roster.next_line(1), None);
    }
}
