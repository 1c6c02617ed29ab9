//! The ledger of a run: every message of every client, at both ends.
//!
//! Plain data without sockets; the time is an argument. `clients` enters what was sent and answered, `journal` what the
//! handlers of the application have done, and the rows which processes were harmed. [`Ledger::counts`] is what the
//! table shows, [`Ledger::report`] what is printed about a broken promise.

mod counts;
mod handled;
mod observed;
mod order;
mod recent;
mod record;
mod report;
mod sent;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

pub use counts::{Counts, SaidCounts};
use handled::Handled;
pub use observed::Audience;
use observed::Observer;
pub use record::{Connection, Defect, Event, Kind, Record};
pub use sent::Ending;
use sent::Sent;

/// The books of one run.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<Connection, Sent>,
    /// By client id.
    handled: BTreeMap<u128, Handled>,
    client_ids: BTreeMap<Connection, u128>,
    /// Workers that were killed.
    killed: BTreeSet<u32>,
    /// Workers that are frozen or cut off now.
    cut: BTreeSet<u32>,
    /// Workers that were frozen and go on, with those of their threads that have written a record since.
    awake: BTreeMap<u32, BTreeSet<u32>>,
    /// Gateways that were harmed: since when, and until when if they are back.
    harmed_gateways: BTreeMap<usize, (Duration, Option<Duration>)>,
    /// Connections whose message makes its worker die.
    poisoned: BTreeSet<Connection>,
    confessed: BTreeMap<Defect, u64>,
    observers: Vec<Observer>,
    /// Messages whose handler was told that it does not reach this gateway.
    unreached: BTreeSet<(Ipv4Addr, Connection, u32)>,
    /// Messages whose handler was told that its gateway is gone, or has given the message to another worker.
    fenced: BTreeSet<(Connection, u32)>,
    /// Call links that are cut, or are about to be: of this worker, to this gateway.
    cut_links: BTreeSet<(u32, Ipv4Addr)>,
    /// Messages that were handled by a worker whose call link to this gateway was cut.
    said_on_cut_links: BTreeSet<(Ipv4Addr, Connection, u32)>,
    watch: Option<Watch>,
    /// How many handlers have ended.
    ended: u64,
    /// How many attempts to connect have failed, and the longest that has not.
    refused: u64,
    longest_opening: Duration,
}

/// A gateway that was not harmed yet has read a message, and passed it on, after this time.
const PASSED_ON_AFTER: Duration = Duration::from_millis(500);

/// Waits for the first sign that a fault was noticed.
#[derive(Debug)]
struct Watch {
    since: Duration,
    sign: Sign,
    detected: Option<Duration>,
}

/// What shows that a fault was noticed.
#[derive(Debug)]
enum Sign {
    /// Another worker handles an event of one of these clients, which this worker had.
    Elsewhere { worker: u32, client_ids: BTreeSet<u128> },
    /// A handler runs for the close of one of these clients.
    Close { client_ids: BTreeSet<u128> },
}

impl Ledger {
    // What the clients report.

    /// A client's connection to a gateway could not be opened.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    /// A client's connection to a gateway is open, after `opening`.
    pub fn opened(&mut self, connection: Connection, gateway: usize, opening: Duration, now: Duration) {
        self.longest_opening = self.longest_opening.max(opening);
        self.sent.insert(connection, Sent::to(gateway, now));
    }

    /// A client sends a message now. Numbers count from 1.
    pub fn sent(&mut self, connection: Connection, number: u32, now: Duration) {
        if let Some(sent) = self.sent.get_mut(&connection) {
            sent.send(number, now);
        }
    }

    /// The system did not accept the latest message.
    pub fn not_accepted(&mut self, connection: Connection, number: u32) {
        if let Some(sent) = self.sent.get_mut(&connection) {
            sent.not_accepted(number);
        }
    }

    /// A connection's next message makes its worker die: what comes from then on is not owed.
    pub fn poisoned(&mut self, connection: Connection) {
        self.poisoned.insert(connection);
    }

    /// Returns how the poisoned connections have ended, so far.
    pub fn endings_of_poisoned(&self) -> Vec<Option<Ending>> {
        let ending = |connection| Some(self.sent.get(connection)?.ended?.0);
        self.poisoned.iter().map(ending).collect()
    }

    /// The client has an answer to a message.
    pub fn answered(&mut self, connection: Connection, number: u32, now: Duration) {
        if let Some(sent) = self.sent.get_mut(&connection) {
            sent.answered(number, now);
        }
    }

