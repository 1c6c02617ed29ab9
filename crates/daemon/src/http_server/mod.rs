//! HTTP connections of a daemon: how many there may be, how slow, and how they end.
//!
//! It knows no path and no answer: each request goes to an [`HttpHandler`]. `gatewayworker-http` (calls),
//! `gatewayworker-metrics` and `gatewayworker-admin` (a page) serve with it, each on a listener of its own.

mod on_thread;
mod write_timeout;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::accept_loop;
pub use on_thread::serve_on_thread;
use write_timeout::WriteTimeout;

/// How many connections over the limit get an answer at a time; more are closed without one.
const MAX_REJECTED: usize = 64;

/// How long an idle connection stays open after the shutdown: a request may be on the way, and a
/// caller that gets no answer takes that for a failure.
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// The limits of HTTP connections.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// The most connections. One more is answered by [`HttpHandler::reject`] and closed.
    pub max_connections: usize,
    /// The longest head of a request, in bytes.
    pub max_head_bytes: usize,
    /// How long a head may take to come, and a piece of an answer to be taken. An idle connection ends
    /// after it too.
    pub read_timeout: Duration,
}

/// What answers the requests of a listener.
pub trait HttpHandler: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers a request of `peer`.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Notes that there are too many connections. Called for each connection over the limit.
    fn note_rejected(&self);

    /// Returns the answer to a request on a connection over the limit.
    fn reject(&self) -> Response<Self::Body>;
}

/// Serves `handler` until `shutdown` is cancelled; then accepts no more connections, and gives the requests
/// that run `grace` to end. Returns how many connections were ended after that. Dropping the future ends them
/// all.
pub async fn serve_http<H: HttpHandler>(
    listener: TcpListener,
    limits: HttpLimits,
    handler: Arc<H>,
    shutdown: CancellationToken,
    grace: Duration,
) -> usize {
    gatewayworker_net::tune(&listener);
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    let _end_with_this = end.clone().drop_guard();
    let server = Server::new(limits, handler, shutdown.clone(), end.clone());
    let accept = |stream, peer| {
        if let Some(connection) = server.accept(stream, peer) {
            connections.spawn(connection);
        }
    };
    accept_loop(&listener, &shutdown, accept).await;
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_ok() {
        return 0;
    }
    let late = connections.len();
    end.cancel();
    connections.wait().await;
    late
}

struct Server<H> {
    handler: Arc<H>,
    settings: http1::Builder,
    read_timeout: Duration,
    permits: Arc<Semaphore>,
    rejected: Arc<Semaphore>,
    shutdown: CancellationToken,
    end: CancellationToken,
}

impl<H: HttpHandler> Server<H> {
    fn new(limits: HttpLimits, handler: Arc<H>, shutdown: CancellationToken, end: CancellationToken) -> Self {
        let HttpLimits { max_connections, max_head_bytes, read_timeout } = limits;
        let mut settings = http1::Builder::new();
        settings.timer(TokioTimer::new()).header_read_timeout(read_timeout).max_header_size(max_head_bytes);
        Self {
            handler,
            settings,
            read_timeout,
            permits: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            rejected: Arc::new(Semaphore::new(MAX_REJECTED)),
            shutdown,
            end,
        }
    }

    /// Returns the future that serves a new connection. Over the limit it answers with a rejection, and
    /// `None` closes the connection without an answer.
    fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<H>> {
        let (permit, is_rejected) = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => {
                self.handler.note_rejected();
                (self.rejected.clone().try_acquire_owned().ok()?, true)
            }
        };
        let io = TokioIo::new(WriteTimeout::new(stream, self.read_timeout));
        let (handler, mut settings) = (self.handler.clone(), self.settings.clone());
        let (shutdown, end) = (self.shutdown.clone(), self.end.clone());
        Some(async move {
            let _permit = permit;
            if is_rejected {
                settings.keep_alive(false);
                let service = service_fn(move |_| std::future::ready(Ok(handler.reject())));
                run(&settings, io, service, shutdown, end).await;
            } else {
                let ends = shutdown.clone();
                let service = service_fn(move |request| {
                    let (answer, ends) = (handler.clone().handle(request, peer), ends.clone());
                    async move {
                        let mut answer = answer.await;
                        if ends.is_cancelled() {
                            // The next request would meet a closed connection.
                            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        Ok(answer)
                    }
                });
                run(&settings, io, service, shutdown, end).await;
            }
        })
    }
}

/// Serves a connection until its end; soon after `shutdown`, only until the running request is done.
async fn run<S, B>(
    settings: &http1::Builder,
    io: TokioIo<WriteTimeout<TcpStream>>,
    service: S,
    shutdown: CancellationToken,
    end: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let mut connection = pin!(settings.serve_connection(io, service));
    let last_requests = async {
        shutdown.cancelled().await;
        sleep(LAST_REQUEST_WAIT).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.cancelled() => return,
        () = last_requests => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = end.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended");
    }
}
