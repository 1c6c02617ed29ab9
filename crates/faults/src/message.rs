//! Messages as text: a client's, with its number and what the handler is to do, and what the handler says to observers.
//!
//! `clients` formats the one, and the application parses it; the application formats the other for `observers`.

use std::fmt;

use gatewayworker_businessworker::ClientId;

use crate::ledger::Connection;

/// A numbered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The connection that has sent it.
    pub connection: Connection,
    /// Its number on that connection, from 1.
    pub number: u32,
    /// What the handler does.
    pub action: Action,
    /// Which observers the handler says the number to.
    pub say_to: Option<SayTo>,
}

/// The observers that a handler speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SayTo {
    /// Their group.
    Group,
    /// One of them.
    Client(ClientId),
}

/// What a handler says to observers: which message it handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The process id of the worker.
    pub worker: u32,
    /// The connection that has sent the message.
    pub connection: Connection,
    /// The message's number.
    pub number: u32,
}

/// The message with which an observer asks for its client id, and to be told what handlers say.
pub const OBSERVE: &str = "observe";

/// What joiners say, and what they are answered. The word is the name of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    /// Join this group.
    Join(String),
    /// It is joined, and the join took so many ms to take effect.
    Joined(String, u64),
    /// Say something to this group.
    Say(String),
    /// Something was said to this group.
    Said(String),
}

impl Joining {
    /// Parses a message; `None` for one of another kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (what, group) = (words.next()?, words.next()?.to_owned());
        match what {
            "join" => Some(Self::Join(group)),
            "joined" => Some(Self::Joined(group, words.next()?.parse().ok()?)),
            "say" => Some(Self::Say(group)),
            "said" => Some(Self::Said(group)),
            _ => None,
        }
    }
}

impl fmt::Display for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(group) => write!(f, "join {group}"),
            Self::Joined(group, took_ms) => write!(f, "joined {group} {took_ms}"),
            Self::Say(group) => write!(f, "say {group}"),
            Self::Said(group) => write!(f, "said {group}"),
        }
    }
}

/// What the handler of a message does before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It waits a few milliseconds.
    Answer,
    /// It blocks its thread for so many milliseconds.
    Block(u32),
    /// It aborts the process.
    Abort,
}

impl Numbered {
    /// Parses a message; `None` for one of another kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let connection = Connection { client: number()?, number: number()? };
        let number = number()?;
        let action = match words.next()? {
            "answer" => Action::Answer,
            "abort" => Action::Abort,
            "block" => Action::Block(words.next()?.parse().ok()?),
            _ => return None,
        };
        let say_to = match words.next() {
            None => None,
            Some("group") => Some(SayTo::Group),
            Some(client_id) => Some(SayTo::Client(client_id.parse().ok()?)),
        };
        Some(Self { connection, number, action, say_to })
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connection { client, number } = self.connection;
        write!(f, "{client} {number} {} ", self.number)?;
        match self.action {
            Action::Answer => f.write_str("answer")?,
            Action::Block(ms) => write!(f, "block {ms}")?,
            Action::Abort => f.write_str("abort")?,
        }
        match self.say_to {
            None => Ok(()),
            Some(SayTo::Group) => f.write_str(" group"),
            Some(SayTo::Client(id)) => write!(f, " {id}"),
        }
    }
}

impl Said {
    /// Parses what an observer hears; `None` for something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("said ")?.split(' ').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let (worker, client, connection) = (number()?, number()?, number()?);
        Some(Self { worker, connection: Connection { client, number: connection }, number: number()? })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, connection: Connection { client, number }, .. } = self;
        write!(f, "said {worker} {client} {number} {}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_put_into_it() {
        let connection = Connection { client: 7, number: 2 };
        let id = "7f0000010901000000ff".parse().unwrap();
        for action in [Action::Answer, Action::Block(60_000), Action::Abort] {
            for say_to in [None, Some(SayTo::Group), Some(SayTo::Client(id))] {
                let message = Numbered { connection, number: 9, action, say_to };
                assert_eq!(Numbered::parse(&message.to_string()), Some(message));
            }
        }
        let said = Said { worker: 77, connection, number: 9 };
        assert_eq!(Said::parse(&said.to_string()), Some(said));
        assert_eq!(Numbered::parse(r#"{"type":"ping"}"#), None);
    }
}