    /// The client is about to send its close frame.
    pub fn leaves(&mut self, connection: Connection) {
        if let Some(sent) = self.sent.get_mut(&connection) {
            sent.leaves = true;
        }
    }

    /// A connection has ended.
    pub fn ended(&mut self, connection: Connection, ending: Ending, now: Duration) {
        if let Some(sent) = self.sent.get_mut(&connection) {
            sent.end(ending, now);
        }
        if let Some(observer) = self.observers.iter_mut().find(|one| one.connection == connection) {
            // What is sent from now on is said to others.
            let sent_so_far = self.sent.iter().map(|(connection, sent)| (*connection, sent.messages));
            observer.ended = Some(sent_so_far.collect());
        }
    }

    // What the observers report.

    /// A client observes what handlers say, at the gateway with this address. It is one of the connections, and no
    /// other client has sent a message yet.
    pub fn observes(&mut self, observer: Connection, gateway: Ipv4Addr) {
        self.observers.push(Observer::new(observer, gateway));
    }

    /// An observer hears the number of a message, from the message's handler in this worker.
    pub fn heard(&mut self, observer: Connection, worker: u32, connection: Connection, number: u32) {
        if let Some(observer) = self.observers.iter_mut().find(|one| one.connection == observer) {
            observer.hear(worker, connection, number);
        }
    }

    // What the application reports.

    /// Enters a line of the journal.
    pub fn enter(&mut self, record: Record, now: Duration) {
        match record {
            Record::Begin(event) => {
                self.look_for_sign(&event, now);
                let (dead, cut) = (self.killed.contains(&event.worker), self.cut.contains(&event.worker));
                let was_beginning = self.goes_on(&event);
                let handled = self.of(&event);
                if !(was_beginning && !event.redelivered && handled.begin_late(&event, now)) {
                    handled.begin(&event, dead, cut, now);
                }
            }
            Record::End(event) => {
                self.goes_on(&event);
                self.ended += 1;
                self.note_cut_links(&event);
                self.of(&event).end(&event, now);
            }
            Record::Abandoned(event) => {
                self.goes_on(&event);
                self.of(&event).abandon(&event, now);
            }
            Record::Unreached(event, gateway) => {
                self.unreached.extend(event.message().map(|(from, number)| (gateway, from, number)));
            }
            Record::Fenced(event) => self.fenced.extend(event.message()),
            Record::Dies(worker) => self.worker_killed(worker),
            Record::Confessed(defect) => self.confess(defect, 1),
        }
    }

    /// Whether this is the first that a thread writes after its worker was frozen: what it was about to do then.
    fn goes_on(&mut self, event: &Event) -> bool {
        self.awake.get_mut(&event.worker).is_some_and(|threads| threads.insert(event.thread))
    }

    fn of(&mut self, event: &Event) -> &mut Handled {
        let handled = self.handled.entry(event.client_id).or_default();
        if let (None, Some(connection)) = (handled.connection, event.connection) {
            handled.connection = Some(connection);
            self.client_ids.insert(connection, event.client_id);
        }
        handled
    }

    /// Notes what a handler has said on call links that are cut.
    fn note_cut_links(&mut self, event: &Event) {
        let Some((connection, number)) = event.message() else { return };
        let cut = self.cut_links.iter().filter(|(worker, _)| *worker == event.worker);
        self.said_on_cut_links.extend(cut.map(|(_, gateway)| (*gateway, connection, number)));
    }

