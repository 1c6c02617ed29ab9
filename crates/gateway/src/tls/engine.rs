//! rustls, between ciphertext and plaintext in buffers.
//!
//! It uses the unbuffered interface: rustls borrows the received bytes and keeps none, so that an
//! idle client holds its keys and no buffer. It does no IO; `socket` reads and writes.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The bytes of a record beside its plaintext: header, nonce, tag and content type.
const OVERHEAD: usize = 64;

/// The server's side of one TLS connection.
pub(super) struct Engine {
    connection: UnbufferedServerConnection,
    /// Ciphertext to be written, in order.
    pub(super) outgoing: Vec<u8>,
    /// The peer has sent its close_notify.
    pub(super) ended: bool,
    /// An error has ended the connection.
    failed: bool,
}

/// What to seal once all received bytes are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToSeal<'a> {
    Nothing,
    /// A record with this plaintext.
    Plaintext(&'a [u8]),
    /// A close_notify, which ends the connection's side.
    CloseNotify,
}

impl Engine {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Ok(Self { connection, outgoing: Vec::new(), ended: false, failed: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Processes `incoming`, which has to begin with the bytes that the last call did not consume.
    /// Gives plaintext to `receive`, and seals `to_seal`. Returns how many bytes were consumed.
    ///
    /// # Errors
    /// When the peer breaks the protocol, whose alert is then in `outgoing`, or when the connection
    /// has ended.
    pub(super) fn process(
        &mut self,
        incoming: &mut [u8],
        receive: impl FnMut(&[u8]),
        to_seal: ToSeal<'_>,
    ) -> io::Result<usize> {
        if self.failed {
            return Err(ErrorKind::NotConnected.into());
        }
        let consumed = self.try_process(incoming, receive, to_seal);
        // rustls may remember a position in these bytes, and must not be given others.
        self.failed = consumed.is_err();
        consumed
    }

    fn try_process(
        &mut self,
        incoming: &mut [u8],
        mut receive: impl FnMut(&[u8]),
        mut to_seal: ToSeal<'_>,
    ) -> io::Result<usize> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[consumed..]);
            let is_done = match state {
                Err(error) => {
                    self.take_alert(&mut incoming[consumed + discard..]);
                    return Err(invalid(error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        receive(record.payload);
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
                    match std::mem::replace(&mut to_seal, ToSeal::Nothing) {
                        ToSeal::Nothing => {}
                        ToSeal::Plaintext(text) => {
                            append(out, text.len() + OVERHEAD, |room| traffic.encrypt(text, room))?;
                        }
                        ToSeal::CloseNotify => {
                            append(out, OVERHEAD, |room| traffic.queue_close_notify(room))?
                        }
                    }
                    true
                }
                Ok(_) => true,
            };
            consumed += discard;
            if is_done {
                return if to_seal == ToSeal::Nothing {
                    Ok(consumed)
                } else {
                    Err(ErrorKind::NotConnected.into())
                };
            }
        }
    }

    /// Appends the alert of an error, if there is one, to `outgoing`. rustls must not be asked for
    /// anything else after an error.
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

/// An error of rustls that wrote nothing.
trait WriteError: Into<Box<dyn std::error::Error + Send + Sync>> {
    /// Returns the number of bytes it needs, if the buffer was too short.
    fn required_size(&self) -> Option<usize>;
}

impl WriteError for EncodeError {
    fn required_size(&self) -> Option<usize> {
        if let Self::InsufficientSize(error) = self { Some(error.required_size) } else { None }
    }
}

impl WriteError for EncryptError {
    fn required_size(&self) -> Option<usize> {
        if let Self::InsufficientSize(error) = self { Some(error.required_size) } else { None }
    }
}

/// Appends what `write` writes to `out`. Gives it `room` bytes first, and as many as it needs where
/// that was too short.
fn append<E: WriteError>(
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
        match error.required_size() {
            Some(required) if required > room => room = required,
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
        /// Before there are keys, any byte may be wrong.
        #[test]
        fn survives_any_first_bytes_of_a_client_however_they_are_cut(
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
                match engine.process(&mut partial, |_| (), ToSeal::Nothing) {
                    Ok(consumed) => drop(partial.drain(..consumed)),
                    Err(_) => break,
                }
            }
            let _ = engine.process(&mut partial, |_| (), ToSeal::CloseNotify);
            prop_assert!(engine.process(&mut partial, |_| (), ToSeal::Plaintext(b"x")).is_err());
        }
    }
}
