//! What this gateway has in presence rooms, and what it has still to report of it.
//!
//! [`Reporter`] counts the clients of each uid in each room. A room's owner and its standby are told of it: each gateway
//! of the list gets a *series* of reports, one at a time, which begins with all that concerns it and goes on with what
//! changes. A report that is not answered ends the series, and so does a change of the list: the next one begins anew.
//!
//! A report names the state of a uid and not what has happened, so a uid that leaves and comes back meanwhile has
//! changed nothing, and what waits is never more than there is. A uid that has left is remembered until its owner had the
//! time to say so, for the case that the room gets another owner meanwhile.
//!
//! Plain data. The owner of it sends what [`next_report`](Reporter::next_report) returns, and gives the answers back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;

use gatewayworker_protocol::presence::{
    MAX_CHANGES, MAX_REPORT_BYTES, PresenceAnswer, PresenceChange, PresenceReport,
};

use super::RoomUid;
use super::ranking::{list_id, owner_and_standby};

/// How long to wait after a report that was not answered, in ms.
const AGAIN_AFTER_MS: u64 = 1_000;

/// The same where the other gateway has no presence.
const OFF_FOR_MS: u64 = 30_000;

/// The same where the owner of a room waits for other gateways.
const SETTLING_MS: u64 = 200;

/// A gateway that has nothing to report says so after this time, in ms: it shows that it lives.
const SIGN_OF_LIFE_MS: u64 = 10_000;

/// By how much the number of a series is raised first where a gateway knows a higher one, and at most: the numbers are
/// µs since 1970 at the start of a process, and a clock may have gone back.
const FIRST_RAISE: u64 = 1_000_000;
const MAX_RAISE: u64 = 30 * 24 * 3_600 * 1_000_000;

/// How many uids that have left are remembered at most.
const MAX_LEFT: usize = 100_000;

/// What this gateway has in rooms.
#[derive(Debug)]
pub struct Reporter {
    own: SocketAddrV4,
    linger_ms: u64,
    gateways: Vec<SocketAddrV4>,
    list: u64,
    uids: BTreeMap<RoomUid, LocalUid>,
    /// How many of them have left.
    left: usize,
    /// Until when those are remembered.
    forgotten_at: BTreeSet<(u64, RoomUid)>,
    receivers: BTreeMap<SocketAddrV4, Receiver>,
    last_series: u64,
    /// By how much it is raised next: twice as much each time, until a series is taken.
    raise: u64,
    failed: u64,
}

/// A uid in a room, on this gateway.
#[derive(Debug)]
struct LocalUid {
    /// None: it has left.
    clients: usize,
    data: Arc<str>,
    /// The room's owner has applied that it is there, and said so.
    is_known: bool,
    /// When it is forgotten, where it has left and its owner knows.
    forgotten_at_ms: Option<u64>,
}

/// A gateway that is reported to.
#[derive(Debug, Default)]
struct Receiver {
    series: u64,
    /// The series is over: the next report begins another one.
    is_over: bool,
    has_begun: bool,
    /// The series has named everything.
    is_complete: bool,
    /// What is still to be reported.
    changed: BTreeSet<RoomUid>,
    /// What its owner has heard before it was settled, and is told again once the series has named everything. Not before:
    /// the owner waits for the end of the series.
    unsettled: BTreeSet<RoomUid>,
    /// The report that is not answered yet.
    asked: Option<Asked>,
    /// No report before this time.
    wait_until_ms: u64,
    last_ms: u64,
}

#[derive(Debug)]
struct Asked {
    series: u64,
    begins: bool,
    completes: bool,
    /// What it names of rooms that the receiver owns.
    owned: Vec<RoomUid>,
}

impl Reporter {
    /// Has nothing, and reports to nobody yet. Series get numbers from `first_series` on: those of the process before it
    /// at the same address are best not used again.
    pub fn new(own: SocketAddrV4, linger_ms: u64, first_series: u64) -> Self {
        Self {
            own,
            linger_ms,
            gateways: Vec::new(),
            list: list_id(&[]),
            uids: BTreeMap::new(),
            left: 0,
            forgotten_at: BTreeSet::new(),
            receivers: BTreeMap::new(),
            last_series: first_series,
            raise: FIRST_RAISE,
            failed: 0,
        }
    }

    /// Takes the list of gateways.
    pub fn set_list(&mut self, gateways: &[SocketAddrV4]) {
        if list_id(gateways) == self.list {
            return;
        }
        self.gateways = gateways.to_vec();
        self.list = list_id(gateways);
        self.receivers.retain(|gateway, _| gateways.contains(gateway));
        for gateway in gateways {
            let receiver = self.receivers.entry(*gateway).or_default();
            (receiver.is_over, receiver.wait_until_ms) = (true, 0);
            receiver.changed.clear();
            receiver.unsettled.clear();
        }
    }

