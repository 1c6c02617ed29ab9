//! Writes lines to a stream that may block, from a thread of its own: a log that nobody reads never stops a daemon.
//! The log (`logging.rs`) uses it, and the control tool for standard output.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most that may wait to be written, in bytes. A line counts [`LINE_COST`] more.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// The memory that a line takes beside its text, in bytes.
const LINE_COST: usize = 64;

/// Writes lines to a stream from a thread of its own.
///
/// [`LineWriter::write`] never blocks: while nobody reads the stream (a pipe without a
/// reader, a terminal after Ctrl-S), up to 2 MiB of lines wait. Further lines are dropped and
/// counted, and a line with their number is written as soon as the stream takes lines again.
/// Lines which the stream refuses (its reader is gone, the disk is full) are counted as dropped, too; their number is
/// written before the next line.
///
/// Clones write to the same stream. The thread lives as long as the process.
#[derive(Debug, Clone)]
pub struct LineWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line was queued.
    more: Condvar,
    /// All lines have been written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The memory of the queued lines and of the one being written.
    bytes: usize,
    /// Lines dropped since the last line that was queued; no notice of them is queued yet.
    unreported: u64,
    /// Lines that could not be written; a notice of them is queued before the next line, as it could not be written
    /// now either.
    unwritten: u64,
    /// All lines that were dropped, or could not be written.
    dropped: u64,
    is_writing: bool,
    /// How many jobs are done.
    finished: u64,
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    /// A notice: so many lines were dropped here.
    Dropped(u64),
}

impl LineWriter {
    /// Starts the thread, which is called `name`. `notice` makes the line about so many dropped lines, with its `\n`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        name: &str,
        stream: impl Write + Send + 'static,
        notice: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        std::thread::Builder::new().name(name.into()).spawn(move || theirs.write_all(stream, notice))?;
        Ok(Self(shared))
    }

    /// Queues a line, which ends with `\n`; drops it where too much waits already. Never blocks.
    ///
    /// Each line is one write: where several processes share a pipe, short lines stay whole.
    pub fn write(&self, line: Vec<u8>) {
        self.0.queue().push(line);
        self.0.more.notify_one();
    }

    /// Waits until all queued lines are written; returns whether they are. Gives up where the
    /// stream has taken no line for `limit`, and after ten times as long in all. Blocks the
    /// calling thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit * 10;
        let mut queue = self.0.queue();
        loop {
            let finished = queue.finished;
            let is_busy = |queue: &mut Queue| queue.is_writing || queue.has_jobs();
            let waited = self.0.idle.wait_timeout_while(queue, limit, is_busy);
            let (now, is_over) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = now;
            if !is_over.timed_out() {
                return true;
            }
            if queue.finished == finished || Instant::now() >= end {
                return false;
            }
        }
    }

    /// Returns how many lines were dropped so far, or could not be written.
    pub fn dropped(&self) -> u64 {
        self.0.queue().dropped
    }
}

impl Queue {
    fn push(&mut self, line: Vec<u8>) {
        let cost = line.len() + LINE_COST;
        if self.bytes + cost > MAX_WAITING_BYTES {
            self.unreported += 1;
            self.dropped += 1;
            return;
        }
        self.unreported += std::mem::take(&mut self.unwritten);
        if self.unreported > 0 {
            self.jobs.push_back(Job::Dropped(std::mem::take(&mut self.unreported)));
        }
        self.bytes += cost;
        self.jobs.push_back(Job::Line(line));
    }

    fn has_jobs(&self) -> bool {
        self.unreported > 0 || !self.jobs.is_empty()
    }

    /// Returns the next job. Call `done` once it is done.
    fn next(&mut self) -> Option<Job> {
        let job = match self.jobs.pop_front() {
            Some(job) => job,
            None if self.unreported > 0 => Job::Dropped(std::mem::take(&mut self.unreported)),
            None => return None,
        };
        self.is_writing = true;
        Some(job)
    }

