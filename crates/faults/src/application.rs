//! The application under test: a worker that writes the begin and the end of each handler to the journal, waits a few
//! milliseconds in each, and answers each message with its number.
//!
//! It runs as a process of its own (`faults businessworker`), which the rows kill and freeze. What it has written to
//! the journal survives it: a record is in the pipe before the handler goes on. With `defect`, it breaks its promises
//! on purpose, and confesses each time: `self_check` compares that with what the ledger finds.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewayworker_businessworker::{
    Admission, Cli, Client, ClientId, CloseReason, Events, Handshake, Message, Result, Start,
};
use gatewayworker_client::Error;
use serde::Deserialize;

use crate::ledger::{Connection, Defect, Event, Kind, Record};
use crate::message::{Action, Joining, Numbered, OBSERVE, Said, SayTo};

/// The `[app]` table of the worker's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The named pipe that `journal` reads.
    journal: PathBuf,
    /// The longest wait of a handler, in milliseconds; the shortest is a quarter of it.
    handler_ms: u64,
    /// The name of the defect to have.
    #[serde(default)]
    defect: Option<String>,
    /// Each connection's messages, or each client's closes, of which every so-manieth has the defect.
    #[serde(default)]
    defect_every: u32,
}

/// Runs the worker's process.
pub fn run(cli: Cli) -> ExitCode {
    gatewayworker_businessworker::run(cli, async |start: Start<Settings>| Application::new(start.app))
}

struct Application {
    journal: File,
    longest_wait: u64,
    defect: Option<(Defect, u32)>,
    /// What a defect has put off, by client, until the client's next event or its close.
    put_off: Mutex<HashMap<ClientId, PutOff>>,
}

enum PutOff {
    /// A message to handle behind its successor.
    Message(Numbered),
    /// A message to handle behind the close.
    ToTheClose(Numbered),
    /// A handler to end behind the begin of its successor.
    End(Event),
    /// A session to change, which was not.
    Session,
    /// A message to say the number of behind that of its successor.
    Saying(Numbered),
}

/// The group of the observers.
const OBSERVERS: &str = "observers";

/// The session's key that has the number of the last message.
const LAST: &str = "last";

/// An open handler. Dropped before its end, it was cancelled.
struct Handler<'a> {
    application: &'a Application,
    event: Event,
    has_ended: bool,
}

impl Application {
    fn new(settings: Settings) -> Result<Self> {
        let journal = OpenOptions::new().write(true).open(&settings.journal)?;
        let defect = match settings.defect {
            Some(name) => {
                let known = Defect::ALL.iter().find(|(_, known)| *known == name);
                let (defect, _) = known.ok_or_else(|| format!("there is no defect {name}"))?;
                Some((*defect, settings.defect_every.max(2)))
            }
            None => None,
        };
        Ok(Self { journal, longest_wait: settings.handler_ms, defect, put_off: Mutex::default() })
    }

    /// Writes one record, in one system call.
    fn write(&self, record: Record) {
        let line = format!("{record}\n");
        // A journal without a reader: the run is over.
        if (&self.journal).write_all(line.as_bytes()).is_err() {
            std::process::exit(1);
        }
    }

    fn confess(&self, defect: Defect) {
        self.write(Record::Confessed(defect));
    }