    /// Notes one more client of a uid in a room.
    pub fn enter(&mut self, room: &str, uid: &str, data: Arc<str>) {
        let key = (room.into(), uid.into());
        let new = LocalUid { clients: 0, data: data.clone(), is_known: false, forgotten_at_ms: None };
        let local = self.uids.entry(key.clone()).or_insert_with(|| {
            self.left += 1;
            new
        });
        local.clients += 1;
        if local.clients == 1 {
            self.left -= 1;
            if let Some(at_ms) = local.forgotten_at_ms.take() {
                self.forgotten_at.remove(&(at_ms, key.clone()));
            }
        } else if local.data == data {
            return;
        }
        local.data = data;
        self.note_changed(&key);
    }

    /// Notes one client less of a uid in a room.
    pub fn exit(&mut self, room: &str, uid: &str) {
        let key = (room.into(), uid.into());
        let Some(local) = self.uids.get_mut(&key).filter(|local| local.clients > 0) else { return };
        local.clients -= 1;
        if local.clients > 0 {
            return;
        }
        self.left += 1;
        if self.left > MAX_LEFT || self.gateways.is_empty() && !local.is_known {
            self.forget(&key);
        }
        self.note_changed(&key);
    }

    /// Notes what others see of a uid from now on.
    pub fn update(&mut self, room: &str, uid: &str, data: Arc<str>) {
        let key = (room.into(), uid.into());
        let Some(local) = self.uids.get_mut(&key).filter(|local| local.clients > 0) else { return };
        if local.data != data {
            local.data = data;
            self.note_changed(&key);
        }
    }

    fn forget(&mut self, key: &RoomUid) {
        if self.uids.get(key).is_some_and(|local| local.clients == 0) {
            self.uids.remove(key);
            self.left -= 1;
        }
    }

    fn note_changed(&mut self, key: &RoomUid) {
        for gateway in owner_and_standby(&key.0, &self.gateways).into_iter().flatten() {
            if let Some(receiver) = self.receivers.get_mut(&gateway).filter(|receiver| !receiver.is_over) {
                receiver.changed.insert(key.clone());
            }
        }
    }

    /// Returns a report that is due, and the gateway that it is for: tell [`answered`](Self::answered) what comes of it, with
    /// the number of its series.
    /// A gateway gets the next one behind its answer.
    pub fn next_report(&mut self, now_ms: u64) -> Option<(SocketAddrV4, PresenceReport)> {
        let is_due = |receiver: &Receiver| receiver.due_ms().is_some_and(|at_ms| at_ms <= now_ms);
        let (gateway, _) = self.receivers.iter().find(|(_, receiver)| is_due(receiver))?;
        let gateway = *gateway;
        if self.receivers.get(&gateway).is_some_and(|receiver| receiver.is_over) {
            self.begin(gateway);
        }
        let receiver = self.receivers.get_mut(&gateway)?;
        let (mut changes, mut owned, mut bytes) = (Vec::new(), Vec::new(), 0);
        while changes.len() < MAX_CHANGES && bytes < MAX_REPORT_BYTES {
            let Some(key) = receiver.changed.pop_first() else { break };
            let local = self.uids.get(&key);
            let data = local.filter(|local| local.clients > 0).map(|local| local.data.to_string());
            bytes += key.0.len() + key.1.len() + data.as_ref().map_or(0, String::len);
            let is_known = local.is_some_and(|local| local.is_known);
            changes.push(PresenceChange { room: key.0.to_string(), uid: key.1.to_string(), data, is_known });
            if owner_and_standby(&key.0, &self.gateways)[0] == Some(gateway) {
                owned.push(key);
            }
        }
        let completes = !receiver.is_complete && receiver.changed.is_empty();
        let (series, begins) = (receiver.series, !receiver.has_begun);
        receiver.asked = Some(Asked { series, begins, completes, owned });
        receiver.last_ms = now_ms;
        let (from, list) = (self.own, self.list);
        Some((gateway, PresenceReport { from, list, series, begins, is_complete: completes, changes }))
    }

    /// Begins another series, with everything that concerns the gateway.
    fn begin(&mut self, gateway: SocketAddrV4) {
        let gateways = &self.gateways;
        let concerns = |key: &&RoomUid| owner_and_standby(&key.0, gateways).contains(&Some(gateway));
        let changed = self.uids.keys().filter(concerns).cloned().collect();
        self.last_series = self.last_series.saturating_add(1);
        let receiver = Receiver { series: self.last_series, changed, ..Receiver::default() };
        self.receivers.insert(gateway, receiver);
    }

