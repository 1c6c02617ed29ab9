//! The rooms that this gateway owns, or is the standby of: which uids are there, and what is said about them.
//!
//! [`Owner`] takes the reports of all gateways, also of its own, and the list of gateways. It decides when a uid has come
//! ([`Said`], a join) and when it has gone: when its last client has left and none has come back for `linger_ms`. When
//! the list has changed it says nothing until each gateway has reported all it has, or `settle_ms` is over, as it may own
//! rooms whose uids were announced by another gateway.
//!
//! Plain data. The owner of it calls [`advance`](Owner::advance) when [`next_deadline`](Owner::next_deadline) has come,
//! and sends what [`next_said`](Owner::next_said) returns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_net::HeldFor;
use gatewayworker_protocol::presence::{PresenceAnswer, PresenceChange, PresenceReport};

use super::RoomUid;
use super::ranking::{list_id, owner_and_standby};

/// How many leaves are decided in one step, so that those of a lost gateway do not come all at once.
const LEAVES_AT_ONCE: usize = 1_000;

/// How many messages may wait to be sent. Beyond, a message is dropped.
const MAX_SAID: usize = 100_000;

/// How often it is looked how long gateways have been lost: what [`HeldFor`] counts at most.
const LOOK_MS: u64 = 1_000;

/// The times of it, in ms.
#[derive(Debug, Clone, Copy)]
pub struct OwnerSettings {
    /// How long a uid without clients may come back before it has left.
    pub linger_ms: u64,
    /// How long the uids of a gateway stay that is not listed and reports nothing.
    pub lost_after_ms: u64,
    /// How long after a change of the list to wait for gateways that do not report.
    pub settle_ms: u64,
}

/// A uid has come to a room, or has left it: a message for the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The room.
    pub room: Arc<str>,
    /// The uid.
    pub uid: Arc<str>,
    /// What others see of it, JSON.
    pub data: Arc<str>,
    /// It has come; otherwise it has left.
    pub is_join: bool,
}

/// What there is and what has happened, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerCounts {
    /// Rooms that this gateway owns.
    pub rooms: usize,
    /// Uids in these, once for each room.
    pub uids: usize,
    /// Joins that were said.
    pub joins: u64,
    /// Leaves that were said.
    pub leaves: u64,
}

/// The rooms that this gateway keeps.
#[derive(Debug)]
pub struct Owner {
    own: SocketAddrV4,
    settings: OwnerSettings,
    gateways: Vec<SocketAddrV4>,
    list: u64,
    /// Until when nothing is said, at most; `None` where the list is settled.
    settling_until_ms: Option<u64>,
    reporting: BTreeMap<SocketAddrV4, ReportingGateway>,
    rooms: BTreeMap<Arc<str>, Room>,
    /// When uids without clients will have left.
    leaving: BTreeSet<(u64, RoomUid)>,
    looked_ms: u64,
    said: VecDeque<Said>,
    joins: u64,
    leaves: u64,
}

/// A gateway that has reported.
#[derive(Debug)]
struct ReportingGateway {
    series: u64,
    /// The list for which it has reported all that it has.
    complete_for: Option<u64>,
    /// For how long it has not been listed, and has reported nothing.
    lost_for: HeldFor,
}

#[derive(Debug)]
struct Room {
    /// This gateway owns it by the present list.
    is_owned: bool,
    /// It has done so since before the list was settled: what was announced is its own doing.
    is_settled: bool,
    uids: BTreeMap<Arc<str>, Member>,
}

/// A uid in a room.
#[derive(Debug)]
struct Member {
    /// The gateways that have clients of it, with the series in which they said so last.
    at: Vec<(SocketAddrV4, u64)>,
    /// The room was told of its join, by this gateway or by an owner before it.
    is_announced: bool,
    data: Arc<str>,
    /// When it will have left, while it has no client.
    leaves_at_ms: Option<u64>,
}

impl Owner {
    /// Keeps no rooms yet: there is no list.
    pub fn new(own: SocketAddrV4, settings: OwnerSettings) -> Self {
        Self {
            own,
            settings,
            gateways: Vec::new(),
            list: list_id(&[]),
            settling_until_ms: None,
            reporting: BTreeMap::new(),
            rooms: BTreeMap::new(),
            leaving: BTreeSet::new(),
            looked_ms: 0,
            said: VecDeque::new(),
            joins: 0,
            leaves: 0,
        }
    }

