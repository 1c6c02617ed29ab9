//! One line of the journal that the application under test writes: a handler has begun or ended, or the application
//! has done something wrong on purpose.
//!
//! `application` formats them, `journal` parses them and gives them to the [`Ledger`](super::Ledger).

use std::fmt;
use std::net::Ipv4Addr;

/// A handler of one client's event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The process id of the worker.
    pub worker: u32,
    /// Which of the worker's threads writes this.
    pub thread: u32,
    /// The client id, as the number that its 20 hexadecimal digits are.
    pub client_id: u128,
    /// Which handler.
    pub kind: Kind,
    /// The client's own number and the number of its connection, where the event says them: in the handshake's query
    /// and in each message.
    pub connection: Option<Connection>,
    /// Whether the worker has marked the event as given out before.
    pub redelivered: bool,
    /// The number that the client's session has: each message's handler puts its own there. 0 for none.
    pub session: u32,
}

impl Event {
    /// Returns which message it is: the connection that has sent it, and its number.
    pub fn message(&self) -> Option<(Connection, u32)> {
        let Kind::Message(number) = self.kind else { return None };
        self.connection.map(|connection| (connection, number))
    }
}

/// One connection of one client, as the client counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The client's number.
    pub client: u32,
    /// Counts the client's connections from 1.
    pub number: u32,
}

/// Which handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `on_connect`.
    Connect,
    /// `on_websocket_connect`.
    Handshake,
    /// `on_message`, with the message's number. A connection's messages count from 1.
    Message(u32),
    /// `on_close`.
    Close,
}

/// A deliberate defect of the application, or of a relay, that the ledger has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// A message that no handler runs for.
    Lost,
    /// A message whose handler runs twice.
    Doubled,
    /// A message that is handled behind its successor.
    Swapped,
    /// A message that is handled for the first time behind its client's close, with the message before it once more.
    BehindClose,
    /// A handler that begins while another of the same client runs.
    Overlapped,
    /// A message whose handler does not change the session.
    Stale,
    /// A close that no handler runs for.
    CloseLost,
    /// A close whose handler runs twice.
    CloseDoubled,
    /// A message whose handler says nothing to the observers.
    SaidLost,
    /// A message whose handler says its number to the observers twice.
    SaidDoubled,
    /// A message whose number is said behind that of its successor.
    SaidSwapped,
}

/// What one line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The handler begins.
    Begin(Event),
    /// The handler has returned, and what it said is written.
    End(Event),
    /// The handler was cancelled, or has panicked.
    Abandoned(Event),
    /// The handler was told that what it says does not reach the clients of the gateway with this address.
    Unreached(Event, Ipv4Addr),
    /// The handler was told that nothing it says is sent any more: the gateway of its event is gone, or has given the
    /// event to another worker.
    Fenced(Event),
    /// The worker is about to abort: none of its handlers runs any more.
    Dies(u32),
    /// The application confesses a defect.
    Confessed(Defect),
}

impl Defect {
    /// All defects, with the letters that stand for them in the journal.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Lost, "lost"),
        (Self::Doubled, "doubled"),
        (Self::Swapped, "swapped"),
        (Self::BehindClose, "behind-close"),
        (Self::Overlapped, "overlapped"),
        (Self::Stale, "stale"),
        (Self::CloseLost, "close-lost"),
        (Self::CloseDoubled, "close-doubled"),
        (Self::SaidLost, "said-lost"),
        (Self::SaidDoubled, "said-doubled"),
        (Self::SaidSwapped, "said-swapped"),
    ];

    /// Whether it is about what handlers say to observers.
    pub fn is_said(self) -> bool {
        matches!(self, Self::SaidLost | Self::SaidDoubled | Self::SaidSwapped)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(defect, _)| *defect == self).map_or("", |(_, name)| name)
    }
}

impl Record {
    /// Parses a line without its end; `None` for a line that no application of ours writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let what = words.next()?;
        if what == "!" {
            let name = words.next()?;
            return Defect::ALL
                .iter()
                .find(|(_, known)| *known == name)
                .map(|(one, _)| Self::Confessed(*one));
        }
        let worker = words.next()?.parse().ok()?;
        if what == "dies" {
            return Some(Self::Dies(worker));
        }
        let thread = words.next()?.parse().ok()?;
        let client_id = u128::from_str_radix(words.next()?, 16).ok()?;
        let redelivered = words.next()? == "r";
        let kind = words.next()?;
        let mut number = || words.next()?.parse().ok();
        let (client, connection, message): (u32, u32, u32) = (number()?, number()?, number()?);
        let session = number()?;
        let kind = match kind {
            "connect" => Kind::Connect,
            "handshake" => Kind::Handshake,
            "message" => Kind::Message(message),
            "close" => Kind::Close,
            _ => return None,
        };
        let connection = (connection > 0).then_some(Connection { client, number: connection });
        let event = Event { worker, thread, client_id, kind, connection, redelivered, session };
        match what {
            "begin" => Some(Self::Begin(event)),
            "end" => Some(Self::End(event)),
            "abandoned" => Some(Self::Abandoned(event)),
            "fenced" => Some(Self::Fenced(event)),
            "unreached" => Some(Self::Unreached(event, words.next()?.parse().ok()?)),
            _ => None,
        }
    }
}

/// The line, without its end.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, event) = match self {
            Self::Begin(event) => ("begin", event),
            Self::End(event) => ("end", event),
            Self::Abandoned(event) => ("abandoned", event),
            Self::Unreached(event, _) => ("unreached", event),
            Self::Fenced(event) => ("fenced", event),
            Self::Dies(worker) => return write!(f, "dies {worker}"),
            Self::Confessed(defect) => return write!(f, "! {}", defect.name()),
        };
        let Event { worker, thread, client_id, kind, connection, redelivered, session } = event;
        let mark = if *redelivered { "r" } else { "-" };
        let (kind, message) = match kind {
            Kind::Connect => ("connect", 0),
            Kind::Handshake => ("handshake", 0),
            Kind::Message(number) => ("message", *number),
            Kind::Close => ("close", 0),
        };
        let (client, number) = connection.map_or((0, 0), |one| (one.client, one.number));
        write!(
            f,
            "{what} {worker} {thread} {client_id:020x} {mark} {kind} {client} {number} {message} {session}"
        )?;
        match self {
            Self::Unreached(_, gateway) => write!(f, " {gateway}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_its_record_says() {
        let event = |kind, connection| Event {
            worker: 77,
            thread: 2,
            client_id: 0x7f00_0001_08fc_0000_00ff,
            kind,
            connection,
            redelivered: kind == Kind::Close,
            session: 8,
        };
        let known = Some(Connection { client: 0, number: 3 });
        let events = [(Kind::Connect, None), (Kind::Handshake, known), (Kind::Message(9), known)];
        for (kind, connection) in events.into_iter().chain([(Kind::Close, None)]) {
            let event = event(kind, connection);
            let unreached = Record::Unreached(event, Ipv4Addr::new(127, 0, 0, 10));
            let others = [Record::Abandoned(event), Record::Fenced(event), unreached];
            for record in [Record::Begin(event), Record::End(event)].into_iter().chain(others) {
                assert_eq!(Record::parse(&record.to_string()), Some(record));
            }
        }
        for (defect, _) in Defect::ALL {
            let record = Record::Confessed(defect);
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
        assert_eq!(Record::parse(&Record::Dies(77).to_string()), Some(Record::Dies(77)));
        assert_eq!(Record::parse("begin 1 zz"), None);
        assert_eq!(Record::parse(""), None);
    }
}
