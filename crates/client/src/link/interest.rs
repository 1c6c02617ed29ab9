//! The interest link to one gateway, and what is known of the gateway's names: the tokio shell around [`InterestView`].
//!
//! `link/mod.rs` has a task follow it as long as a connection of the call link stands, and ends the view with that. Sends and
//! questions ask [`LinkInterest::may_have`]. The rules are in the core, and in `docs/decisions/0011-interest.md`.
//!
//! A worker knows from its event link whether a gateway announces its names. Another handle asks on the interest link: a
//! gateway of the original answers nothing, and is not asked again on the same connection of the call link.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{Backoff, LinkReader, LinkWriter};
use gatewayworker_protocol::interest::{Name, NameFilter};
use gatewayworker_protocol::{Command, Features, Frame, Hello, MAX_FRAME_LEN, PingBody, Question};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::{Link, SUCCESS};
use crate::core::InterestView;
use crate::names::Names;

/// How often a barrier is asked for at most.
const BARRIER_EVERY: Duration = Duration::from_secs(1);

/// How often the view is told at most that it is used, in ms.
const NOTE_EVERY_MS: u64 = 250;

/// What may wait to be written to the gateway, in bytes: reports are a few bytes.
const OUTBOX: usize = 64 * 1024;

/// Which gateways are asked for their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// None.
    Off,
    /// Those that have said on their event links that they announce them.
    Offered,
    /// Each.
    Asked,
}

/// What is known of a gateway's names, and the wish to know.
#[derive(Debug)]
pub(crate) struct LinkInterest {
    started: Instant,
    view: RwLock<Versioned>,
    interest: Interest,
    /// The gateway announces names, or is to be asked.
    is_offered: watch::Sender<bool>,
    /// The same, for each send to read.
    announces: AtomicBool,
    /// Sends to names, or questions about them, go on: until then there is no interest link. A process that sends once and
    /// ends needs none.
    is_used: watch::Sender<bool>,
    /// The view is to be advanced.
    due: Notify,
    /// When the view was told last that it is used; 0 before the first send.
    noted_ms: AtomicU64,
    /// Counts what is not sent to the gateway, if somebody wants to know.
    left_out: Option<Arc<AtomicU64>>,
}

/// The view, and which interest link it is of: a task that is being ended shall not change the next one's.
#[derive(Debug, Default)]
struct Versioned {
    link: u64,
    view: InterestView,
}

impl LinkInterest {
    pub(crate) fn new(interest: Interest, left_out: Option<Arc<AtomicU64>>) -> Self {
        Self {
            started: Instant::now(),
            view: RwLock::default(),
            interest,
            is_offered: watch::Sender::new(false),
            announces: AtomicBool::new(false),
            is_used: watch::Sender::new(false),
            due: Notify::new(),
            noted_ms: AtomicU64::new(0),
            left_out,
        }
    }

    /// Notes whether the gateway announces names, as it has said on its event link.
    pub(crate) fn set_offered(&self, is_offered: bool) {
        self.announces.store(is_offered, Ordering::Relaxed);
        self.is_offered.send_if_modified(|offered| std::mem::replace(offered, is_offered) != is_offered);
    }

    /// Whether the gateway may have one of these names, so that it has to be told or asked.
    pub(crate) fn may_have(&self, names: &Names) -> bool {
        let Names::These(names) = names else { return true };
        if names.is_empty() || !self.announces.load(Ordering::Relaxed) {
            return true;
        }
        let now_ms = self.now_ms();
        let may_have = self.read().view.may_have(names, now_ms);
        if now_ms >= self.noted_ms.load(Ordering::Relaxed) + NOTE_EVERY_MS {
            let is_first = self.noted_ms.swap(now_ms, Ordering::Relaxed) == 0;
            if !is_first {
                self.is_used.send_if_modified(|used| !std::mem::replace(used, true));
            }
            if self.write().view.note_send(now_ms) {
                self.due.notify_one();
            }
        }
        if let (false, Some(left_out)) = (may_have, &self.left_out) {
            left_out.fetch_add(1, Ordering::Relaxed);
        }
        may_have
    }

