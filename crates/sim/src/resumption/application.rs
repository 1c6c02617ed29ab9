//! The application of this scenario: what its handlers check and say, and what it says by itself.

use gatewayworker_protocol::{Audience, Body, Command};

use super::ledger::{Ledger, group_name, uid_name};
use super::message::{Message, Name};
use super::plan::{GROUPS, ToWhom};
use super::workers::Said;
use crate::rng::Rng;
use crate::violation::Violation;

/// The code with which a client is refused.
const REFUSED: u16 = 4403;

/// The code with which the application closes a client later.
const CLOSED: u16 = 4007;

/// Handles an event. Returns whose it is and what the handler says; `None` where the event is not to be acknowledged.
pub(super) fn handle(
    event: Command,
    ledger: &mut Ledger,
    rng: &mut Rng,
) -> Result<Option<(u32, Vec<Said>)>, Violation> {
    Ok(match event {
        Command::OnConnect { origin, .. } => {
            ledger.connects(origin.connection_id)?;
            Some((origin.connection_id, Vec::new()))
        }
        Command::OnWebSocketConnect { origin, .. } => {
            Some((origin.connection_id, admit(origin.connection_id, ledger, rng)))
        }
        Command::OnMessage { origin, message, .. } => {
            let Body::Plain(body) = &message.body else {
                return Err(Violation::new("frames-are-whole", format!("{message:?}")));
            };
            ledger.handles(origin.connection_id, &Message::told(message.binary, body))?;
            Some((origin.connection_id, answer(origin.connection_id, ledger, rng)))
        }
        Command::OnDetached { origin, .. } => {
            ledger.is_away(origin.connection_id)?;
            Some((origin.connection_id, Vec::new()))
        }
        Command::OnResumed { origin, handshake, .. } => {
            ledger.is_back(origin.connection_id, read_handshake(&handshake))?;
            Some((origin.connection_id, Vec::new()))
        }
        Command::OnClose { origin, .. } => {
            ledger.closes(origin.connection_id)?;
            Some((origin.connection_id, Vec::new()))
        }
        Command::Adopt { origin, .. } => Some((origin.connection_id, Vec::new())),
        Command::Forget(_) | Command::Ping(_) => None,
        other => return Err(Violation::new("frames-are-whole", format!("a worker is told {other:?}"))),
    })
}

fn admit(id: u32, ledger: &mut Ledger, rng: &mut Rng) -> Vec<Said> {
    if rng.chance(3) {
        return vec![Command::Refuse { connection_id: id, message: None, code: REFUSED }.into()];
    }
    let mut said = Vec::new();
    if rng.chance(30) {
        said.push(to_one(id, ledger));
    }
    said.push(bind(id, rng.below(GROUPS.into()) as u8));
    said.push(join(id, rng.below(GROUPS.into()) as u8));
    said.push(Command::Admit(id).into());
    said
}

/// What a handler of a message says: mostly nothing.
fn answer(id: u32, ledger: &mut Ledger, rng: &mut Rng) -> Vec<Said> {
    let place = rng.below(GROUPS.into()) as u8;
    match rng.below(20) {
        0..=5 => vec![to_one(id, ledger)],
        6..=7 => vec![say(ToWhom::Group(place), ledger)],
        8 => vec![bind(id, place)],
        9..=10 => vec![join(id, place)],
        11 => {
            let group = group_name(place).into();
            let command = Command::LeaveGroup { connection_id: id, group };
            vec![Said { command, message: None, place: Some(place) }]
        }
        _ => Vec::new(),
    }
}

fn bind(id: u32, uid: u8) -> Said {
    let command = Command::BindUid { connection_id: id, uid: uid_name(uid).into() };
    Said { command, message: None, place: Some(uid) }
}

fn join(id: u32, group: u8) -> Said {
    let command = Command::JoinGroup { connection_id: id, group: group_name(group).into() };
    Said { command, message: None, place: Some(group) }
}

fn to_one(id: u32, ledger: &mut Ledger) -> Said {
    let number = ledger.number_message();
    let message = Message::to_clients(number).payload();
    Said { command: Command::SendToOne { to: id, message }, message: Some(number), place: None }
}

/// Says something to one client, as many as there are, or nobody.
pub(super) fn say(to: ToWhom, ledger: &mut Ledger) -> Said {
    if let ToWhom::One(nth) = to
        && let Some(id) = nth_client(nth, ledger)
    {
        return to_one(id, ledger);
    }
    let number = ledger.number_message();
    let message = Message::to_clients(number).payload();
    let command = match to {
        ToWhom::Uid(uid) => Command::SendToUid { uids: vec![uid_name(uid).into()], message },
        ToWhom::Group(group) => {
            Command::SendToGroup { groups: vec![group_name(group).into()], except: Vec::new(), message }
        }
        ToWhom::One(_) | ToWhom::All => Command::SendToAll { to: Audience::Everyone, message },
    };
    Said { command, message: Some(number), place: None }
}

/// Closes a client: with a last message, with a code, or at once.
pub(super) fn close(nth: usize, how: u8, ledger: &mut Ledger) -> Option<Said> {
    let id = nth_client(nth, ledger)?;
    Some(match how % 4 {
        0 => {
            let number = ledger.number_message();
            let message = Some(Message::to_clients(number).payload());
            let command = Command::Kick { connection_id: id, message };
            Said { command, message: Some(number), place: None }
        }
        1 => Command::Kick { connection_id: id, message: None }.into(),
        2 => Command::Refuse { connection_id: id, message: None, code: CLOSED }.into(),
        _ => Command::Destroy(id).into(),
    })
}

fn nth_client(nth: usize, ledger: &Ledger) -> Option<u32> {
    let clients: Vec<u32> = ledger.connected().collect();
    clients.get(nth.checked_rem(clients.len())?).copied()
}

/// The handshake of a client, a line, which stands for a request.
pub(super) fn handshake((process, connection): Name) -> Vec<u8> {
    format!("{process} {connection}\n").into_bytes()
}

/// Reads a handshake, with or without the end of the line.
pub(super) fn read_handshake(line: &[u8]) -> Option<Name> {
    let (process, connection) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    Some((process.parse().ok()?, connection.parse().ok()?))
}
