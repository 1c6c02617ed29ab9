//! Tests of what is announced, and of the joins that wait: one by one, and then in any order.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use gatewayworker_protocol::interest::FilterPiece;
use proptest::prelude::*;

use super::*;

fn name(number: u64) -> Name {
    Name::group(&number.to_le_bytes())
}

fn interest() -> Interest {
    Interest::new(InterestSettings::default(), 0)
}

/// Takes what is said, and drops that names are settled.
fn told(interest: &mut Interest) -> Vec<(SubscriberId, InterestUpdate)> {
    let effects = std::iter::from_fn(|| interest.next_effect());
    let told = effects.filter_map(|effect| match effect {
        Effect::Tell(id, update) => Some((id, update)),
        Effect::Settled => None,
    });
    told.collect()
}

/// A subscriber that is leased at this time and has applied all that was said.
fn leased(interest: &mut Interest, now_ms: u64) -> SubscriberId {
    let id = interest.subscribe(now_ms);
    interest.receive(id, InterestReport::Applied(u64::MAX), now_ms);
    interest.receive(id, InterestReport::Renew(4), now_ms);
    let granted = InterestUpdate::Grant { renewed_at_ms: 4, lease_ms: 3_000 };
    assert_eq!(told(interest).last(), Some(&(id, granted)));
    id
}

fn names(version: u64, numbers: impl IntoIterator<Item = u64>) -> InterestUpdate {
    InterestUpdate::Names { version, names: numbers.into_iter().map(name).collect() }
}

#[test]
fn a_join_waits_for_nobody_where_nobody_is_leased() {
    let mut interest = interest();
    let subscriber = interest.subscribe(0);
    told(&mut interest);
    let hold = interest.hold(vec![name(1)], 0);
    assert!(interest.is_settled(hold));
    assert_eq!((told(&mut interest), interest.next_deadline()), (vec![(subscriber, names(1, [1]))], None));
}

#[test]
fn counts_show_what_is_announced_and_which_leases_are_lost() {
    let mut interest = interest();
    leased(&mut interest, 10);
    interest.hold(vec![name(1), name(2)], 20);
    interest.advance(3_010);
    let InterestCounts { subscribers, names, announced, leases_lost, .. } = interest.counts();
    assert_eq!((subscribers, names, announced, leases_lost), (1, 2, 2, 1));
}

#[test]
fn the_names_of_twenty_gateways_with_100_000_each_take_less_than_5_mb() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    interest.begin_remake(100_000);
    interest.remake_with((0..100_000).map(name));
    interest.finish_remake(20);
    interest.receive(subscriber, InterestReport::Applied(u64::MAX), 20);
    let InterestCounts { names, filter_bytes, .. } = interest.counts();
    // Some are found in the filter before they are put in.
    assert!(names > 99_000 && 20 * filter_bytes < 5_000_000, "{names} names, {filter_bytes} bytes");
}

#[test]
fn a_first_join_waits_until_all_that_are_leased_have_applied_it() {
    let mut interest = interest();
    let [a, b] = [(); 2].map(|()| leased(&mut interest, 10));
    let hold = interest.hold(vec![name(1)], 20);
    assert_eq!(told(&mut interest), [(a, names(1, [1])), (b, names(1, [1]))]);
    interest.receive(a, InterestReport::Applied(1), 20);
    assert!(!interest.is_settled(hold));
    interest.receive(b, InterestReport::Applied(1), 20);
    assert!(interest.is_settled(hold) && interest.next_effect() == Some(Effect::Settled));
    interest.release(hold);
    let again = interest.hold(vec![name(1)], 30);
    assert!(interest.is_settled(again) && told(&mut interest).is_empty());
}

