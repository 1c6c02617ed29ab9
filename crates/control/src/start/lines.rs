//! Reads lines from an asynchronous stream: a child's log, its output and its messages. The splitting is
//! [`LineSplitter`]'s; this is what reads. `child_process.rs` uses it.

use bytes::BytesMut;
use gatewayworker_daemon::LineSplitter;
use gatewayworker_daemon::child_protocol::MAX_LINE_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines of a stream, without their ends. A line of more than [`MAX_LINE_BYTES`] comes in pieces.
#[derive(Debug)]
pub(super) struct Lines<R> {
    stream: R,
    splitter: LineSplitter,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, splitter: LineSplitter::new(MAX_LINE_BYTES) }
    }

    /// Returns the next line without white space at its end; `None` when the stream has ended, or failed. Cancel
    /// safe.
    pub(super) async fn next(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(line) = self.splitter.next_line() {
                return Some(trim_end(line));
            }
            match self.stream.read_buf(self.splitter.buffer()).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return self.splitter.last_line().map(trim_end),
            }
        }
    }
}

fn trim_end(mut line: BytesMut) -> BytesMut {
    line.truncate(line.trim_ascii_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_comes_in_pieces() {
        let text = [vec![b'x'; MAX_LINE_BYTES + 1], b"\nshort\r\nlast".to_vec()].concat();
        let mut lines = Lines::new(text.as_slice());
        assert_eq!(lines.next().await.unwrap().len(), MAX_LINE_BYTES);
        for expected in ["x", "short", "last"] {
            assert_eq!(lines.next().await.unwrap(), expected.as_bytes());
        }
        assert!(lines.next().await.is_none());
    }
}