    /// Keeps the view trusted, as a send to names does.
    pub(crate) fn keep_used(&self) {
        if !self.announces.load(Ordering::Relaxed) {
            return;
        }
        let now_ms = self.now_ms();
        if now_ms >= self.noted_ms.load(Ordering::Relaxed) + NOTE_EVERY_MS {
            self.noted_ms.store(now_ms, Ordering::Relaxed);
            self.is_used.send_if_modified(|used| !std::mem::replace(used, true));
            if self.write().view.note_send(now_ms) {
                self.due.notify_one();
            }
        }
    }

    /// Whether what the gateway has announced is all that it has.
    pub(crate) fn is_trusted(&self) -> bool {
        let now_ms = self.now_ms();
        self.announces.load(Ordering::Relaxed) && self.read().view.is_trusted(now_ms)
    }

    /// What the gateway has announced, as the bytes of a filter; `None` if that is not known.
    pub(crate) fn filter(&self) -> Option<Bytes> {
        self.read().view.filter().map(NameFilter::to_bytes)
    }

    /// Notes a join that was pushed to the call link. Call it before the caller of the join goes on.
    pub(crate) fn note_join(&self, name: Name) {
        if self.announces.load(Ordering::Relaxed) {
            self.write().view.note_join(name);
        }
    }

    /// Milliseconds of a clock that only goes forward, and that begins late enough for an interval to be over.
    fn now_ms(&self) -> u64 {
        NOTE_EVERY_MS + self.started.elapsed().as_millis() as u64
    }

    /// Notes that the connection of the call link is over, and with it the view.
    pub(super) fn call_link_over(&self) {
        let mut state = self.write();
        state.link += 1;
        state.view.link_over();
    }

