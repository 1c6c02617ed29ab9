//! A socket that lines come from and go to, as registers and daemons speak.

use crate::network::{ReadOutcome, Socket, Written};

/// A socket with what has arrived and what is still to be written.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) socket: Socket,
    arrived: Vec<u8>,
    waiting: Vec<u8>,
}

impl Lines {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, arrived: Vec::new(), waiting: Vec::new() }
    }

    /// Reads all that has arrived, and returns how the reading ended.
    pub(super) fn read(&mut self) -> ReadOutcome {
        let mut scratch = [0; 256];
        loop {
            match self.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => self.arrived.extend_from_slice(&scratch[..n]),
                outcome => return outcome,
            }
        }
    }

    /// Takes the next line, without its end.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.arrived.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.arrived.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    /// Appends a line, with its end.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.waiting.extend_from_slice(line);
    }

    /// Writes what the socket takes; false if something is left.
    pub(super) fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.socket.try_write(&self.waiting) {
                Written::Bytes(n) => drop(self.waiting.drain(..n)),
                // A broken connection is found by reading.
                Written::Blocked | Written::Broken => return false,
            }
        }
        true
    }
}
