//! A backend for events over HTTP, on this machine: a test says what it answers, and looks at what it was sent.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use gatewayworker::SecretKey;
use gatewayworker_businessworker::EventsConfig;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::eventually;
use crate::tls::Certificate;

/// What backends in tests are signed for.
pub const EVENTS_SECRET: &str = "whsec_0123456789abcdef";

/// A backend. Dropped, it ends, and so do its connections.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    server: Option<AbortOnDropHandle<()>>,
}

struct Shared {
    received: Mutex<Vec<Posted>>,
    answer: Box<Answer>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The event.
    pub event: Value,
    /// The body as it came.
    pub body: Bytes,
    /// The headers.
    pub headers: HeaderMap,
    /// The version of HTTP.
    pub version: Version,
}

type Answer = dyn Fn(Posted) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync;

impl Backend {
    /// Starts a backend that answers events with `answer`.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn start<F>(answer: impl Fn(Posted) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let answer: Box<Answer> = Box::new(move |posted| Box::pin(answer(posted)));
        let shared = Arc::new(Shared { received: Mutex::default(), answer });
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut backend = Self { address, shared, tls: None, server: None };
        backend.begin().await;
        backend
    }

    /// Returns the backend, which takes TLS connections from now on, with this certificate and protocol, "h2" or "http/1.1".
    ///
    /// # Panics
    /// The certificate cannot be used.
    pub async fn over_tls(mut self, certificate: &Certificate, protocol: &str) -> Self {
        self.end().await;
        self.tls = Some(certificate.acceptor(protocol));
        self.begin().await;
        self
    }

    /// Starts a backend that answers each event with a status and this JSON.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn answering(status: u16, answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::start(move |posted| {
            let answer = answer(&posted.event);
            async move { (status, Json(answer)).into_response() }
        })
        .await
    }

    /// Listens, where it has listened before.
    ///
    /// # Panics
    /// It cannot.
    pub async fn begin(&mut self) {
        let listener = gatewayworker_net::listen(self.address, true, 1024).expect("the port is free");
        self.begin_on(listener);
    }

    /// Accepts the connections of a listener.
    ///
    /// # Panics
    /// It is not bound.
    pub fn begin_on(&mut self, listener: TcpListener) {
        self.address = listener.local_addr().expect("it is bound");
        let app = Router::new().fallback(handle).with_state(self.shared.clone());
        self.server = Some(AbortOnDropHandle::new(tokio::spawn(serve(listener, self.tls.clone(), app))));
    }

    /// Ends: connections are refused from now on.
    pub async fn end(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Returns what it was sent, in order.
    ///
    /// # Panics
    /// A request has panicked.
    pub fn received(&self) -> Vec<Posted> {
        self.shared.received.lock().expect("nothing panics under the lock").clone()
    }

    /// Returns the events of a name that it was sent, in order.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.received()
            .into_iter()
            .map(|posted| posted.event)
            .filter(|event| event["event"] == name)
            .collect()
    }

    /// Waits until it was sent an event of a name, and returns the first.
    pub async fn event(&self, name: &str) -> Value {
        eventually(name, async || !self.events(name).is_empty()).await;
        self.events(name).remove(0)
    }

    /// The settings of a worker that sends its events here, with short pauses.
    pub fn config(&self) -> EventsConfig {
        let mut config =
            EventsConfig::new(format!("http://{}/events", self.address), SecretKey::new(EVENTS_SECRET));
        config.retry_delay_ms = 10;
        config
    }
}

/// Serves connections, which end with this future.
async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: Router) {
    // axum's own tasks of connections outlive the future that serves them: this does not.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        let (app, tls) = (app.clone(), tls.clone());
        connections.spawn(async move {
            let service = TowerToHyperService::new(app);
            let Some(tls) = tls else {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
                return;
            };
            let Ok(connection) = tls.accept(connection).await else { return };
            let is_http2 = connection.get_ref().1.alpn_protocol() == Some(b"h2");
            let connection = TokioIo::new(connection);
            let _ = match is_http2 {
                true => http2::Builder::new(TokioExecutor::new()).serve_connection(connection, service).await,
                false => http1::Builder::new().serve_connection(connection, service).await,
            };
        });
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let event = serde_json::from_slice(&body).expect("an event is JSON");
    let posted = Posted { event, body, headers, version };
    shared.received.lock().expect("nothing panics under the lock").push(posted.clone());
    (shared.answer)(posted).await
}