    fn done(&mut self, job: &Job, is_written: bool) {
        self.is_writing = false;
        self.finished += 1;
        let lines = match job {
            Job::Line(line) => {
                self.bytes -= line.len() + LINE_COST;
                self.dropped += u64::from(!is_written);
                1
            }
            Job::Dropped(count) => *count,
        };
        if !is_written {
            self.unwritten += lines;
        }
        if !self.has_jobs() {
            // The burst is over: give its memory back.
            self.jobs = VecDeque::new();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes for ever. A stream that fails has no reader: its lines are dropped.
    fn write_all(&self, mut stream: impl Write, notice: impl Fn(u64) -> Vec<u8>) {
        let mut is_written = true;
        loop {
            let job = self.next();
            let written = match &job {
                Job::Line(line) => stream.write_all(line),
                // The line before may have been written in part.
                Job::Dropped(count) if !is_written => {
                    stream.write_all(&[b"\n", notice(*count).as_slice()].concat())
                }
                Job::Dropped(count) => stream.write_all(&notice(*count)),
            };
            is_written = written.and_then(|()| stream.flush()).is_ok();
            self.queue().done(&job, is_written);
        }
    }

    fn next(&self) -> Job {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.next() {
                return job;
            }
            self.idle.notify_all();
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A stream that takes a line each time the test allows one, and passes it to the test.
    struct Reader {
        allowed: mpsc::Receiver<()>,
        read: mpsc::Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.read.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer() -> (LineWriter, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (allow, allowed) = mpsc::channel();
        let (read, lines) = mpsc::channel();
        let notice = |count| format!("{count} dropped\n").into_bytes();
        (LineWriter::start("test", Reader { allowed, read }, notice).unwrap(), allow, lines)
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_a_notice_stands_in_their_place() {
        let (writer, allow, lines) = writer();
        let long = vec![b'x'; MAX_WAITING_BYTES / 4];
        for _ in 0..10 {
            writer.write(long.clone());
        }
        assert_eq!(writer.dropped(), 7);
        assert!(!writer.flush(Duration::from_millis(1)), "nobody has read a line yet");
        allow.send(()).unwrap();
        assert_eq!(lines.recv().unwrap().len(), long.len());
        while writer.0.queue().bytes > long.len() * 3 {
            std::thread::yield_now();
        }
        writer.write(b"next\n".to_vec());
        (0..4).for_each(|_| allow.send(()).unwrap());
        assert!(writer.flush(Duration::from_secs(30)));
        let rest: Vec<_> = lines.try_iter().filter(|line| line.len() < 100).collect();
        assert_eq!(rest, ["7 dropped\n", "next\n"]);
        assert_eq!((writer.dropped(), writer.0.queue().bytes), (7, 0));
    }

    #[test]
    fn a_notice_is_written_although_no_line_follows() {
        let (writer, allow, lines) = writer();
        writer.write(vec![b'x'; MAX_WAITING_BYTES]);
        allow.send(()).unwrap();
        assert_eq!(lines.recv().unwrap(), "1 dropped\n");
    }

    /// A disk that is full until the test says otherwise.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (is_full, file) = &mut *self.0.lock().unwrap();
            if *is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_no_longer_full_gets_the_number_of_lines_that_are_missing() {
        let disk = Disk::default();
        let notice = |count| format!("{count} dropped\n").into_bytes();
        let writer = LineWriter::start("test", disk.clone(), notice).unwrap();
        let write = |line: &str| {
            writer.write(line.as_bytes().to_vec());
            assert!(writer.flush(Duration::from_secs(30)));
        };
        write("a\n");
        disk.0.lock().unwrap().0 = true;
        write("b\n");
        write("c\n");
        disk.0.lock().unwrap().0 = false;
        write("d\n");
        assert_eq!(String::from_utf8_lossy(&disk.0.lock().unwrap().1), "a\n\n2 dropped\nd\n");
        assert_eq!(writer.dropped(), 2);
    }

    #[test]
    fn a_stream_without_a_reader_takes_lines_for_ever() {
        let (writer, allow, lines) = writer();
        drop((allow, lines));
        for _ in 0..10 {
            writer.write(vec![b'x'; MAX_WAITING_BYTES / 2]);
            assert!(writer.flush(Duration::from_secs(30)));
        }
        assert_eq!((writer.dropped(), writer.0.queue().bytes), (10, 0));
    }
}
