//! A client's message as text: which connection has sent it, its number, and what the handler is to do.
//!
//! `clients` formats it, the application parses it.

use std::fmt;

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
        let action = match (words.next()?, words.next()) {
            ("answer", None) => Action::Answer,
            ("abort", None) => Action::Abort,
            ("block", Some(ms)) => Action::Block(ms.parse().ok()?),
            _ => return None,
        };
        Some(Self { connection, number, action })
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connection { client, number } = self.connection;
        write!(f, "{client} {number} {} ", self.number)?;
        match self.action {
            Action::Answer => f.write_str("answer"),
            Action::Block(ms) => write!(f, "block {ms}"),
            Action::Abort => f.write_str("abort"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_put_into_it() {
        let connection = Connection { client: 7, number: 2 };
        for action in [Action::Answer, Action::Block(60_000), Action::Abort] {
            let message = Numbered { connection, number: 9, action };
            assert_eq!(Numbered::parse(&message.to_string()), Some(message));
        }
        assert_eq!(Numbered::parse(r#"{"type":"ping"}"#), None);
    }
}
