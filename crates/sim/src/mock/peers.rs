//! The mock's workers and clients: a worker echoes, a client speaks and checks what comes back.

use super::Histories;
use super::frames::{CLOSE, CONNECT, Frame, MESSAGE};
use super::gateway::WORKERS;
use crate::client_script::ClientAction;
use crate::history::ClientEvent;
use crate::model::{Context, Input};
use crate::network::{ReadOutcome, Socket, Written};
use crate::violation::{Violation, ensure};

const CLIENTS: u16 = 2;

/// How long a worker waits before it connects again.
const RETRY_MS: u64 = 10;

/// A connection with what waits on both sides of it.
#[derive(Debug)]
struct Stream {
    socket: Socket,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Stream {
    fn new(socket: Socket) -> Self {
        Self { socket, inbox: Vec::new(), outbox: Vec::new() }
    }

    /// Reads all that has arrived; false when there will be no more.
    fn read(&mut self) -> bool {
        let mut scratch = [0; 1024];
        loop {
            match self.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => self.inbox.extend_from_slice(&scratch[..n]),
                ReadOutcome::Empty => return true,
                ReadOutcome::End | ReadOutcome::Reset => return false,
            }
        }
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty()
            && let Written::Bytes(n) = self.socket.try_write(&self.outbox)
        {
            self.outbox.drain(..n);
        }
    }
}

/// A worker.
#[derive(Debug, Default)]
pub struct Worker {
    link: Option<Stream>,
    pub(super) retry_at_ms: Option<u64>,
}

impl Worker {
    pub(super) fn start(context: &mut Context<'_>) -> Self {
        Self { link: Some(Stream::new(context.connect(super::GATEWAY, WORKERS))), retry_at_ms: None }
    }

    pub(super) fn step<A>(
        &mut self,
        input: Input<A>,
        histories: &mut Histories,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Input::Deadline = input {
            *self = Self::start(context);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        let is_open = !matches!(input, Input::Readable(_)) || link.read();
        while let Some(frame) = Frame::take(&mut link.inbox) {
            let event = match frame.kind {
                CONNECT => ClientEvent::Connect,
                MESSAGE => ClientEvent::Message(frame.number),
                CLOSE => ClientEvent::Close,
                kind => return Err(Violation::new("frames-are-whole", format!("kind {kind}"))),
            };
            histories.add(frame.client, event)?;
            if frame.kind == MESSAGE {
                link.outbox.extend(frame.encode());
            }
        }
        link.flush();
        if !is_open {
            self.link = None;
            self.retry_at_ms = Some(context.now_ms + RETRY_MS);
        }
        Ok(())
    }
}

/// A client.
#[derive(Debug, Default)]
pub struct Client {
    stream: Option<Stream>,
    stopped_reading: bool,
    sent: u64,
    echoed: u64,
}

impl Client {
    pub(super) fn step(
        &mut self,
        input: Input<ClientAction>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        match (input, &mut self.stream) {
            (Input::Act(ClientAction::Connect(_)), None) => {
                let socket = context.connect(super::GATEWAY, CLIENTS);
                *self = Self { stream: Some(Stream::new(socket)), ..Self::default() };
            }
            (Input::Act(ClientAction::Speak(filling)), Some(stream)) => {
                let frame = Frame { kind: MESSAGE, client: 0, number: self.sent, filling };
                self.sent += 1;
                stream.outbox.extend(frame.encode());
                stream.flush();
            }
            (Input::Act(ClientAction::StopReading), Some(_)) => self.stopped_reading = true,
            (Input::Act(ClientAction::ReadAgain), Some(_)) => {
                self.stopped_reading = false;
                self.read()?;
            }
            (Input::Act(ClientAction::Leave) | Input::Finish(_), Some(_)) => self.stream = None,
            (Input::Act(ClientAction::Reset), Some(stream)) => {
                stream.socket.reset();
                self.stream = None;
            }
            (Input::Readable(id), Some(stream)) if stream.socket.id() == id => self.read()?,
            (Input::Writable(_), Some(stream)) => stream.flush(),
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Violation> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.stopped_reading) else { return Ok(()) };
        let is_open = stream.read();
        while let Some(frame) = Frame::take(&mut stream.inbox) {
            let (expected, number) = (self.echoed, frame.number);
            let details = || format!("{number} came instead of {expected}");
            ensure(number == expected && number < self.sent, "echoes-in-order", details)?;
            self.echoed += 1;
        }
        if !is_open {
            self.stream = None;
        }
        Ok(())
    }
}
