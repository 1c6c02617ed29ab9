//! One open WebSocket, driven by polling: it writes the queued frames and cuts the received bytes into messages.
//!
//! `open` makes a client, each case polls it. It owns no read buffer: all clients of a thread read into one
//! [`ReadBuffer`], and a client keeps only the beginning of a frame that a read has cut. It has no task and no timer
//! of its own either. So a thread can drive thousands of them. The calls in `ask` wait, and are for the time outside of
//! a measurement.

mod ask;
mod error;
pub(crate) mod receipts;

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use error::ClientError;

use receipts::Receipts;

use crate::segments;
use crate::stream::Stream;
use crate::wire::{self, opcode};

/// The most bytes of one read.
const READ_SIZE: usize = 256 * 1024;

/// How many bytes may be queued before [`Client::has_room`] flushes.
const MAX_UNSENT: usize = 64 * 1024;

/// The read buffer that all clients of a thread share, with counters for the figures.
pub(crate) struct ReadBuffer {
    buffer: Vec<u8>,
    /// Reads that returned data.
    pub(crate) reads: u64,
    /// Frames in these reads.
    pub(crate) frames: u64,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        ReadBuffer { buffer: vec![0; READ_SIZE], reads: 0, frames: 0 }
    }

    /// Copies `kept`, the beginning of a cut frame, into the buffer, and returns the room after it for a read.
    fn room(&mut self, kept: &[u8]) -> &mut [u8] {
        let needed = kept.len() + READ_SIZE / 2;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        self.buffer[..kept.len()].copy_from_slice(kept);
        &mut self.buffer[kept.len()..]
    }
}

/// A client after its handshake.
pub(crate) struct Client {
    stream: Stream,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
    /// Encoded frames; those before `written` are written.
    out: Vec<u8>,
    written: usize,
    /// What it has received, where it speaks `gw.1`.
    receipts: Option<Receipts>,
}

impl Client {
    /// A client after its handshake. `rest` has the bytes that were read after it.
    pub(crate) fn new(stream: Stream, rest: Vec<u8>) -> Self {
        Client { stream, rest, out: Vec::new(), written: 0, receipts: None }
    }

    /// The same client, which speaks `gw.1` and has sent its first message.
    pub(crate) fn with_receipts(mut self) -> Self {
        self.receipts = Some(Receipts::default());
        self
    }

    /// The write buffer. Append encoded frames; the next [`Client::poll`] writes them.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes the queued frames now, as far as the socket takes them; the next [`Client::poll`] writes the rest.
    pub(crate) fn write_now(&mut self, cx: &mut Context<'_>) {
        // The next poll returns the same error.
        let _ = self.flush(cx);
    }

    /// Writes the queued frames, and calls `on_message` for each message that has arrived: with the time of its read,
    /// its payload, and the write buffer for an answer. Ready only when the connection has ended.
    pub(crate) fn poll<F>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &RefCell<ReadBuffer>,
        mut on_message: F,
    ) -> Poll<ClientError>
    where
        F: FnMut(Instant, &[u8], &mut Vec<u8>) -> Result<(), ClientError>,
    {
        loop {
            if let Err(error) = self.flush(cx) {
                return Poll::Ready(ClientError::Io(error));
            }
            let scratch = &mut *scratch.borrow_mut();
            let kept = self.rest.len();
            let mut window = ReadBuf::new(scratch.room(&self.rest));
            match Pin::new(&mut self.stream).poll_read(cx, &mut window) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(ClientError::Io(error)),
                Poll::Ready(Ok(())) => {}
            }
            let came = window.filled().len();
            if came == 0 {
                return Poll::Ready(ClientError::Ended);
            }
            scratch.reads += 1;
            let now = Instant::now();
            let mut bytes = &scratch.buffer[..kept + came];
            let on_message = |payload: &[u8], out: &mut Vec<u8>| on_message(now, payload, out);
            match for_each_message(&mut bytes, &mut self.out, &mut self.receipts, on_message) {
                Ok(frames) => scratch.frames += frames,
                Err(lost) => return Poll::Ready(lost),
            }
            self.rest.clear();
            self.rest.extend_from_slice(bytes);
        }
    }

    /// How many bytes wait because the socket is full.
    pub(crate) fn unsent(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether more frames may be queued. If not, the task of `cx` is woken when the socket has room.
    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unsent() >= MAX_UNSENT {
            self.write_now(cx);
        }
        self.unsent() < MAX_UNSENT
    }

    /// How many TCP segments with data have arrived, if the system counts them.
    pub(crate) fn segments(&self) -> Option<u32> {
        segments::data_segments_in(self.stream.tcp())
    }

    /// Whether the server has ended the connection. Does not wait.
    pub(crate) fn is_lost(&self) -> bool {
        let mut ignored = [0; 512];
        loop {
            match self.stream.tcp().try_read(&mut ignored) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while self.written < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(written) => self.written += written?,
            }
        }
        self.out.clear();
        self.written = 0;
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

