//! [`Events`]: the trait that an application implements.
//!
//! `serve` and `handler` call its methods; the defaults do nothing.

use gatewayworker_client::Gateway;
use gatewayworker_protocol::CloseReason;

use crate::{Admission, Client, Handshake, Message};

/// Any error: a handler may return the errors of its libraries.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a handler. An `Err` is logged with the client's id and counted.
pub type Result<T = ()> = std::result::Result<T, BoxError>;

/// The handlers of an application, one for each kind of event: the original's `Events`
/// class, in Rust's spelling. Implementations write `async fn`.
///
/// The handlers of one client run one after the other, in the order in which the events
/// left its gateway; those of different clients run side by side. An `Err` or a panic
/// harms no other handler. By default a method does nothing.
///
/// Each event is handled at least once. A worker tells the gateway when an event is done: its handler has
/// returned, with `Ok`, `Err` or a panic, and what it sent is written. What a worker has not said so of
/// when it dies, falls silent or is cut off, the gateway gives to another worker, in order, and
/// [`Client::redelivered`] says so there. What a handler leaves to a task that it spawns is not part of
/// that. Once a link to its gateway has ended, an event may be another worker's: the calls of its handler here
/// fail with [`Error::Fenced`](gatewayworker_client::Error::Fenced). If it proves to be nobody else's, as the
/// gateway is lost, this worker calls the handler once more. (A gateway of the original gives nothing to
/// others: events that a worker had are lost with it.)
///
/// A handler must not block its thread: code that waits without `await`, or computes for
/// long, belongs into `tokio::task::spawn_blocking`. A handler that blocks holds up the
/// events of other clients; one that blocks on an answer of a gateway holds up that
/// answer.
///
/// A session that a handler changed is written back when the handler returns, with `Ok`
/// or `Err`. When it panicked or was cancelled, its changes are not written.
pub trait Events: Send + Sync + 'static {
    /// Says whether gateways are to tell, with each event, what they know of its client: [`Client::context`]. Asked
    /// once, when the worker starts. Each event is longer then, by the names of the client's uid and groups; by default
    /// it is not.
    fn takes_context(&self) -> bool {
        false
    }

    /// Called once, before the first event. The handle is cheap to clone: start
    /// background tasks that send in here. An `Err` keeps the worker from starting.
    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }

    /// Called when a client has connected.
    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// Called with a WebSocket client's handshake, after `on_connect`. The returned
    /// [`Admission`] admits or refuses the client; an `Err` or a panic refuses it. A
    /// refused client is closed, and none of its messages is handled.
    ///
    /// Until the client is admitted it gets what is sent to its own id, and no broadcast;
    /// see [`Admission`]. By default every client is admitted.
    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        let _ = (client, handshake);
        async { Ok(Admission::Admit) }
    }

    /// Called with a client's message.
    fn on_message(&self, client: &Client, message: Message) -> impl Future<Output = Result> + Send {
        let _ = (client, message);
        async { Ok(()) }
    }

    /// Called when the connection of a client that may come back is cut: one of `gw.1`, at a listener with `resume`. The
    /// client is online all the same: its uid, groups and session stay, and what it is sent waits for it, until it comes
    /// back, or the gateway gives it up, which is [`on_close`](Self::on_close). For a push to the person's phone, or for a
    /// mark in the list of who is there; most applications have nothing to do here.
    ///
    /// It is called behind the messages that the client has sent before. A cut that is over before a worker could take the event
    /// is not told. A gateway notices a line that has just died after some time (`resume_ping_ms`); where the client is
    /// back before that, only [`on_resumed`](Self::on_resumed) is called.
    fn on_detached(&self, client: &Client) -> impl Future<Output = Result> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// Called when such a client has come back, with the handshake of its new connection:
    /// [`Client::remote_addr`] may be another one now. It cannot be refused here;
    /// [`close`](Client::close) closes it. The handshake is empty where the client has come back to another gateway
    /// than its own and has sent more than 60 KB of headers.
    fn on_resumed(&self, client: &Client, handshake: &Handshake) -> impl Future<Output = Result> + Send {
        let _ = (client, handshake);
        async { Ok(()) }
    }

    /// Called when a client is gone. Its session can be read; changes to it are not kept.
    /// [`Client::close_frame`] is the code and the reason that the client gave, if it did.
    ///
    /// It is called once for each client whose `on_connect` was called; more than once only where a
    /// process dies or a link ends, and [`Client::redelivered`] is true then. With
    /// [`GatewayLost`](CloseReason::GatewayLost) the gateway itself is gone, and the worker that had the
    /// client last calls it. Calls to the client fail then, those to others do not.
    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        let _ = (client, reason);
        async { Ok(()) }
    }

    /// Called once when the worker stops, after the last handler has returned, or
    /// `shutdown_timeout_ms` are over. An `Err` is logged.
    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }
}

impl<E: Events> Events for std::sync::Arc<E> {
    fn takes_context(&self) -> bool {
        (**self).takes_context()
    }

    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        (**self).on_worker_start(gateway)
    }

    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        (**self).on_connect(client)
    }

    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        (**self).on_websocket_connect(client, handshake)
    }

    fn on_message(&self, client: &Client, message: Message) -> impl Future<Output = Result> + Send {
        (**self).on_message(client, message)
    }

    fn on_detached(&self, client: &Client) -> impl Future<Output = Result> + Send {
        (**self).on_detached(client)
    }

    fn on_resumed(&self, client: &Client, handshake: &Handshake) -> impl Future<Output = Result> + Send {
        (**self).on_resumed(client, handshake)
    }

    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        (**self).on_close(client, reason)
    }

    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        (**self).on_worker_stop(gateway)
    }
}