    /// Takes the list of gateways. Rooms that this gateway keeps no more are forgotten without a word.
    pub fn set_list(&mut self, gateways: &[SocketAddrV4], now_ms: u64) {
        if list_id(gateways) == self.list {
            return;
        }
        self.gateways = gateways.to_vec();
        self.list = list_id(gateways);
        self.settling_until_ms = Some(now_ms + self.settings.settle_ms);
        self.rooms.retain(|name, room| {
            let keepers = owner_and_standby(name, gateways);
            let was_owned = std::mem::replace(&mut room.is_owned, keepers[0] == Some(self.own));
            room.is_settled &= room.is_owned;
            if room.is_owned && !was_owned {
                // The owner before was about to say that these leave. Nobody else may know of it.
                let leaving = room.uids.values_mut().filter(|member| member.at.is_empty());
                leaving.for_each(|member| member.is_announced = true);
            }
            keepers.contains(&Some(self.own))
        });
        self.advance(now_ms);
    }

    /// Takes a report.
    pub fn receive(&mut self, report: PresenceReport, now_ms: u64) -> PresenceAnswer {
        let PresenceReport { from, list, series, begins, is_complete, changes } = report;
        let lost_after = Duration::from_millis(self.settings.lost_after_ms);
        let new = || ReportingGateway { series, complete_for: None, lost_for: HeldFor::new(lost_after) };
        let is_older = self.reporting.get(&from).is_some_and(|reporting| series < reporting.series);
        if is_older {
            // Of a process before, or late: what came after it is true.
            return PresenceAnswer::UnknownSeries;
        }
        let reporting = match begins {
            true => self.reporting.entry(from).or_insert_with(new),
            false => match self.reporting.get_mut(&from) {
                Some(reporting) if reporting.series == series => reporting,
                _ => return PresenceAnswer::UnknownSeries,
            },
        };
        reporting.series = series;
        reporting.lost_for.tick(now_ms, false);
        // Later than that, this gateway's own memory is better.
        let believes_known = reporting.complete_for != Some(self.list);
        if is_complete {
            reporting.complete_for = Some(list);
        }
        for change in changes {
            self.apply(from, series, change, believes_known, now_ms);
        }
        if is_complete {
            self.remove_at(from, Some(series), now_ms);
        }
        self.advance(now_ms);
        let is_settled = list == self.list && self.settling_until_ms.is_none();
        if is_settled { PresenceAnswer::Applied } else { PresenceAnswer::Settling }
    }

    fn apply(
        &mut self,
        from: SocketAddrV4,
        series: u64,
        change: PresenceChange,
        believes_known: bool,
        now_ms: u64,
    ) {
        let PresenceChange { room, uid, data, is_known } = change;
        let (name, uid): RoomUid = (room.into(), uid.into());
        let was_announced = believes_known && is_known;
        if data.is_none() && !was_announced && !self.has(&name, &uid) {
            return;
        }
        let (own, gateways, is_settled) = (self.own, &self.gateways, self.settling_until_ms.is_none());
        let room = self.rooms.entry(name.clone()).or_insert_with(|| {
            let is_owned = owner_and_standby(&name, gateways)[0] == Some(own);
            Room { is_owned, is_settled: is_owned && is_settled, uids: BTreeMap::new() }
        });
        let member = room.uids.entry(uid.clone()).or_insert_with(|| Member {
            at: Vec::new(),
            is_announced: false,
            data: "{}".into(),
            leaves_at_ms: None,
        });
        member.is_announced |= was_announced;
        member.at.retain(|(gateway, _)| *gateway != from);
        if let Some(data) = data {
            member.at.push((from, series));
            member.data = data.into();
        }
        self.look_at(&name, &uid, now_ms);
    }

    fn has(&self, room: &str, uid: &str) -> bool {
        self.rooms.get(room).is_some_and(|room| room.uids.contains_key(uid))
    }

    /// Takes the uids of a gateway out that it has not named in `series`, or all.
    fn remove_at(&mut self, gateway: SocketAddrV4, series: Option<u64>, now_ms: u64) {
        let mut changed = Vec::new();
        for (name, room) in &mut self.rooms {
            for (uid, member) in &mut room.uids {
                let before = member.at.len();
                member.at.retain(|(at, named)| *at != gateway || Some(*named) == series);
                if member.at.len() < before {
                    changed.push((name.clone(), uid.clone()));
                }
            }
        }
        changed.iter().for_each(|(room, uid)| self.look_at(room, uid, now_ms));
    }