/// Removes the complete frames from `bytes`, answers pings into `out`, and calls `on_message` for each message, but
/// for what `receipts` takes. Returns the number of frames.
fn for_each_message<F>(
    bytes: &mut &[u8],
    out: &mut Vec<u8>,
    receipts: &mut Option<Receipts>,
    mut on_message: F,
) -> Result<u64, ClientError>
where
    F: FnMut(&[u8], &mut Vec<u8>) -> Result<(), ClientError>,
{
    let mut frames = 0;
    while let Some(frame) = wire::decode(bytes).map_err(|what| ClientError::Unexpected(what.into()))? {
        frames += 1;
        match frame.opcode {
            opcode::TEXT | opcode::BINARY => {
                let is_control = receipts.as_mut().is_some_and(|receipts| receipts.take(frame.payload, out));
                if !is_control {
                    on_message(frame.payload, out)?;
                }
            }
            opcode::PING => wire::encode(opcode::PONG, frame.payload, out),
            opcode::CLOSE => {
                let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                return Err(ClientError::Closed(code));
            }
            _ => {}
        }
        *bytes = &bytes[frame.length..];
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Client, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        peer.set_nodelay(true).unwrap();
        (Client::new(Stream::Plain(stream), Vec::new()), peer)
    }

    #[tokio::test]
    async fn messages_arrive_whole_from_any_cut() {
        let mut served = Vec::new();
        for message in ["one", "", "three", &"y".repeat(300)] {
            served.push(0x81);
            match message.len() {
                length @ ..=125 => served.push(length as u8),
                length => served.extend([126, (length >> 8) as u8, length as u8]),
            }
            served.extend(message.as_bytes());
        }
        for piece in [1, 2, 3, 7, 100, served.len()] {
            let (mut client, mut peer) = pair().await;
            let scratch = RefCell::new(ReadBuffer::new());
            let mut lengths = Vec::new();
            let feed = async {
                for part in served.chunks(piece) {
                    peer.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(peer);
            };
            let read = poll_fn(|cx| {
                client.poll(cx, &scratch, |_, payload, _| {
                    lengths.push(payload.len());
                    Ok(())
                })
            });
            let ((), lost) = tokio::join!(feed, read);
            assert!(matches!(lost, ClientError::Ended), "{lost}");
            assert_eq!(lengths, [3, 0, 5, 300], "in pieces of {piece}");
            assert_eq!(scratch.borrow().frames, 4);
        }
    }

    #[tokio::test]
    async fn a_greeting_may_follow_the_handshake_and_a_cut_frame_is_kept() {
        let (mut client, mut peer) = pair().await;
        client.rest = b"\x81\x02{}\x81\x03ab".to_vec();
        client.wait_for_greeting().await.unwrap();
        peer.write_all(b"c").await.unwrap();
        drop(peer);
        let scratch = RefCell::new(ReadBuffer::new());
        let mut got = Vec::new();
        poll_fn(|cx| {
            client.poll(cx, &scratch, |_, payload, _| {
                got.extend_from_slice(payload);
                Ok(())
            })
        })
        .await;
        assert_eq!(got, b"abc");
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_a_close_names_its_code() {
        let (mut client, mut peer) = pair().await;
        peer.write_all(b"\x89\x02hi").await.unwrap();
        let scratch = RefCell::new(ReadBuffer::new());
        let answer = async {
            let mut pong = [0; 8];
            peer.read_exact(&mut pong).await.unwrap();
            peer.write_all(&[0x88, 2, 0x03, 0xe9]).await.unwrap();
            pong
        };
        let (pong, lost) = tokio::join!(answer, poll_fn(|cx| client.poll(cx, &scratch, |_, _, _| Ok(()))));
        assert_eq!(pong[..2], [0x8a, 0x82]);
        assert!(matches!(lost, ClientError::Closed(Some(1001))), "{lost}");
    }

    #[tokio::test]
    async fn an_ended_client_is_seen_to_be_lost() {
        let (client, peer) = pair().await;
        assert!(!client.is_lost());
        drop(peer);
        client.stream.tcp().readable().await.unwrap();
        assert!(client.is_lost());
    }
}
