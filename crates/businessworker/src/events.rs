//! The one trait that an application writes.

use gatewayworker_client::Gateway;
use gatewayworker_protocol::CloseReason;

use crate::{Admission, Client, Handshake, Message};

/// Any error: a handler may return what its libraries do.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a handler returns. An `Err` is logged with the client's id and counted.
pub type Result<T = ()> = std::result::Result<T, BoxError>;

/// What an application does when something happens: the original's `Events` class,
/// in Rust's spelling. Implementations write `async fn`.
///
/// The events of one client run one after the other, in the order in which they
/// left its gateway; those of different clients side by side. An `Err` or a panic takes
/// nobody else down. Every method does nothing unless written.
///
/// A handler must not block its thread: what waits without `await`, or computes for
/// long, belongs into `tokio::task::spawn_blocking`. It holds up events of others; and
/// where it blocks on an answer of a gateway, it holds up that answer.
///
/// A session that the handler changed is written back when it returns, with `Ok`
/// or `Err`; when it panicked or was cancelled, what it had done by then is not.
pub trait Events: Send + Sync + 'static {
    /// Once, before the first event. The handle is cheap to clone: background tasks
    /// that send begin here. An `Err` keeps the worker from starting.
    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }

    /// A client has arrived.
    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// A WebSocket client's handshake, after `on_connect`. Refused, or with an `Err`
    /// or a panic, the client is closed and none of its messages is handled.
    ///
    /// Until this returns the client is not in: it gets what is sent to its own id, and
    /// no broadcast; see [`Admission`].
    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        let _ = (client, handshake);
        async { Ok(Admission::Admit) }
    }

    /// A client has said something.
    fn on_message(&self, client: &Client, message: Message) -> impl Future<Output = Result> + Send {
        let _ = (client, message);
        async { Ok(()) }
    }

    /// A client is gone. Its session can be read; changes to it are not kept.
    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        let _ = (client, reason);
        async { Ok(()) }
    }

    /// Once, before a clean exit, after the last handler has returned.
    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }
}

impl<E: Events> Events for std::sync::Arc<E> {
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

    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        (**self).on_close(client, reason)
    }

    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        (**self).on_worker_stop(gateway)
    }
}
