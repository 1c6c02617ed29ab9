//! What simulated clients do: connect, be admitted or refused, speak, join, bind, leave, reset.
//!
//! The list is drawn before the run. Whether a step makes sense when its time comes (a client that was refused
//! cannot speak) the client decides; one that makes none is passed over.

use std::ops::RangeInclusive;

use crate::rng::Rng;

/// What a worker says to a client's handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may come in.
    Admit,
    /// It may not.
    Refuse,
    /// Nothing, so that the gateway's timeout ends the wait.
    Silent,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAction {
    /// Connects, if it is not connected; the handshake says what the worker shall answer.
    Connect(Admission),
    /// Sends its next message, with so many bytes of filling.
    Speak(u16),
    /// Asks the application to let it join a group.
    Join(u8),
    /// Asks to leave it.
    LeaveGroup(u8),
    /// Asks to be bound to a uid.
    Bind(u8),
    /// Asks for a message to a group, with so many bytes of filling.
    Broadcast(u8, u16),
    /// Asks the application a question about a group.
    Ask(u8),
    /// Sends a message that ends the process of the worker that handles it, so many times.
    Abort(u8),
    /// Stops reading, so that what it is sent piles up.
    StopReading,
    /// Reads again.
    ReadAgain,
    /// Ends the connection in the protocol's way.
    Leave,
    /// Resets the connection.
    Reset,
}

/// A client's message: what it asks the application for, and its number in this connection, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How many messages the client has sent before on this connection.
    pub number: u64,
    /// What is to be done: `Speak`, `Join`, `LeaveGroup`, `Bind`, `Broadcast`, `Ask` or `Abort`.
    pub action: ClientAction,
}

impl Request {
    /// Returns the message as text, with its filling; `None` if a client does this without a message.
    pub fn encode(self) -> Option<String> {
        let (word, name, filling) = match self.action {
            ClientAction::Speak(filling) => ("speak", 0, filling),
            ClientAction::Join(group) => ("join", group, 0),
            ClientAction::LeaveGroup(group) => ("leave", group, 0),
            ClientAction::Bind(uid) => ("bind", uid, 0),
            ClientAction::Broadcast(group, filling) => ("broadcast", group, filling),
            ClientAction::Ask(group) => ("ask", group, 0),
            ClientAction::Abort(times) => ("abort", times, 0),
            _ => return None,
        };
        Some(format!("{} {word} {name} {}", self.number, ".".repeat(filling.into())))
    }

    /// Reads a message; `None` if it is none, or not whole.
    pub fn decode(message: &str) -> Option<Self> {
        let mut words = message.splitn(4, ' ');
        let number = words.next()?.parse().ok()?;
        let (word, name) = (words.next()?, words.next()?.parse().ok()?);
        let filling = words.next()?.len() as u16;
        let action = match word {
            "speak" => ClientAction::Speak(filling),
            "join" => ClientAction::Join(name),
            "leave" => ClientAction::LeaveGroup(name),
            "bind" => ClientAction::Bind(name),
            "broadcast" => ClientAction::Broadcast(name, filling),
            "ask" => ClientAction::Ask(name),
            "abort" => ClientAction::Abort(name),
            _ => return None,
        };
        Some(Self { number, action })
    }
}

/// How busy a client is.
#[derive(Debug, Clone)]
pub struct ClientScriptOptions {
    /// How many steps it has.
    pub steps: RangeInclusive<u64>,
    /// The time between two, in ms.
    pub pause_ms: RangeInclusive<u64>,
    /// Groups and uids are numbers below this.
    pub names: u8,
}

/// Draws the steps of one client, with their times in ms. The first is to connect.
pub fn client_script(rng: &mut Rng, options: &ClientScriptOptions) -> Vec<(u64, ClientAction)> {
    let mut at_ms = 0;
    let connect = |rng: &mut Rng| {
        ClientAction::Connect(match rng.below(10) {
            0 => Admission::Refuse,
            1 => Admission::Silent,
            _ => Admission::Admit,
        })
    };
    let mut is_in = false;
    let steps = rng.within(&options.steps);
    let mut script = Vec::new();
    for _ in 0..steps {
        at_ms += rng.within(&options.pause_ms);
        let action = if is_in { random_action(rng, options.names) } else { connect(rng) };
        // It may have been refused or closed: now and then it tries again.
        is_in = !matches!(action, ClientAction::Leave | ClientAction::Reset) && !rng.chance(5);
        script.push((at_ms, action));
    }
    script
}

fn random_action(rng: &mut Rng, names: u8) -> ClientAction {
    let name = rng.below(names.into()) as u8;
    // Mostly short, now and then longer than the buffers of a connection.
    let filling = if rng.chance(8) { rng.below(20_000) } else { rng.below(64) } as u16;
    match rng.below(100) {
        0..50 => ClientAction::Speak(filling),
        50..60 => ClientAction::Join(name),
        60..65 => ClientAction::LeaveGroup(name),
        65..72 => ClientAction::Bind(name),
        72..80 => ClientAction::Broadcast(name, filling),
        80..85 => ClientAction::Ask(name),
        85..88 => ClientAction::StopReading,
        88..92 => ClientAction::ReadAgain,
        92..97 => ClientAction::Leave,
        _ => ClientAction::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let mut rng = Rng::new(9);
        let mut requests = 0;
        for number in 0..500 {
            let request = Request { number, action: random_action(&mut rng, 5) };
            if let Some(message) = request.encode() {
                assert_eq!(Request::decode(&message), Some(request));
                requests += 1;
            }
        }
        assert!(requests > 300);
        assert_eq!(Request::decode("1 speak"), None);
    }

    #[test]
    fn a_client_connects_first_and_after_it_has_left() {
        let options = ClientScriptOptions { steps: 300..=300, pause_ms: 0..=5, names: 3 };
        let script = client_script(&mut Rng::new(1), &options);
        assert_eq!(script.len(), 300);
        assert!(matches!(script[0].1, ClientAction::Connect(_)));
        for pair in script.windows(2) {
            assert!(pair[0].0 <= pair[1].0);
            if matches!(pair[0].1, ClientAction::Leave | ClientAction::Reset) {
                assert!(matches!(pair[1].1, ClientAction::Connect(_)));
            }
        }
    }
}