#[test]
fn a_subscriber_that_the_gateway_has_cut_off_keeps_its_lease_although_the_end_of_its_link_is_read() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    interest.unsubscribe(subscriber, LinkOver::Broken, 20);
    interest.unsubscribe(subscriber, LinkOver::ByPeer, 20);
    let hold = interest.hold(vec![name(1)], 20);
    assert!(!interest.is_settled(hold));
    interest.advance(3_010);
    assert!(interest.is_settled(hold));
}

#[test]
fn a_second_join_of_a_name_that_is_being_announced_waits_too() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    let holds = [(); 2].map(|()| interest.hold(vec![name(1)], 20));
    assert_eq!(told(&mut interest), [(subscriber, names(1, [1]))]);
    assert!(holds.iter().all(|hold| !interest.is_settled(*hold)));
    interest.receive(subscriber, InterestReport::Applied(1), 20);
    assert!(holds.iter().all(|hold| interest.is_settled(*hold)));
}

#[test]
fn names_are_gathered_for_two_milliseconds() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    interest.hold(vec![name(1)], 20);
    let hold = interest.hold(vec![name(2)], 21);
    interest.hold(vec![name(3), name(2)], 21);
    assert_eq!(told(&mut interest), [(subscriber, names(1, [1]))]);
    interest.receive(subscriber, InterestReport::Applied(u64::MAX), 21);
    assert!(!interest.is_settled(hold) && interest.next_deadline() == Some(22));
    interest.advance(22);
    assert_eq!(told(&mut interest), [(subscriber, names(2, [2, 3]))]);
}

#[test]
fn a_silent_subscriber_is_waited_for_as_long_as_its_lease_and_then_refused() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    let hold = interest.hold(vec![name(1)], 20);
    assert_eq!(interest.next_deadline(), Some(270));
    interest.advance(270);
    assert_eq!(interest.next_deadline(), Some(3_010));
    interest.advance(3_009);
    assert!(!interest.is_settled(hold));
    interest.advance(3_010);
    assert!(interest.is_settled(hold));
    told(&mut interest);
    interest.receive(subscriber, InterestReport::Applied(1), 3_010);
    for (renew_ms, granted) in [(3_020, 0), (30_269, 0), (30_270, 1)] {
        interest.receive(subscriber, InterestReport::Renew(7), renew_ms);
        assert_eq!(told(&mut interest).len(), granted, "{renew_ms}");
    }
}

#[test]
fn a_subscriber_that_applies_nothing_gets_no_longer_lease() {
    let mut interest = interest();
    let subscriber = leased(&mut interest, 10);
    let hold = interest.hold(vec![name(1)], 20);
    told(&mut interest);
    for now_ms in [100, 150] {
        interest.receive(subscriber, InterestReport::Renew(now_ms), now_ms);
        assert_eq!(told(&mut interest), []);
    }
    interest.receive(subscriber, InterestReport::Applied(1), 200);
    let granted = InterestUpdate::Grant { renewed_at_ms: 100, lease_ms: 3_000 };
    assert_eq!((told(&mut interest), interest.is_settled(hold)), (vec![(subscriber, granted)], true));
    let next = interest.hold(vec![name(2)], 210);
    interest.advance(3_099);
    assert!(!interest.is_settled(next));
    interest.advance(3_100);
    assert!(interest.is_settled(next));
}

#[test]
fn a_link_that_breaks_is_waited_for_and_one_that_its_peer_ends_is_not() {
    let mut interest = interest();
    let [ends, breaks] = [(); 2].map(|()| leased(&mut interest, 10));
    let hold = interest.hold(vec![name(1)], 20);
    interest.unsubscribe(breaks, LinkOver::Broken, 20);
    interest.unsubscribe(ends, LinkOver::ByPeer, 20);
    assert_eq!((interest.is_settled(hold), interest.counts().subscribers), (false, 0));
    interest.advance(3_010);
    assert!(interest.is_settled(hold));
}

