//! A look into a running cluster, for an operator: [`Inspector`] asks every gateway INSPECT.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gatewayworker_client::inspect::{ClientQuery, InspectAnswer, InspectRequest, Inspector};
//!
//! let inspector = Inspector::builder(["127.0.0.1:1236"]).connect();
//! let slowest = InspectRequest::Clients(ClientQuery::default());
//! for (gateway, answer) in inspector.ask(&slowest).await {
//!     match answer {
//!         Ok(InspectAnswer::Clients(list)) => println!("{gateway}: {:?}", list.clients),
//!         Ok(_) => {}
//!         Err(why) => eprintln!("{why}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Each question has a connection of its own: a PHP gateway, or one of an older version, does not answer it, and an
//! answer to another question behind it could not be told apart. Nothing here touches the call links of a
//! [`Gateway`](crate::Gateway) handle.

mod trace;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use gatewayworker_net::{LinkReader, LinkSink, LinkStream, LinkTls, RegisterLinks, registers};
use gatewayworker_protocol::{Command, Hello, Question, SecretKey, parse_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub use gatewayworker_protocol::inspect::*;
pub use trace::{Trace, TraceOptions};

/// The longest answer that is read, in bytes: 1000 clients with names of 256 bytes are far below.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// How long the first question waits for the other registers, once one has listed gateways.
const OTHER_REGISTERS: Duration = Duration::from_millis(500);

/// How often it looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// Asks the gateways that the registers list. Its connections to the registers end when it is dropped.
#[derive(Debug)]
pub struct Inspector {
    registers: Vec<String>,
    settings: Settings,
    addresses: watch::Receiver<Vec<String>>,
    links: RegisterLinks,
    _following: AbortOnDropHandle<()>,
}

/// Makes an [`Inspector`].
#[derive(Debug)]
#[must_use = "it does nothing until it is connected"]
pub struct InspectorBuilder {
    registers: Vec<String>,
    settings: Settings,
}

#[derive(Debug, Clone)]
struct Settings {
    secret_key: SecretKey,
    tls: Option<LinkTls>,
    timeout: Duration,
}

/// Why a gateway has not answered an [`InspectRequest`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It cannot be connected to, or the connection has failed.
    #[error("the gateway at {gateway} cannot be reached: {error}")]
    NotConnected {
        /// Its address, as a register lists it.
        gateway: String,
        /// The system's error.
        error: io::Error,
    },
    /// It has closed the connection, as it does where it has another key.
    #[error("the gateway at {gateway} closed the connection: has it the same secret_key?")]
    Closed {
        /// Its address.
        gateway: String,
    },
    /// It has said nothing within the time limit.
    #[error(
        "the gateway at {gateway} has not answered INSPECT in time: it hangs, or it is of PHP or of an older version"
    )]
    NoAnswer {
        /// Its address.
        gateway: String,
    },
    /// Its answer cannot be read.
    #[error(
        "the gateway at {gateway} answers INSPECT in a way that is not known here: is it a newer version?"
    )]
    BadAnswer {
        /// Its address.
        gateway: String,
    },
    /// It has said why it does not answer.
    #[error("the gateway at {gateway} does not answer the question: {why}")]
    Refused {
        /// Its address.
        gateway: String,
        /// Its reason, a sentence.
        why: String,
    },
    /// A trace has ended without its last line.
    #[error("the trace of the gateway at {gateway} has broken off: {why}")]
    BrokenOff {
        /// Its address.
        gateway: String,
        /// What happened.
        why: String,
    },
}

impl InspectorBuilder {
    /// Sets the key of the cluster; none by default.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.settings.secret_key = key;
        self
    }

    /// Speaks TLS with gateways and registers; plain TCP by default.
    pub fn link_tls(mut self, tls: impl Into<Option<LinkTls>>) -> Self {
        self.settings.tls = tls.into();
        self
    }

    /// Sets how long a gateway may take to answer, from the attempt to connect on; 5 seconds by default. The first
    /// question waits as long for the registers.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = limit;
        self
    }

    /// Returns the inspector at once. It connects to the registers in the background.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(self) -> Inspector {
        let Self { registers, settings } = self;
        let (list, addresses) = watch::channel(Vec::new());
        let links = RegisterLinks::default();
        let (names, followed, Settings { secret_key, tls, .. }) =
            (registers.clone(), links.clone(), settings.clone());
        let following = tokio::spawn(async move {
            // A daemon that has an inspector logs how its own links to the same registers are.
            registers::follow_silently(&names, &secret_key, tls.as_ref(), list, &followed).await;
        });
        Inspector { registers, settings, addresses, links, _following: AbortOnDropHandle::new(following) }
    }
}

impl Inspector {
    /// Begins an inspector of the gateways that these registers list, each `host:port`.
    pub fn builder<R: Into<String>>(registers: impl IntoIterator<Item = R>) -> InspectorBuilder {
        let settings =
            Settings { secret_key: SecretKey::default(), tls: None, timeout: Duration::from_secs(5) };
        InspectorBuilder { registers: registers.into_iter().map(Into::into).collect(), settings }
    }

