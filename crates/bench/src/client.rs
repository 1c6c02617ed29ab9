//! One open WebSocket, driven by polling: what is queued is written, what has come is cut into messages.
//!
//! It owns no read buffer: all clients of the thread read into one [`ReadBuffer`], and only the head of a frame that was
//! cut by a read is kept per client. That, and no task or timer of its own, is what makes thousands of them cheap.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::segments;
use crate::stream::Stream;
use crate::wire::{self, opcode};

/// What one read may bring.
const READ_SIZE: usize = 256 * 1024;

/// What may be queued before the socket is asked for room.
const MAX_UNSENT: usize = 64 * 1024;

/// How long a server may take to answer a close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The read buffer that all clients share, and what has passed through it.
pub(crate) struct ReadBuffer {
    buffer: Vec<u8>,
    /// Reads that brought something.
    pub(crate) reads: u64,
    /// Frames that they held.
    pub(crate) frames: u64,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        ReadBuffer { buffer: vec![0; READ_SIZE], reads: 0, frames: 0 }
    }

    /// Room for a read behind the head of a frame of `kept` bytes, which are put there.
    fn room(&mut self, kept: &[u8]) -> &mut [u8] {
        let needed = kept.len() + READ_SIZE / 2;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        self.buffer[..kept.len()].copy_from_slice(kept);
        &mut self.buffer[kept.len()..]
    }
}

/// Why a client is no more.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// The server ended the connection.
    Ended,
    /// It sent a close frame, with this code if any.
    Closed(Option<u16>),
    /// It sent what it must not, or what nobody asked for.
    Unexpected(String),
    /// The socket failed.
    Io(std::io::Error),
}

impl ClientError {
    /// It sent this message, of which the beginning is shown.
    pub(crate) fn unexpected(payload: &[u8]) -> Self {
        ClientError::Unexpected(format!("{:?}", String::from_utf8_lossy(&payload[..payload.len().min(60)])))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Ended => write!(f, "the server ended the connection"),
            ClientError::Closed(Some(code)) => write!(f, "the server closed with code {code}"),
            ClientError::Closed(None) => write!(f, "the server closed"),
            ClientError::Unexpected(what) => write!(f, "the server sent {what}"),
            ClientError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A client after its handshake.
pub(crate) struct Client {
    stream: Stream,
    /// The head of a frame whose rest has not come.
    rest: Vec<u8>,
    /// Frames to write, from `written` on.
    out: Vec<u8>,
    written: usize,
}

impl Client {
    /// `rest`: bytes that were read behind the handshake.
    pub(crate) fn new(stream: Stream, rest: Vec<u8>) -> Self {
        Client { stream, rest, out: Vec::new(), written: 0 }
    }

    /// Where frames to be written are appended; the next [`Client::poll`] writes them.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what is queued and hands over each message that has come, with the time of its read and the queue for an
    /// answer. Ready only when the client is lost.
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
            match for_each_message(&mut bytes, &mut self.out, |payload, out| on_message(now, payload, out)) {
                Ok(frames) => scratch.frames += frames,
                Err(lost) => return Poll::Ready(lost),
            }
            self.rest.clear();
            self.rest.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait because the socket took no more.
    pub(crate) fn unsent(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether more may be queued; where not, the task of `cx` is woken when the socket has room.
    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unsent() >= MAX_UNSENT {
            // A failure shows again in the next poll.
            let _ = self.flush(cx);
        }
        self.unsent() < MAX_UNSENT
    }

    /// How many segments with data the server has sent it, where the system says.
    pub(crate) fn segments(&self) -> Option<u32> {
        segments::data_segments_in(self.stream.tcp())
    }

    /// Waits for the next message and drops it, with whatever else has come.
    ///
    /// # Errors
    /// The client was lost instead.
    pub(crate) async fn wait_for_greeting(&mut self) -> Result<(), ClientError> {
        self.wait_for(|_| true).await
    }

    /// Says `frames`, which end with an echo of `E` alone, and waits for that: what was said before it has taken effect.
    ///
    /// # Errors
    /// The client was lost instead.
    pub(crate) async fn barrier(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.ask(frames, |payload| payload == b"E").await
    }

    /// Says `frames` and waits for such an answer.
    ///
    /// # Errors
    /// The client was lost instead.
    pub(crate) async fn ask(
        &mut self,
        frames: &[u8],
        answer: impl Fn(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        self.send(frames).await?;
        self.wait_for(answer).await
    }

    /// Says `frames`.
    ///
    /// # Errors
    /// The client was lost.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(frames).await.map_err(ClientError::Io)?;
        self.stream.flush().await.map_err(ClientError::Io)
    }

    /// Waits for such a message and drops it, with whatever else has come.
    ///
    /// # Errors
    /// The client was lost instead.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<(), ClientError> {
        let mut found = false;
        loop {
            let bytes = std::mem::take(&mut self.rest);
            let mut left = &bytes[..];
            for_each_message(&mut left, &mut self.out, |payload, _| {
                found |= wanted(payload);
                Ok(())
            })?;
            self.rest = left.to_vec();
            if found {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.rest).await.map_err(ClientError::Io)? == 0 {
                return Err(ClientError::Ended);
            }
        }
    }

    /// Says closing and waits, for a time, until the server has ended the connection.
    pub(crate) async fn close(mut self) {
        let mut frame = Vec::new();
        wire::encode(opcode::CLOSE, &1000u16.to_be_bytes(), &mut frame);
        let closing = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await?;
            let mut ignored = [0; 512];
            while self.stream.read(&mut ignored).await? > 0 {}
            std::io::Result::Ok(())
        };
        // However it ends, dropping the socket ends it.
        let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
    }

    /// Whether the server has ended the connection, as far as is known without waiting.
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

/// Takes the complete frames off `bytes`, answers pings into `out`, hands over messages, and says how many frames.
fn for_each_message<F>(bytes: &mut &[u8], out: &mut Vec<u8>, mut on_message: F) -> Result<u64, ClientError>
where
    F: FnMut(&[u8], &mut Vec<u8>) -> Result<(), ClientError>,
{
    let mut frames = 0;
    while let Some(frame) = wire::decode(bytes).map_err(|what| ClientError::Unexpected(what.into()))? {
        frames += 1;
        match frame.opcode {
            opcode::TEXT | opcode::BINARY => on_message(frame.payload, out)?,
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