    fn look_for_sign(&mut self, event: &Event, now: Duration) {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.detected.is_none()) else { return };
        let seen = match &watch.sign {
            Sign::Elsewhere { worker, client_ids } => {
                event.worker != *worker && client_ids.contains(&event.client_id)
            }
            Sign::Close { client_ids } => event.kind == Kind::Close && client_ids.contains(&event.client_id),
        };
        if seen {
            watch.detected = Some(now.saturating_sub(watch.since));
        }
    }

    /// Adds defects that were made on purpose.
    pub fn confess(&mut self, defect: Defect, count: u64) {
        *self.confessed.entry(defect).or_default() += count;
    }

    /// Returns how many defects of this kind were made on purpose.
    pub fn confessed(&self, defect: Defect) -> u64 {
        self.confessed.get(&defect).copied().unwrap_or_default()
    }

    // What the rows do.

    /// A worker is about to be harmed: its clients are watched until another worker has one of them. Returns how many
    /// clients it has.
    pub fn watch_worker(&mut self, worker: u32, now: Duration) -> usize {
        let client_ids: BTreeSet<_> = self
            .handled
            .iter()
            .filter(|(_, handled)| handled.worker == Some(worker) && handled.close.begun() == 0)
            .map(|(id, _)| *id)
            .collect();
        let clients = client_ids.len();
        self.watch = Some(Watch { since: now, sign: Sign::Elsewhere { worker, client_ids }, detected: None });
        clients
    }

    /// A worker is about to be killed: from now on none of its handlers counts as running.
    pub fn worker_killed(&mut self, worker: u32) {
        self.killed.insert(worker);
        self.handled.values_mut().for_each(|handled| handled.worker_killed(worker));
    }

    /// A worker is frozen or cut off: a handler that runs now may overlap with its successor.
    pub fn worker_cut(&mut self, worker: u32) {
        self.cut.insert(worker);
        self.handled.values_mut().for_each(|handled| handled.worker_cut(worker));
    }

    /// A worker that was cut off is reachable again.
    pub fn worker_back(&mut self, worker: u32) {
        self.cut.remove(&worker);
    }

    /// A frozen worker is about to go on. A thread may have been frozen between the decision to run a handler and that
    /// handler's first record.
    pub fn worker_awake(&mut self, worker: u32) {
        self.cut.remove(&worker);
        self.awake.insert(worker, BTreeSet::new());
    }

    /// A worker's call link to the gateway with this address is about to be cut: what its handlers say to the
    /// gateway's clients from now on may end with the link.
    pub fn call_link_cut(&mut self, worker: u32, gateway: Ipv4Addr) {
        self.cut_links.insert((worker, gateway));
    }

    /// All call links are whole again.
    pub fn call_links_whole(&mut self) {
        self.cut_links.clear();
    }

    /// A gateway is about to be harmed: what it had not passed on by the end of its connections is gone with it, and
    /// the closes of its clients are watched. Returns how many clients it has.
    pub fn gateway_harmed(&mut self, gateway: usize, now: Duration) -> usize {
        self.harmed_gateways.insert(gateway, (now, None));
        let stays = |sent: &Sent| sent.ended.is_none() && !sent.leaves;
        let of_gateway = self.sent.iter().filter(|(_, sent)| sent.gateway == gateway && stays(sent));
        let client_ids: BTreeSet<_> =
            of_gateway.filter_map(|(connection, _)| self.client_ids.get(connection).copied()).collect();
        let clients = client_ids.len();
        self.watch = Some(Watch { since: now, sign: Sign::Close { client_ids }, detected: None });
        clients
    }

    /// A gateway that was harmed is whole again: it owes what later connections bring.
    pub fn gateway_back(&mut self, gateway: usize, now: Duration) {
        if let Some((_, until)) = self.harmed_gateways.get_mut(&gateway) {
            *until = Some(now);
        }
    }

    /// Returns how many handlers have ended.
    pub fn handled(&self) -> u64 {
        self.ended
    }

    /// Whether another worker, or a close, has shown that the fault was noticed.
    pub fn is_detected(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.detected.is_some())
    }

    /// Whether all messages that are owed are handled, and all closes, and no handler runs.
    pub fn is_settled(&self) -> bool {
        !self.handled.values().any(Handled::is_open) && self.counts(Duration::ZERO).is_complete()
    }

    /// Whether a connection's gateway was harmed while the connection was open.
    fn was_harmed(&self, sent: &Sent) -> bool {
        self.harmed_gateways.get(&sent.gateway).is_some_and(|(since, until)| {
            sent.ended.is_none_or(|(_, at)| at >= *since) && until.is_none_or(|until| sent.opened <= until)
        })
    }

    /// How many of a connection's messages have to be handled: all, unless its gateway was harmed, it was not admitted
    /// or a message was poison. Then those before the last that was, and what a gateway had time to pass on.
    fn owed(&self, connection: Connection, sent: &Sent) -> u32 {
        let is_poisoned = self.poisoned.contains(&connection);
        if !is_poisoned && !self.was_harmed(sent) && !sent.was_not_admitted() {
            return sent.messages;
        }
        let handled = self.client_ids.get(&connection).and_then(|id| self.handled.get(id));
        let last = handled.map_or(0, |handled| if is_poisoned { handled.last() } else { handled.highest() });
        let harmed = self.harmed_gateways.get(&sent.gateway).filter(|_| !is_poisoned);
        let passed_on =
            harmed.map_or(0, |(since, _)| sent.last_before(since.saturating_sub(PASSED_ON_AFTER)));
        last.max(passed_on).min(sent.messages)
    }
}
