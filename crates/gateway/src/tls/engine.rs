//! rustls, between ciphertext and plaintext in buffers.
//!
//! Its unbuffered interface: it is lent the bytes that have come and keeps none, so
//! that a client that is silent holds the state of its keys and no buffer at all.
//! What is read and written, and when, is not known here.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// What a record takes beside its plaintext: header, nonce, tag and content type.
const OVERHEAD: usize = 64;

/// The server's side of one TLS connection.
pub(super) struct Engine {
    connection: UnbufferedServerConnection,
    /// Ciphertext that is to be written, in order.
    pub(super) outgoing: Vec<u8>,
    /// The peer has said that it will say no more.
    pub(super) ended: bool,
    /// Nothing can be heard or said any more.
    failed: bool,
}

/// What to say to the peer once everything that has come is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say<'a> {
    Nothing,
    /// Plaintext.
    This(&'a [u8]),
    /// That nothing will follow: `close_notify`.
    Goodbye,
}

impl Engine {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Ok(Self { connection, outgoing: Vec::new(), ended: false, failed: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Deals with `incoming`, which begins with what was not taken of it the last time,
    /// hands plaintext to `hear`, and says `say`. Returns how many bytes were taken.
    ///
    /// # Errors
    /// When the peer breaks the protocol, or nothing can be said to it any more. What it
    /// is to be told of that is among `outgoing`.
    pub(super) fn process(
        &mut self,
        incoming: &mut [u8],
        hear: impl FnMut(&[u8]),
        say: Say<'_>,
    ) -> io::Result<usize> {
        if self.failed {
            return Err(ErrorKind::NotConnected.into());
        }
        let taken = self.try_process(incoming, hear, say);
        // Where the error left it, rustls must not be lent other bytes.
        self.failed = taken.is_err();
        taken
    }

    fn try_process(
        &mut self,
        incoming: &mut [u8],
        mut hear: impl FnMut(&[u8]),
        mut say: Say<'_>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[taken..]);
            let is_done = match state {
                Err(error) => {
                    self.take_alert(&mut incoming[taken + discard..]);
                    return Err(invalid(error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        hear(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, 0, |room| data.encode(room))?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    false
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let out = &mut self.outgoing;
                    match std::mem::replace(&mut say, Say::Nothing) {
                        Say::Nothing => {}
                        Say::This(text) => {
                            append(out, text.len() + OVERHEAD, |room| traffic.encrypt(text, room))?;
                        }
                        Say::Goodbye => append(out, OVERHEAD, |room| traffic.queue_close_notify(room))?,
                    }
                    true
                }
                Ok(_) => true,
            };
            taken += discard;
            if is_done {
                return if say == Say::Nothing { Ok(taken) } else { Err(ErrorKind::NotConnected.into()) };
            }
        }
    }

    /// After an error: what the peer is told of it, if anything, comes next. Nothing else is
    /// to be asked of rustls, which may have lost its place.
    fn take_alert(&mut self, incoming: &mut [u8]) {
        if !self.connection.wants_write() {
            return;
        }
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.connection.process_tls_records(incoming).state
        {
            let _ = append(&mut self.outgoing, 0, |room| data.encode(room));
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Why rustls did not write.
trait Unwritten: Into<Box<dyn std::error::Error + Send + Sync>> {
    /// The room it wants, if that was all.
    fn wanted(&self) -> Option<usize>;
}

impl Unwritten for EncodeError {
    fn wanted(&self) -> Option<usize> {
        if let Self::InsufficientSize(error) = self { Some(error.required_size) } else { None }
    }
}

impl Unwritten for EncryptError {
    fn wanted(&self) -> Option<usize> {
        if let Self::InsufficientSize(error) = self { Some(error.required_size) } else { None }
    }
}

/// Lets `write` write into `room` bytes behind `out`, or into as many as it then asks for.
fn append<E: Unwritten>(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        let written = write(&mut out[start..]);
        out.truncate(start + *written.as_ref().unwrap_or(&0));
        let Err(error) = written else { return Ok(()) };
        match error.wanted() {
            Some(wanted) if wanted > room => room = wanted,
            _ => return Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::tls::testing;

    proptest! {
        /// Of what comes before there are keys anything may be wrong.
        #[test]
        fn whatever_a_client_begins_with_and_however_it_is_cut_is_survived(
            wrong in vec((any::<Index>(), any::<u8>()), 0..4),
            record in 1..600_usize,
            cut in 1..600_usize,
        ) {
            static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| testing::both().0.current());
            let mut bytes = testing::hello_in_pieces(&mut testing::both().1, record).concat();
            for (place, byte) in wrong {
                *place.get_mut(&mut bytes) = byte;
            }
            let mut engine = Engine::new(CONFIG.clone()).unwrap();
            let mut partial = Vec::new();
            for piece in bytes.chunks(cut) {
                partial.extend_from_slice(piece);
                match engine.process(&mut partial, |_| (), Say::Nothing) {
                    Ok(taken) => drop(partial.drain(..taken)),
                    Err(_) => break,
                }
            }
            let _ = engine.process(&mut partial, |_| (), Say::Goodbye);
            prop_assert!(engine.process(&mut partial, |_| (), Say::This(b"x")).is_err());
        }
    }
}