#[test]
fn a_new_subscriber_is_told_what_is_on_its_way_to_others() {
    let mut interest = interest();
    leased(&mut interest, 10);
    interest.hold(vec![name(1)], 20);
    interest.hold(vec![name(2)], 21);
    let new = interest.subscribe(21);
    let Some((_, InterestUpdate::Filter(FilterPiece { version: 1, bits, .. }))) =
        told(&mut interest).into_iter().find(|(id, _)| *id == new)
    else {
        panic!("it is told of no filter");
    };
    let filter = NameFilter::from_bytes(&bits).unwrap();
    assert!(filter.may_have(name(1)) && !filter.may_have(name(2)));
    interest.advance(22);
    assert!(told(&mut interest).contains(&(new, names(2, [2]))));
}

#[test]
fn a_full_filter_is_made_anew_and_forgets_what_is_gone() {
    let mut interest = interest();
    let joined = interest.hold((0..3_000).map(name).collect(), 0);
    interest.release(joined);
    assert!(!interest.wants_remake(3_000, 0) || interest.filter.len() * 8 / 12 < 3_000);
    assert!(interest.wants_remake(500, 0));
    interest.begin_remake(500);
    assert!(!interest.wants_remake(500, 0));
    let meanwhile = interest.hold(vec![name(2_999)], 0);
    interest.remake_with((0..500).map(name));
    interest.finish_remake(0);
    assert!(interest.is_settled(meanwhile) && interest.inserted == 501);
    assert!((0..500).chain([2_999]).all(|number| interest.filter.may_have(name(number))));
    assert!((500..2_999).filter(|number| interest.filter.may_have(name(*number))).count() < 10);
}

#[test]
fn names_that_are_gone_wait_a_minute_for_a_filter_that_is_not_full() {
    let mut interest = interest();
    interest.hold((0..1_000).map(name).collect(), 0);
    assert!(!interest.wants_remake(900, 60_000) && !interest.wants_remake(700, 59_999));
    assert!(interest.wants_remake(700, 60_000));
}

/// A subscriber's side, as the client library has it.
#[derive(Debug, Default)]
struct Peer {
    link: VecDeque<InterestUpdate>,
    bits: BytesMut,
    filter: Option<NameFilter>,
    trusted_until_ms: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe,
    Join(u64),
    Execute,
    Leave(u64),
    Deliver(usize, usize),
    Renew(usize),
    End(usize, bool),
    Wait(u64),
    BeginRemake,
    FinishRemake,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Subscribe),
        6 => (0..40_u64).prop_map(Step::Join),
        6 => Just(Step::Execute),
        4 => (0..40_u64).prop_map(Step::Leave),
        9 => (0..3_usize, 1..4_usize).prop_map(|(peer, updates)| Step::Deliver(peer, updates)),
        4 => (0..3_usize).prop_map(Step::Renew),
        1 => (0..3_usize, any::<bool>()).prop_map(|(peer, by_peer)| Step::End(peer, by_peer)),
        3 => (0..1_500_u64).prop_map(Step::Wait),
        2 => Just(Step::BeginRemake),
        2 => Just(Step::FinishRemake),
    ];
    prop::collection::vec(step, 1..200)
}

/// The gateway with its subscribers and members, and an order of its own for everything.
struct Run {
    interest: Interest,
    now_ms: u64,
    peers: BTreeMap<SubscriberId, Peer>,
    holds: VecDeque<(HoldId, u64)>,
    members: Vec<u64>,
    /// The members that a walk has found, while a filter is made.
    walked: Option<Vec<u64>>,
}

impl Run {
    fn peer(&mut self, index: usize) -> Option<SubscriberId> {
        self.peers.keys().nth(index).copied()
    }