    /// Returns the addresses of the gateways that are listed. Waits for a register that lists one, within the time
    /// limit, and then a little for the other registers. Empty where none does.
    ///
    /// Cancel safe.
    pub async fn gateways(&self) -> Vec<String> {
        let mut addresses = self.addresses.clone();
        // It fails only where the sender is dropped, and the task of this inspector holds it.
        let listed = addresses.wait_for(|list| !list.is_empty());
        if timeout(self.settings.timeout, listed).await.is_ok_and(|listed| listed.is_ok()) {
            let until = Instant::now() + OTHER_REGISTERS;
            while !self.are_all_up() && Instant::now() < until {
                tokio::time::sleep(LOOK).await;
            }
        }
        self.listed()
    }

    /// Returns the addresses of the gateways that are listed now, sorted, without waiting for a register.
    pub fn listed(&self) -> Vec<String> {
        let mut gateways = self.addresses.borrow().clone();
        gateways.sort_unstable();
        gateways
    }

    /// Returns the registers, as they were given, and whether each is connected.
    pub fn registers(&self) -> impl Iterator<Item = (&str, bool)> {
        self.registers.iter().map(|register| (register.as_str(), self.links.is_up(register)))
    }

    fn are_all_up(&self) -> bool {
        self.registers().all(|(_, is_up)| is_up)
    }

    /// Asks all gateways side by side. Returns the answer of each, or why it has none, in the order of their
    /// addresses. Empty where no register lists a gateway.
    ///
    /// Cancel safe.
    pub async fn ask(&self, request: &InspectRequest) -> Vec<(String, Result<InspectAnswer, InspectError>)> {
        let gateways = self.gateways().await;
        join_all(gateways.into_iter().map(|gateway| async move {
            let answer = self.ask_one(&gateway, request).await;
            (gateway, answer)
        }))
        .await
    }

    /// Asks one gateway. A trace has many answers, and a method of its own: [`trace`](Self::trace).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When it does not answer within the time limit.
    pub async fn ask_one(
        &self,
        gateway: &str,
        request: &InspectRequest,
    ) -> Result<InspectAnswer, InspectError> {
        let until = Instant::now() + self.settings.timeout;
        let mut asked = self.question(gateway, until, request).await?;
        let answer = asked.first(until).await?;
        let gateway = gateway.to_owned();
        match InspectAnswer::from_json(&answer) {
            Some(InspectAnswer::Error(why)) => Err(InspectError::Refused { gateway, why }),
            Some(answer) => Ok(answer),
            None => Err(InspectError::BadAnswer { gateway }),
        }
    }

    /// Connects to a gateway, and writes the question.
    async fn question(
        &self,
        gateway: &str,
        until: Instant,
        request: &InspectRequest,
    ) -> Result<Asked, InspectError> {
        let Settings { secret_key, tls, .. } = &self.settings;
        let asking = async {
            let stream = LinkStream::connect(gateway, tls.as_ref()).await?;
            let (reading, mut writing) = stream.into_split();
            let mut frames = BytesMut::new();
            // As on a call link: without a key there is no hello.
            if !secret_key.is_empty() {
                let secret_key = Some(secret_key.clone());
                let hello = Hello { worker_key: None, secret_key, features: None, process: None };
                Command::ClientConnect(hello).encode(&mut frames);
            }
            Command::Ask(Question::Inspect(request.clone())).encode(&mut frames);
            writing.write_all(&frames).await?;
            writing.flush().await?;
            io::Result::Ok((reading, writing))
        };
        let gateway = gateway.to_owned();
        match timeout_at(until, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok((reading, writing)) => {
                Ok(Asked { gateway, reading, _writing: writing, buffer: BytesMut::new() })
            }
            // The gateway has refused the key while it was written to.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(InspectError::Closed { gateway })
            }
            Err(error) => Err(InspectError::NotConnected { gateway, error }),
        }
    }
}

/// A question that was written to a gateway, on a connection of its own.
#[derive(Debug)]
struct Asked {
    gateway: String,
    reading: LinkReader,
    /// The connection is open while this is.
    _writing: LinkSink,
    buffer: BytesMut,
}

impl Asked {
    /// Reads the first answer.
    ///
    /// # Errors
    /// When there is none in time.
    async fn first(&mut self, until: Instant) -> Result<Bytes, InspectError> {
        let answered = timeout_at(until, self.next()).await;
        let gateway = self.gateway.clone();
        match answered {
            Err(_) => Err(InspectError::NoAnswer { gateway }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(InspectError::BadAnswer { gateway })
            }
            // A gateway that refuses the key has closed the connection before it has read the question.
            Ok(Ok(None)) => Err(InspectError::Closed { gateway }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(InspectError::Closed { gateway })
            }
            Ok(Err(error)) => Err(InspectError::NotConnected { gateway, error }),
            Ok(Ok(Some(answer))) => Ok(answer),
        }
    }

    /// Reads the next answer; `None` where the gateway has closed the connection.
    ///
    /// # Errors
    /// When the connection fails; `InvalidData` where the answer is too long.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let answer = parse_answer(&mut self.buffer, MAX_ANSWER);
            let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if answer.is_some() {
                return Ok(answer);
            }
            if self.reading.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}