    /// Takes the answer to the last report to a gateway; `None` where it did not answer.
    pub fn answered(
        &mut self,
        gateway: SocketAddrV4,
        series: u64,
        answer: Option<PresenceAnswer>,
        now_ms: u64,
    ) {
        // A gateway that was not listed for a moment has another series by now.
        let Some(receiver) = self.receivers.get_mut(&gateway) else { return };
        let asked = receiver.asked.take_if(|asked| asked.series == series);
        let Some(Asked { series, begins, completes, owned }) = asked else { return };
        let is_current = !receiver.is_over && series == receiver.series;
        if is_current {
            receiver.answered(answer, completes, &owned, now_ms);
        }
        match answer {
            Some(PresenceAnswer::UnknownSeries) if begins => {
                // It knows a later one, of a process that was here before.
                self.last_series = self.last_series.saturating_add(self.raise);
                self.raise = (2 * self.raise).min(MAX_RAISE);
            }
            Some(PresenceAnswer::Applied | PresenceAnswer::Settling) if begins => self.raise = FIRST_RAISE,
            _ => {}
        }
        if answer.is_none() {
            self.failed += 1;
        }
        if answer != Some(PresenceAnswer::Applied) {
            return;
        }
        // Also where the list has changed meanwhile: the next owner has to know what was said.
        for key in owned {
            match self.uids.get_mut(&key) {
                Some(local) if local.clients > 0 => local.is_known = true,
                Some(local) => {
                    let at_ms = now_ms + self.linger_ms;
                    if let Some(before_ms) = local.forgotten_at_ms.replace(at_ms) {
                        self.forgotten_at.remove(&(before_ms, key.clone()));
                    }
                    self.forgotten_at.insert((at_ms, key));
                }
                None => {}
            }
        }
    }

    /// Forgets uids that have left.
    pub fn advance(&mut self, now_ms: u64) {
        while self.forgotten_at.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            if let Some((_, key)) = self.forgotten_at.pop_first() {
                self.forget(&key);
            }
        }
    }

    /// When [`advance`](Self::advance) or [`next_report`](Self::next_report) has something to do, if ever.
    pub fn next_deadline(&self) -> Option<u64> {
        let forgotten = self.forgotten_at.first().map(|(at_ms, _)| *at_ms);
        self.receivers.values().filter_map(Receiver::due_ms).chain(forgotten).min()
    }

    /// Whether each gateway has answered that it knows everything.
    pub fn has_reported(&self) -> bool {
        let is_told = |receiver: &Receiver| {
            receiver.is_complete
                && !receiver.is_over
                && receiver.changed.is_empty()
                && receiver.asked.is_none()
        };
        self.receivers.values().all(is_told)
    }

    /// How many reports were not answered.
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

impl Receiver {
    /// When the next report is due; `None` while the last one is not answered.
    fn due_ms(&self) -> Option<u64> {
        if self.asked.is_some() {
            return None;
        }
        let is_idle = !self.is_over && self.is_complete && self.changed.is_empty();
        let at_ms = if is_idle { self.last_ms + SIGN_OF_LIFE_MS } else { 0 };
        Some(at_ms.max(self.wait_until_ms))
    }

    fn answered(&mut self, answer: Option<PresenceAnswer>, completes: bool, owned: &[RoomUid], now_ms: u64) {
        let wait_ms = match answer {
            Some(PresenceAnswer::Applied | PresenceAnswer::Settling) => {
                self.has_begun = true;
                self.is_complete |= completes;
                let is_settling = answer == Some(PresenceAnswer::Settling);
                if is_settling {
                    self.unsettled.extend(owned.iter().cloned());
                }
                if !self.is_complete || self.unsettled.is_empty() {
                    return;
                }
                self.changed.append(&mut self.unsettled);
                if !is_settling {
                    return;
                }
                SETTLING_MS
            }
            Some(PresenceAnswer::UnknownSeries) => SETTLING_MS,
            Some(PresenceAnswer::Off) => OFF_FOR_MS,
            None => AGAIN_AFTER_MS,
        };
        self.wait_until_ms = now_ms + wait_ms;
        if answer != Some(PresenceAnswer::Settling) {
            self.is_over = true;
            self.changed.clear();
            self.unsettled.clear();
        }
    }
}

#[cfg(test)]
impl Reporter {
    /// How many clients the uids have in rooms here.
    pub(in crate::core) fn clients(&self) -> BTreeMap<RoomUid, usize> {
        let present = self.uids.iter().filter(|(_, local)| local.clients > 0);
        present.map(|(key, local)| (key.clone(), local.clients)).collect()
    }
}