    fn step(&mut self, step: Step) {
        let now_ms = self.now_ms;
        match step {
            Step::Subscribe if self.peers.len() < 3 => {
                let id = self.interest.subscribe(now_ms);
                self.peers.insert(id, Peer::default());
            }
            Step::Subscribe => {}
            Step::Join(number) => {
                let hold = self.interest.hold(vec![name(number)], now_ms);
                self.holds.push_back((hold, number));
            }
            Step::Execute => {
                let first = self.holds.front().copied();
                if let Some((hold, number)) = first.filter(|(hold, _)| self.interest.is_settled(*hold)) {
                    self.holds.pop_front();
                    self.members.push(number);
                    self.interest.release(hold);
                }
            }
            Step::Leave(number) => self.members.retain(|member| *member != number),
            Step::Deliver(peer, updates) => {
                let Some(id) = self.peer(peer) else { return };
                for _ in 0..updates {
                    self.deliver(id);
                }
            }
            Step::Renew(peer) => {
                if let Some(id) = self.peer(peer).filter(|id| self.peers[id].filter.is_some()) {
                    self.interest.receive(id, InterestReport::Renew(now_ms), now_ms);
                }
            }
            Step::End(peer, by_peer) => {
                let Some(id) = self.peer(peer) else { return };
                if by_peer {
                    self.peers.remove(&id);
                    self.interest.unsubscribe(id, LinkOver::ByPeer, now_ms);
                } else {
                    // It does not know yet, and goes on trusting what it has.
                    self.interest.unsubscribe(id, LinkOver::Broken, now_ms);
                }
            }
            Step::Wait(ms) => self.now_ms += ms,
            Step::BeginRemake if self.walked.is_none() && self.interest.remake.sent().is_none() => {
                self.interest.begin_remake(self.members.len());
                self.walked = Some(self.members.clone());
            }
            Step::FinishRemake => {
                if let Some(walked) = self.walked.take() {
                    self.interest.remake_with(walked.into_iter().map(name));
                    self.interest.finish_remake(now_ms);
                }
            }
            Step::BeginRemake => {}
        }
        self.interest.advance(self.now_ms);
        while let Some(effect) = self.interest.next_effect() {
            if let Effect::Tell(id, update) = effect
                && let Some(peer) = self.peers.get_mut(&id)
            {
                peer.link.push_back(update);
            }
        }
    }

    fn deliver(&mut self, id: SubscriberId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let applied = match peer.link.pop_front() {
            None => return,
            Some(InterestUpdate::Grant { renewed_at_ms, lease_ms }) => {
                peer.trusted_until_ms = peer.trusted_until_ms.max(renewed_at_ms + u64::from(lease_ms));
                return;
            }
            Some(InterestUpdate::Names { version, names }) => {
                let filter = peer.filter.as_mut().expect("a filter comes first");
                names.into_iter().for_each(|name| filter.insert(name));
                version
            }
            Some(InterestUpdate::Filter(piece)) => {
                peer.bits.extend_from_slice(&piece.bits);
                if peer.bits.len() < piece.len as usize {
                    return;
                }
                peer.filter = NameFilter::from_bytes(&peer.bits.split());
                piece.version
            }
        };
        self.interest.receive(id, InterestReport::Applied(applied), self.now_ms);
    }

    /// Every view that is trusted has every name that has a member.
    fn check(&self) -> Result<(), TestCaseError> {
        for (id, peer) in &self.peers {
            let Some(filter) = peer.filter.as_ref().filter(|_| self.now_ms < peer.trusted_until_ms) else {
                continue;
            };
            for member in &self.members {
                prop_assert!(filter.may_have(name(*member)), "{id:?} does not know of {member}");
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_trusted_view_has_every_name_that_has_a_member(steps in steps()) {
        let mut run = Run {
            interest: interest(),
            now_ms: 0,
            peers: BTreeMap::new(),
            holds: VecDeque::new(),
            members: Vec::new(),
            walked: None,
        };
        for step in steps {
            run.step(step);
            run.check()?;
        }
        // Nobody waits for ever: with the leases over, all that is held is settled.
        run.step(Step::Wait(4_000));
        prop_assert!(run.holds.iter().all(|(hold, _)| run.interest.is_settled(*hold)));
    }
}
