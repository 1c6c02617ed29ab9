//! A trace: the frames of one client, as its gateway reads and queues them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use gatewayworker_protocol::ClientId;
use gatewayworker_protocol::inspect::{
    InspectAnswer, InspectRequest, TRACE_SECONDS, TRACE_SILENCE, TraceLine,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Asked, InspectError, Inspector};

/// How many lines wait for the caller. Then the connection is not read, and the gateway leaves lines out.
const CHANNEL: usize = 64;

/// After a silence of this length the gateway is gone: it says something each [`TRACE_SILENCE`].
const SILENT: Duration = TRACE_SILENCE.saturating_mul(3);

/// What a trace shows, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceOptions {
    /// Show the first bytes of each frame; by default only kinds and lengths.
    pub payloads: bool,
    /// For how long, from 1 to [`MAX_TRACE_SECONDS`](super::MAX_TRACE_SECONDS); [`TRACE_SECONDS`] by default.
    pub seconds: u32,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { payloads: false, seconds: TRACE_SECONDS }
    }
}

impl TraceOptions {
    /// Returns the options with payloads, or without.
    pub fn with_payloads(self, payloads: bool) -> Self {
        Self { payloads, ..self }
    }

    /// Returns the options with this length, in seconds.
    pub fn with_seconds(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }
}

/// A trace under way: a stream of its lines. The gateway ends it when this is dropped.
///
/// Lines wait in a channel of fixed size. A caller that is slower than the client misses lines, which
/// [`TraceLine::Missed`] counts.
#[derive(Debug)]
pub struct Trace {
    gateway: String,
    lines: mpsc::Receiver<Result<TraceLine, InspectError>>,
    _reading: AbortOnDropHandle<()>,
}

impl Inspector {
    /// Begins a trace of a client: its frames from now on, up to its close, and at most for the time of the options.
    /// Returns when the gateway has begun.
    ///
    /// Cancel safe: a trace that nobody has got is ended.
    ///
    /// # Errors
    /// When the gateway does not begin within the time limit; [`Refused`](InspectError::Refused) where the client is
    /// not connected, or the gateway has as many traces as it may have.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use gatewayworker_client::inspect::{Inspector, TraceLine, TraceOptions};
    ///
    /// let inspector = Inspector::builder(["127.0.0.1:1236"]).connect();
    /// let client = "7f00000108fc86622f2b".parse()?;
    /// let mut trace = inspector.trace(client, TraceOptions::default().with_payloads(true)).await?;
    /// while let Some(line) = trace.next().await {
    ///     match line? {
    ///         TraceLine::Frame(frame) => println!("{:?} {:?}", frame.direction, frame.preview.payload),
    ///         TraceLine::Missed { missed } => println!("{missed} frames are left out"),
    ///         TraceLine::End { end } => println!("{end}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn trace(&self, client: ClientId, options: TraceOptions) -> Result<Trace, InspectError> {
        let TraceOptions { payloads, seconds } = options;
        let request = InspectRequest::Trace { id: client.to_string(), payloads, seconds };
        let gateway = client.gateway().to_string();
        let until = Instant::now() + self.settings.timeout;
        let mut asked = self.question(&gateway, until, &request).await?;
        // An answer without a byte: it has begun.
        let first = asked.first(until).await?;
        if !first.is_empty() {
            return Err(match InspectAnswer::from_json(&first) {
                Some(InspectAnswer::Error(why)) => InspectError::Refused { gateway, why },
                _ => InspectError::BadAnswer { gateway },
            });
        }
        let (sender, lines) = mpsc::channel(CHANNEL);
        let reading = tokio::spawn(read(asked, sender));
        Ok(Trace { gateway, lines, _reading: AbortOnDropHandle::new(reading) })
    }
}

impl Trace {
    /// Returns the address of the client's gateway.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Returns the next line, or why the trace has broken off; `None` behind that, and behind
    /// [`TraceLine::End`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the connection has failed, or the gateway is silent for 30 s.
    pub async fn next(&mut self) -> Option<Result<TraceLine, InspectError>> {
        self.lines.recv().await
    }
}

impl Stream for Trace {
    type Item = Result<TraceLine, InspectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lines.poll_recv(cx)
    }
}

/// Reads lines until the last.
async fn read(mut asked: Asked, lines: mpsc::Sender<Result<TraceLine, InspectError>>) {
    loop {
        let line = next_line(&mut asked).await;
        let is_last = line.as_ref().is_ok_and(|line| line.as_ref().is_some_and(TraceLine::is_end));
        let is_over = is_last || line.is_err();
        if let Some(line) = line.transpose()
            && lines.send(line).await.is_err()
        {
            return;
        }
        if is_over {
            return;
        }
    }
}

/// Reads a line; `None` where it is a mere sign of life.
async fn next_line(asked: &mut Asked) -> Result<Option<TraceLine>, InspectError> {
    let answered = timeout(SILENT, asked.next()).await;
    let gateway = asked.gateway.clone();
    let broken_off = |why: String| InspectError::BrokenOff { gateway: gateway.clone(), why };
    let answer = match answered {
        Err(_) => return Err(broken_off(format!("nothing was heard of it for {} s", SILENT.as_secs()))),
        Ok(Err(error)) => return Err(broken_off(error.to_string())),
        Ok(Ok(None)) => return Err(broken_off("the connection was closed".to_owned())),
        Ok(Ok(Some(answer))) => answer,
    };
    if answer.is_empty() {
        return Ok(None);
    }
    match InspectAnswer::from_json(&answer) {
        Some(InspectAnswer::Trace(line)) => Ok(Some(line)),
        Some(InspectAnswer::Error(why)) => Err(InspectError::Refused { gateway, why }),
        _ => Err(InspectError::BadAnswer { gateway }),
    }
}
