//! A trace on the operator's link: lines from the shard that has the client, until one says why the trace ends.
//!
//! [`Link::read`](super::Link) calls it with a question that has a connection of its own, and ends the link behind the
//! trace. The shard never waits for the link (`trace_queue`). A reader that does not read misses lines, and has them
//! counted; the trace is over when its time is, when the client or the reader is gone, or when the gateway stops.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker_net::{LinkReader, LinkWriter};
use gatewayworker_protocol::frame_answer;
use gatewayworker_protocol::inspect::{InspectAnswer, MAX_TRACE_SECONDS, TRACE_SILENCE, TraceLine};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::Link;
use super::error::LinkError;
use crate::core::inspect::connection_id;
use crate::core::trace::TraceId;
use crate::gateway_state::{GatewayState, MAX_TRACES};
use crate::shard::{NewTrace, ShardMessage};
use crate::trace_queue::TraceQueue;

/// How many bytes may wait in the link before lines wait in the trace's queue instead.
const AHEAD: u64 = 64 * 1024;

/// How often a link is looked at whose reader is behind.
const BEHIND: Duration = Duration::from_millis(50);

/// What an operator has asked for.
pub(super) struct TraceRequest {
    pub(super) id: String,
    pub(super) payloads: bool,
    pub(super) seconds: u32,
}

/// A trace under way. The shard ends it when this is dropped.
struct Trace {
    id: TraceId,
    /// Which shard has the client.
    shard: usize,
    queue: Arc<TraceQueue>,
    writer: Arc<LinkWriter>,
    shared: Arc<GatewayState>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.queue.close();
        // Where there is no room, the closed queue ends it.
        let _ = self.shared.shards[self.shard].try_send(ShardMessage::Untrace(self.id));
        if self.shared.stopping.is_cancelled() {
            // The link's task was cancelled, perhaps before it has written that the client is closed.
            self.queue.end("the gateway stops");
            while let Some(line) = self.queue.pop() {
                say_line(&self.writer, line);
            }
        }
    }
}

impl Link {
    /// Traces a client. Returns whether that was done, and not refused with a sentence: the link ends then.
    ///
    /// # Errors
    /// When a shard has ended.
    pub(super) async fn trace(
        &mut self,
        request: TraceRequest,
        socket: &mut LinkReader,
    ) -> Result<bool, LinkError> {
        let until = Instant::now() + Duration::from_secs(request.seconds.clamp(1, MAX_TRACE_SECONDS).into());
        // What stands in front of the question takes effect first.
        self.hand_over().await?;
        match self.begin_trace(request).await? {
            Ok(trace) => {
                self.write_trace(&trace, until, socket).await;
                Ok(true)
            }
            Err(why) => {
                self.writer.wait_for_room().await;
                say(&self.writer, &InspectAnswer::Error(why).to_json());
                Ok(false)
            }
        }
    }

    /// Begins a trace. Returns a sentence where it cannot be begun.
    ///
    /// # Errors
    /// When the shard has ended.
    async fn begin_trace(&self, request: TraceRequest) -> Result<Result<Trace, String>, LinkError> {
        let shared = &self.shard.shared;
        if self.worker.is_some() || self.keepalive.epoch().is_some() {
            return Ok(Err("a trace needs a connection of its own, and this is a worker's link".to_owned()));
        }
        let connection_id = match connection_id(&request.id, shared.address) {
            Ok(connection_id) => connection_id,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Ok(permit) = shared.traces.clone().try_acquire_owned() else {
            return Ok(Err(format!(
                "the gateway has {MAX_TRACES} traces already: end one, or wait for its end"
            )));
        };
        let shard = connection_id as usize % shared.shards.len();
        let (id, queue) = (TraceId(shared.next_seq()), Arc::new(TraceQueue::default()));
        let (writer, shared) = (self.writer.clone(), shared.clone());
        let trace =
            Trace { id, shard, queue: queue.clone(), writer, shared: shared.clone(), _permit: permit };
        let (begun, is_there) = oneshot::channel();
        let new = NewTrace { id, connection_id, payloads: request.payloads, queue, begun };
        // Where the shard has ended, `begun` is dropped, which the receiver notices.
        let _ = shared.shards[shard].send(ShardMessage::Trace(new)).await;
        match is_there.await.map_err(|_| LinkError::ShardGone(shard))? {
            true => Ok(Ok(trace)),
            false => Ok(Err("the client is not connected".to_owned())),
        }
    }

    /// Writes the lines of a trace as they come, until it ends.
    async fn write_trace(&mut self, trace: &Trace, until: Instant, socket: &mut LinkReader) {
        // It has begun.
        say(&self.writer, &[]);
        let mut silent_until = Instant::now() + TRACE_SILENCE;
        let mut is_over = false;
        loop {
            let mut is_behind = self.is_behind();
            // What waits at the end is bounded, and is written to a slow reader too.
            while (!is_behind || is_over)
                && let Some(line) = trace.queue.pop()
            {
                let is_end = line.is_end();
                say_line(&self.writer, line);
                if is_end {
                    return;
                }
                silent_until = Instant::now() + TRACE_SILENCE;
                is_behind = self.is_behind();
            }
            tokio::select! {
                () = trace.queue.changed(), if !is_behind => {}
                () = sleep(BEHIND), if is_behind => {}
                () = sleep_until(silent_until), if !is_behind => {
                    say(&self.writer, &[]);
                    silent_until = Instant::now() + TRACE_SILENCE;
                }
                () = sleep_until(until), if !is_over => {
                    is_over = true;
                    trace.queue.end("time is over");
                }
                read = socket.read_buf(&mut self.buffer) => match read {
                    Ok(1..) => self.buffer.clear(),
                    // The operator has seen enough.
                    Ok(0) | Err(_) => return,
                },
            }
        }
    }

    /// Whether the reader has not read what was written.
    fn is_behind(&self) -> bool {
        self.writer.flush();
        self.writer.pushed() - self.writer.written() > AHEAD
    }
}

fn say_line(writer: &LinkWriter, line: TraceLine) {
    say(writer, &InspectAnswer::Trace(line).to_json());
}

/// Pushes an answer. Where the link is closed, its task notices that itself.
fn say(writer: &LinkWriter, answer: &[u8]) {
    let _ = writer.push_over(|out| frame_answer(answer, out));
    writer.flush_soon();
}