    fn begin(&self, event: Event) -> Handler<'_> {
        self.write(Record::Begin(event));
        Handler { application: self, event, has_ended: false }
    }

    async fn wait(&self) {
        let wait = rand::random_range(self.longest_wait / 4..=self.longest_wait);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Runs a handler that only waits.
    async fn pause(&self, event: Event) {
        let handler = self.begin(event);
        self.wait().await;
        handler.end();
    }

    /// Handles a message as it should be.
    async fn handle(&self, client: &Client, message: Numbered) -> Result {
        let handler = self.begin(event_of(client, Kind::Message(message.number), Some(message.connection)));
        match message.action {
            Action::Answer => self.wait().await,
            Action::Block(ms) => std::thread::sleep(Duration::from_millis(ms.into())),
            Action::Abort => {
                self.write(Record::Dies(std::process::id()));
                std::process::abort();
            }
        }
        self.say(client, message, handler.event).await;
        // A client that is gone, with its gateway or from it, has been handled all the same.
        let _ = client.send(message.number.to_string()).await;
        if self.is_due(Defect::Stale, message.number) {
            self.put_off(client, PutOff::Session);
        } else {
            keep_last(client, message.number)?;
        }
        handler.end();
        Ok(())
    }

    /// Says a message's number to the observers that it names.
    async fn say(&self, client: &Client, message: Numbered, event: Event) {
        let Some(say_to) = message.say_to else { return };
        let said = Said { worker: event.worker, connection: message.connection, number: message.number };
        let gateway = client.gateway();
        let delivery = match say_to {
            SayTo::Group => gateway.send_to_group([OBSERVERS], said.to_string()).await,
            SayTo::Client(id) => gateway.send_to_client(id, said.to_string()).await,
        };
        match delivery {
            Ok(delivery) => {
                let unreached = delivery.unreached.iter().map(|(gateway, _)| *gateway.ip());
                unreached.for_each(|gateway| self.write(Record::Unreached(event, gateway)));
            }
            Err(Error::Fenced) => self.write(Record::Fenced(event)),
            // The ledger finds out what it has cost.
            Err(_) => {}
        }
    }

    /// Whether this message, or this close, is one to have the defect.
    fn is_due(&self, defect: Defect, number: u32) -> bool {
        self.defect.is_some_and(|(own, every)| own == defect && number.is_multiple_of(every))
    }

    fn put_off(&self, client: &Client, what: PutOff) {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner).insert(client.id(), what);
    }

    fn take_put_off(&self, client: &Client) -> Option<PutOff> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner).remove(&client.id())
    }
}

impl Handler<'_> {
    fn end(mut self) {
        self.has_ended = true;
        self.application.write(Record::End(self.event.here()));
    }
}

impl Drop for Handler<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.application.write(Record::Abandoned(self.event.here()));
        }
    }
}

/// Counts the threads that run handlers.
static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static THREAD: u32 = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Event {
    /// The same event, written by this thread.
    fn here(self) -> Self {
        Self { thread: THREAD.with(|number| *number), ..self }
    }
}

fn event_of(client: &Client, kind: Kind, connection: Option<Connection>) -> Event {
    let client_id = u128::from_str_radix(&client.id().to_string(), 16).unwrap_or_default();
    let session = client.session().get(LAST).ok().flatten().unwrap_or_default();
    Event {
        worker: std::process::id(),
        thread: THREAD.with(|number| *number),
        client_id,
        kind,
        connection,
        redelivered: client.redelivered(),
        session,
    }
}

/// Notes in the session that a message was handled.
fn keep_last(client: &Client, number: u32) -> Result {
    let last = client.session().get(LAST)?.unwrap_or_default();
    Ok(client.session().insert(LAST, number.max(last))?)
}

/// Does what a joiner wants.
async fn join(client: &Client, joining: Joining) -> Result {
    let gateway = client.gateway();
    match joining {
        Joining::Join(group) => {
            let began = Instant::now();
            client.join_group(&group).await?;
            // The answer comes behind the join.
            gateway.session(client.id()).await?;
            let took_ms = began.elapsed().as_millis() as u64;
            client.send(Joining::Joined(group, took_ms).to_string()).await?;
        }
        Joining::Say(group) => {
            gateway.send_to_group([&group], Joining::Said(group.clone()).to_string()).await?;
        }
        Joining::Joined(..) | Joining::Said(_) => {}
    }
    Ok(())
}

