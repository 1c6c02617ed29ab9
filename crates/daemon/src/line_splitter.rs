//! Splits a stream of bytes into lines of bounded length. It reads from nothing: the caller appends what it has
//! read, from a socket or a pipe, and takes the lines.

use bytes::BytesMut;

/// A decoder for lines that end with `\n`. A line longer than the limit comes in pieces: a log loses nothing, and a
/// peer that never ends its line fills no memory.
#[derive(Debug)]
pub struct LineSplitter {
    max_bytes: usize,
    buffer: BytesMut,
    /// So many bytes at the front of the buffer have no line end.
    searched: usize,
}

impl LineSplitter {
    /// Makes one whose lines have at most `max_bytes`, their ends not counted.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, buffer: BytesMut::new(), searched: 0 }
    }

    /// Returns the buffer, for the caller to append what it has read. It holds less than a line's limit once
    /// [`LineSplitter::next_line`] has returned `None`.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes the next line, without `\n` or `\r\n`. Returns `None` until more bytes are appended.
    pub fn next_line(&mut self) -> Option<BytesMut> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        match end {
            Some(end) if end <= self.max_bytes => {
                self.searched = 0;
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                if line.ends_with(b"\r") {
                    line.truncate(end - 1);
                }
                Some(line)
            }
            _ if self.buffer.len() >= self.max_bytes => {
                self.searched = 0;
                Some(self.buffer.split_to(self.max_bytes))
            }
            _ => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    /// Takes what is left when the stream has ended: a last line without an end. Returns `None` if there is none.
    pub fn last_line(&mut self) -> Option<BytesMut> {
        self.searched = 0;
        Some(self.buffer.split()).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends the parts one by one; returns all lines, and what was left at the end.
    fn split(max_bytes: usize, parts: &[&str]) -> (Vec<String>, Option<String>) {
        let text = |line: BytesMut| String::from_utf8(line.to_vec()).unwrap();
        let mut splitter = LineSplitter::new(max_bytes);
        let mut lines = Vec::new();
        for part in parts {
            splitter.buffer().extend_from_slice(part.as_bytes());
            lines.extend(std::iter::from_fn(|| splitter.next_line()).map(text));
            assert!(splitter.buffer().len() < max_bytes);
        }
        (lines, splitter.last_line().map(text))
    }

    #[test]
    fn lines_come_without_their_ends_however_they_were_cut() {
        let (lines, rest) = split(100, &["rel", "oad\nstatus\r", "\n\nla", "st\n"]);
        assert_eq!((lines, rest), (["reload", "status", "", "last"].map(str::to_owned).into(), None));
        assert_eq!(split(100, &["one\ntw", "o"]), (vec!["one".into()], Some("two".into())));
    }

    #[test]
    fn a_line_over_the_limit_comes_in_pieces() {
        let (lines, rest) = split(4, &["abc\n", "abcde", "fghijk\nl\n"]);
        assert_eq!((lines, rest), (["abc", "abcd", "efgh", "ijk", "l"].map(str::to_owned).into(), None));
    }
}