    /// Says what is to be said about a uid now, and takes it out where it has left.
    fn look_at(&mut self, name: &Arc<str>, uid: &Arc<str>, now_ms: u64) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(member) = room.uids.get_mut(uid) else { return };
        let may_say = room.is_settled && self.settling_until_ms.is_none();
        let said =
            |is_join| Said { room: name.clone(), uid: uid.clone(), data: member.data.clone(), is_join };
        if !member.at.is_empty() {
            if may_say && !member.is_announced {
                say(&mut self.said, said(true));
                self.joins += 1;
                member.is_announced = true;
            }
            member.leaves_at_ms = None;
            return;
        }
        let leaves_at_ms = *member.leaves_at_ms.get_or_insert_with(|| {
            let at_ms = now_ms + self.settings.linger_ms;
            self.leaving.insert((at_ms, (name.clone(), uid.clone())));
            at_ms
        });
        if leaves_at_ms > now_ms || room.is_owned && !may_say {
            return;
        }
        if may_say && member.is_announced {
            say(&mut self.said, said(false));
            self.leaves += 1;
        }
        room.uids.remove(uid);
        if room.uids.is_empty() {
            self.rooms.remove(name);
        }
    }

    /// Does what is due: ends the wait for gateways, lets uids leave, forgets gateways that are lost.
    pub fn advance(&mut self, now_ms: u64) {
        self.settle(now_ms);
        for _ in 0..LEAVES_AT_ONCE {
            if self.leaving.first().is_none_or(|(at_ms, _)| *at_ms > now_ms) {
                break;
            }
            let Some((_, (room, uid))) = self.leaving.pop_first() else { break };
            self.look_at(&room, &uid, now_ms);
        }
        if self.looked_ms + LOOK_MS <= now_ms {
            self.looked_ms = now_ms;
            self.forget_lost(now_ms);
        }
    }

    fn forget_lost(&mut self, now_ms: u64) {
        let listed = &self.gateways;
        let is_lost = |(gateway, reporting): (&SocketAddrV4, &mut ReportingGateway)| {
            reporting.lost_for.tick(now_ms, !listed.contains(gateway)).then_some(*gateway)
        };
        let lost: Vec<_> = self.reporting.iter_mut().filter_map(is_lost).collect();
        for gateway in lost {
            self.reporting.remove(&gateway);
            self.remove_at(gateway, None, now_ms);
        }
    }

    /// Begins to speak, where all gateways have reported or the time for it is over.
    fn settle(&mut self, now_ms: u64) {
        let Some(until_ms) = self.settling_until_ms else { return };
        let (reporting, list) = (&self.reporting, self.list);
        let is_complete = |gateway: &SocketAddrV4| {
            reporting.get(gateway).is_some_and(|reporting| reporting.complete_for == Some(list))
        };
        if now_ms < until_ms && !self.gateways.iter().all(is_complete) {
            return;
        }
        self.settling_until_ms = None;
        let mut uids = Vec::new();
        for (name, room) in &mut self.rooms {
            for (uid, member) in &mut room.uids {
                if room.is_owned
                    && !room.is_settled
                    && member.at.iter().any(|(gateway, _)| !is_complete(gateway))
                {
                    // The owner before has known it, as far as anybody can tell.
                    member.is_announced = true;
                }
                uids.push((name.clone(), uid.clone()));
            }
            room.is_settled = room.is_owned;
        }
        uids.iter().for_each(|(room, uid)| self.look_at(room, uid, now_ms));
    }

    /// When [`advance`](Self::advance) is due, if anything waits.
    pub fn next_deadline(&self) -> Option<u64> {
        let leaving = self.leaving.first().map(|(at_ms, _)| *at_ms);
        let is_one_missing = self.reporting.keys().any(|gateway| !self.gateways.contains(gateway));
        let look = is_one_missing.then_some(self.looked_ms + LOOK_MS);
        [self.settling_until_ms, leaving, look].into_iter().flatten().min()
    }

    /// Takes what is to be said next.
    pub fn next_said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// Returns what there is and what has happened.
    pub fn counts(&self) -> OwnerCounts {
        let owned = || self.rooms.values().filter(|room| room.is_owned);
        let uids = owned().map(|room| room.uids.values().filter(|member| !member.at.is_empty()).count());
        OwnerCounts { rooms: owned().count(), uids: uids.sum(), joins: self.joins, leaves: self.leaves }
    }
}

/// Queues a message, unless too many wait: rooms that are so busy ask who is there.
fn say(queue: &mut VecDeque<Said>, said: Said) {
    if queue.len() < MAX_SAID {
        queue.push_back(said);
    }
}

#[cfg(test)]
impl Owner {
    /// Whether it is the one of this gateway.
    pub(super) fn is_of(&self, gateway: SocketAddrV4) -> bool {
        self.own == gateway
    }

    /// The rooms and uids that this gateway owns and that have clients.
    pub(super) fn owned(&self) -> BTreeSet<RoomUid> {
        let owned = self.rooms.iter().filter(|(_, room)| room.is_owned);
        let uids =
            owned.flat_map(|(name, room)| room.uids.iter().map(move |(uid, member)| (name, uid, member)));
        uids.filter(|(_, _, member)| !member.at.is_empty())
            .map(|(name, uid, _)| (name.clone(), uid.clone()))
            .collect()
    }
}