impl Events for Application {
    async fn on_connect(&self, client: &Client) -> Result {
        self.pause(event_of(client, Kind::Connect, None)).await;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        let number = |name| handshake.get(name).and_then(|text| text.parse().ok());
        let connection = number("client").zip(number("connection"));
        let connection = connection.map(|(client, number)| Connection { client, number });
        self.pause(event_of(client, Kind::Handshake, connection)).await;
        Ok(Admission::Admit)
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        if message.text()? == OBSERVE {
            client.join_group(OBSERVERS).await?;
            client.send(client.id().to_string()).await?;
            return Ok(());
        }
        if let Some(joining) = Joining::parse(message.text()?) {
            return join(client, joining).await;
        }
        let message = Numbered::parse(message.text()?).ok_or("a message of no client of ours")?;
        let number = message.number;
        match self.take_put_off(client) {
            Some(PutOff::Message(earlier)) => {
                self.confess(Defect::Swapped);
                self.handle(client, message).await?;
                return self.handle(client, earlier).await;
            }
            Some(PutOff::End(earlier)) => {
                self.confess(Defect::Overlapped);
                self.handle(client, message).await?;
                self.write(Record::End(earlier));
                return Ok(());
            }
            Some(kept @ PutOff::ToTheClose(_)) => {
                self.put_off(client, kept);
                return self.handle(client, message).await;
            }
            Some(PutOff::Saying(earlier)) => {
                self.confess(Defect::SaidSwapped);
                self.handle(client, message).await?;
                let event = event_of(client, Kind::Message(earlier.number), Some(earlier.connection));
                self.say(client, earlier, event).await;
                return Ok(());
            }
            // The handler that comes finds the session as it was.
            Some(PutOff::Session) => self.confess(Defect::Stale),
            None => {}
        }
        if self.is_due(Defect::Lost, number) {
            self.confess(Defect::Lost);
            return Ok(());
        }
        if self.is_due(Defect::Swapped, number) {
            self.put_off(client, PutOff::Message(message));
            return Ok(());
        }
        if self.is_due(Defect::BehindClose, number) {
            self.put_off(client, PutOff::ToTheClose(message));
            return Ok(());
        }
        if self.is_due(Defect::Overlapped, number) {
            let event = event_of(client, Kind::Message(number), Some(message.connection));
            self.write(Record::Begin(event));
            client.send(number.to_string()).await?;
            keep_last(client, number)?;
            self.put_off(client, PutOff::End(event));
            return Ok(());
        }
        if self.is_due(Defect::SaidLost, number) || self.is_due(Defect::SaidSwapped, number) {
            self.handle(client, Numbered { say_to: None, ..message }).await?;
            match self.is_due(Defect::SaidLost, number) {
                true => self.confess(Defect::SaidLost),
                false => self.put_off(client, PutOff::Saying(message)),
            }
            return Ok(());
        }
        if self.is_due(Defect::SaidDoubled, number) {
            self.confess(Defect::SaidDoubled);
            let event = event_of(client, Kind::Message(number), Some(message.connection));
            self.say(client, message, event).await;
        }
        if self.is_due(Defect::Doubled, number) {
            self.confess(Defect::Doubled);
            self.handle(client, message).await?;
        }
        self.handle(client, message).await
    }

    async fn on_close(&self, client: &Client, _: CloseReason) -> Result {
        let close = event_of(client, Kind::Close, None);
        match self.take_put_off(client) {
            Some(PutOff::Message(earlier)) => self.handle(client, earlier).await?,
            Some(PutOff::ToTheClose(message)) => {
                self.pause(close).await;
                self.confess(Defect::BehindClose);
                // The message before it comes once more, so that it follows an event that is not the close.
                let kind = Kind::Message(message.number - 1);
                let again = event_of(client, kind, Some(message.connection));
                self.pause(Event { redelivered: true, ..again }).await;
                return self.handle(client, message).await;
            }
            Some(PutOff::End(earlier)) => self.write(Record::End(earlier)),
            Some(PutOff::Saying(earlier)) => self.say(client, earlier, close).await,
            Some(PutOff::Session) | None => {}
        }
        let number = rand::random_range(0..1000);
        if self.is_due(Defect::CloseLost, number) {
            self.confess(Defect::CloseLost);
            return Ok(());
        }
        if self.is_due(Defect::CloseDoubled, number) {
            self.confess(Defect::CloseDoubled);
            self.pause(close).await;
        }
        self.pause(close).await;
        Ok(())
    }
}