    /// Changes the view, if it is still that of an interest link.
    fn update<T>(&self, link: u64, change: impl FnOnce(&mut InterestView) -> T) -> io::Result<T> {
        let mut state = self.write();
        if state.link == link {
            Ok(change(&mut state.view))
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Versioned> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Versioned> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an interest link while the gateway offers one. Dropping it ends the link and the trust in the view.
    pub(super) async fn follow(&self, link: &Link) -> Infallible {
        if self.interest == Interest::Asked {
            self.set_offered(true);
        }
        let mut backoff = Backoff::default();
        let (mut is_offered, mut is_used) = (self.is_offered.subscribe(), self.is_used.subscribe());
        loop {
            // The senders are in `self`.
            let _ = is_offered.wait_for(|offered| *offered).await;
            let _ = is_used.wait_for(|used| *used).await;
            let started = Instant::now();
            match self.serve(link).await {
                Ok(()) => {}
                Err(error) if is_silent(&error) && self.interest == Interest::Asked => {
                    debug!(gateway = %link.address, "the gateway does not announce its groups and uids");
                    self.set_offered(false);
                }
                Err(error) => debug!(gateway = %link.address, %error, "the interest link ended"),
            }
            if started.elapsed() > SUCCESS {
                backoff.reset();
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn serve(&self, link: &Link) -> io::Result<()> {
        let stream = link.settings.connector.connect(link.address).await?;
        let (mut reader, sink) = stream.into_split();
        let writer = LinkWriter::new(sink, OUTBOX);
        let secret_key = Some(link.settings.secret_key.clone());
        let features = Some(Features { interest: true, ..Features::default() });
        let hello = Hello { worker_key: None, secret_key, features, process: None };
        let number = {
            let mut state = self.write();
            state.link += 1;
            state.view.link_begins();
            state.link
        };
        // Dropped before the socket is: the gateway takes the end of the stream for the end of the trust.
        let _over = OverOnDrop(self, number);
        push(&writer, Command::ClientConnect(hello))?;
        let follow = async {
            let mut received = BytesMut::new();
            let welcome = read_welcome(&mut reader, &mut received);
            timeout(link.settings.question_timeout, welcome).await.map_err(|_| silent())??;
            tokio::select! {
                ended = self.read_updates(number, link, &mut reader, received, &writer) => ended,
                ended = self.renew(number, &writer) => ended,
                ended = self.ask_barriers(number, link) => ended,
            }
        };
        tokio::select! {
            ended = writer.drive() => ended,
            ended = follow => ended,
        }
    }

    async fn read_updates(
        &self,
        number: u64,
        link: &Link,
        reader: &mut LinkReader,
        mut received: BytesMut,
        writer: &LinkWriter,
    ) -> io::Result<()> {
        loop {
            while let Some(command) = take_command(&mut received)? {
                let update = match command {
                    Command::Interest(update) => update,
                    Command::Ping(_) => continue,
                    other => return Err(invalid(format!("it is no update of interest: {other:?}"))),
                };
                let journal = &link.settings.journal;
                let announced = journal.prepare(&update);
                let report = self.update(number, |view| {
                    let now_ms = self.now_ms();
                    let report = view.receive(update, now_ms);
                    if let Some(announced) = announced {
                        journal.note(link.address, announced);
                    }
                    if !view.is_trusted(now_ms) {
                        self.due.notify_one();
                    }
                    report
                })?;
                let report = report.map_err(|error| invalid(error.to_string()))?;
                if let Some(report) = report {
                    push(writer, Command::InterestReport(report))?;
                }
            }
            read_more(reader, &mut received).await?;
        }
    }

    /// Says RENEW when it is due.
    async fn renew(&self, number: u64, writer: &LinkWriter) -> io::Result<()> {
        loop {
            let advance = |view: &mut InterestView| (view.advance(self.now_ms()), view.next_deadline());
            let (report, deadline) = self.update(number, advance)?;
            if let Some(report) = report {
                push(writer, Command::InterestReport(report))?;
            }
            let at =
                deadline.map(|at_ms| self.started + Duration::from_millis(at_ms - NOTE_EVERY_MS.min(at_ms)));
            tokio::select! {
                () = self.due.notified() => {}
                () = sleep_until(at.unwrap_or(self.started)), if at.is_some() => {}
            }
        }
    }

    /// Asks the gateway now and then whether it has executed the joins.
    async fn ask_barriers(&self, number: u64, link: &Link) -> io::Result<()> {
        loop {
            if let Some(barrier) = self.update(number, InterestView::begin_barrier)? {
                let question = Command::Ask(Question::IsOnline(0)).into_frame();
                let is_answered = link.ask_at(question, Instant::now()).await.is_ok();
                self.update(number, |view| view.end_barrier(barrier, is_answered))?;
            }
            sleep(BARRIER_EVERY).await;
        }
    }
}

/// Reads the gateway's answer to the beginning of an interest link.
async fn read_welcome(reader: &mut LinkReader, received: &mut BytesMut) -> io::Result<()> {
    loop {
        match take_command(received)? {
            Some(Command::Ping(body)) => match PingBody::parse(&body) {
                Some(PingBody::Welcome { features, .. }) if features.interest => return Ok(()),
                // A sign of life.
                _ => continue,
            },
            Some(other) => return Err(invalid(format!("it is no answer to the beginning: {other:?}"))),
            None => read_more(reader, received).await?,
        }
    }
}

/// The gateway has not answered the beginning of the link in time.
fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the gateway does not say that it announces names")
}

fn is_silent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

fn take_command(received: &mut BytesMut) -> io::Result<Option<Command>> {
    let frame = Frame::parse(received, MAX_FRAME_LEN).map_err(|error| invalid(error.to_string()))?;
    frame.map(Command::decode).transpose().map_err(|error| invalid(error.to_string()))
}

async fn read_more(reader: &mut LinkReader, received: &mut BytesMut) -> io::Result<()> {
    received.reserve(4096);
    match reader.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn invalid(error: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn push(writer: &LinkWriter, command: Command) -> io::Result<()> {
    writer.push(|out| command.encode(out)).map_err(io::Error::other)?;
    writer.flush();
    Ok(())
}

/// Ends the trust in the view of an interest link.
struct OverOnDrop<'a>(&'a LinkInterest, u64);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        // Where it is the view of another link already, the trust has ended before.
        let _ = self.0.update(self.1, InterestView::link_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_send_makes_no_interest_link_and_a_later_one_does() {
        let interest = LinkInterest::new(Interest::Asked, None);
        interest.set_offered(true);
        let names = Names::groups([&"group".into()]);
        for _ in 0..3 {
            assert!(interest.may_have(&names));
        }
        assert!(!*interest.is_used.borrow());
        tokio::time::advance(Duration::from_millis(NOTE_EVERY_MS)).await;
        assert!(interest.may_have(&names));
        assert!(*interest.is_used.borrow());
    }
}
