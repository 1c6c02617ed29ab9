//! Lines of bounded length, off a stream.
//!
//! Used on connections with registers, at both ends.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads `\n`-ended lines off a stream, none longer than a limit.
#[derive(Debug)]
pub struct LineReader<R> {
    stream: R,
    buffer: BytesMut,
    searched: usize,
}

/// Why no line could be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than the limit; the stream cannot be read further.
    #[error("a line is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream ended within a line, or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader of `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), searched: 0 }
    }

    /// Reads the next line, without its `\n` or `\r\n`; `None` at the end of the stream.
    ///
    /// Cancel safe: bytes that have been read stay for the next call.
    ///
    /// # Errors
    /// When the line is longer than `limit` bytes, the stream ends within it, or
    /// reading fails.
    pub async fn next_line(&mut self, limit: usize) -> Result<Option<Bytes>, LineError> {
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(at) = fresh.iter().position(|b| *b == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                return if line.len() > limit {
                    Err(LineError::TooLong { limit })
                } else {
                    Ok(Some(line.freeze()))
                };
            }
            self.searched = self.buffer.len();
            if self.searched > limit {
                return Err(LineError::TooLong { limit });
            }
            self.buffer.reserve(1024);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended within a line").into())
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_without_their_ends_wherever_the_stream_was_cut() {
        let parts: [&[u8]; 3] = [b"one\r", b"\ntwo\n", b"three\n"];
        let stream = tokio_test_stream(&parts);
        let mut lines = LineReader::new(stream);
        for expected in ["one", "two", "three"] {
            assert_eq!(lines.next_line(10).await.unwrap().unwrap(), expected);
        }
        assert!(lines.next_line(10).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error_at_the_limit() {
        let mut lines = LineReader::new(tokio::io::repeat(b'x'));
        assert!(matches!(lines.next_line(5000).await, Err(LineError::TooLong { limit: 5000 })));
        assert!(lines.buffer.capacity() < 10_000);
    }

    #[tokio::test]
    async fn the_end_within_a_line_is_an_error() {
        let mut lines = LineReader::new(&b"half"[..]);
        assert!(matches!(lines.next_line(10).await, Err(LineError::Io(_))));
    }

    fn tokio_test_stream<'a>(parts: &[&'a [u8]; 3]) -> impl AsyncRead + Unpin + 'a {
        parts[0].chain(parts[1]).chain(parts[2])
    }
}
