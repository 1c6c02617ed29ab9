//! The paths and their answers. [`serve`] runs beside a daemon, which is the [`Source`] of the numbers.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_daemon::{Counter, HttpHandler, HttpLimits, build_info, serve_http};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::accept::Format;
use crate::application::Metrics;
use crate::families::{Families, Kind};
use crate::health::Health;
use crate::process::Process;

/// The limits of the connections: a few scrapers and load balancers.
const LIMITS: HttpLimits =
    HttpLimits { max_connections: 64, max_head_bytes: 16 * 1024, read_timeout: Duration::from_secs(10) };

/// How long requests that run may take when the daemon ends.
const GRACE: Duration = Duration::from_secs(1);

/// The type of answers that are sentences.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Where a daemon's numbers come from.
pub trait Source: Send + Sync + 'static {
    /// Reads the daemon's counters into families. It is called once at a time, for each scrape, and must end by
    /// itself, whatever becomes of the daemon's threads.
    fn read(&self, into: &mut Families) -> impl Future<Output = ()> + Send;
}

/// The metrics and the health of one daemon.
#[derive(Debug)]
pub struct Exporter<S> {
    source: S,
    health: Health,
    application: Option<Metrics>,
    process: Process,
    /// One scrape at a time: many scrapers cost a daemon no more than one.
    turn: Mutex<()>,
    /// Connections over the limit.
    rejected: Counter,
}

/// Answers scrapes and health checks until `end` is cancelled. Dropping the future ends all connections.
pub async fn serve<S: Source>(listener: TcpListener, exporter: Exporter<S>, end: CancellationToken) {
    serve_http(listener, LIMITS, Arc::new(exporter), end, GRACE).await;
}

/// Does what [`serve`] does on a thread of its own, until `end` is cancelled: an application whose handlers hold up
/// every thread of the daemon's runtime is still scraped, and asked for its health. What is returned resolves when
/// all connections have ended.
///
/// # Errors
/// When the system has no thread left.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_on_thread<S: Source>(
    listener: TcpListener,
    exporter: Exporter<S>,
    end: CancellationToken,
) -> io::Result<oneshot::Receiver<Infallible>> {
    gatewayworker_daemon::serve_on_thread("metrics", listener, |listener| serve(listener, exporter, end))
}

impl<S: Source> Exporter<S> {
    /// The exporter of a daemon.
    pub fn new(source: S, health: Health) -> Self {
        Self {
            source,
            health,
            application: None,
            process: Process::new(),
            turn: Mutex::new(()),
            rejected: Counter::default(),
        }
    }

    /// Writes an application's metrics, too.
    #[must_use]
    pub fn with_application(mut self, metrics: Metrics) -> Self {
        self.application = Some(metrics);
        self
    }

    async fn answer(&self, method: &Method, path: &str, format: Format) -> Response<Full<Bytes>> {
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            let paths = "there is /metrics, /healthz and /readyz\n";
            return response(StatusCode::NOT_FOUND, PLAIN, paths);
        }
        if ![Method::GET, Method::HEAD].contains(method) {
            let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "use GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/metrics" => match self.scrape(format).await {
                Ok(metrics) => response(StatusCode::OK, format.content_type(), metrics),
                Err(error) => {
                    error!(%error, "the metrics cannot be written: does a collector of the application fail?");
                    response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "the metrics cannot be written\n")
                }
            },
            "/readyz" => match self.health.problems() {
                problems if problems.is_empty() => response(StatusCode::OK, PLAIN, "ok\n"),
                problems => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, problems.join("\n") + "\n"),
            },
            _ => response(StatusCode::OK, PLAIN, "ok\n"),
        }
    }

    /// Reads all numbers and writes them.
    async fn scrape(&self, format: Format) -> Result<String, fmt::Error> {
        let mut families = Families::default();
        let build = build_info();
        families.add(Kind::Gauge, "gatewayworker_build_info", "The build of the daemon, always 1.").with(
            vec![("version", build.version.into()), ("commit", build.commit.unwrap_or("unknown").into())],
            1_u64,
        );
        families.gauge(
            "gatewayworker_ready",
            "1 while the daemon can do its work, as /readyz says; 0 otherwise.",
            u64::from(self.health.problems().is_empty()),
        );
        {
            let _turn = self.turn.lock().await;
            self.source.read(&mut families).await;
        }
        self.process.read(&mut families);
        let mut own = Registry::default();
        own.register_collector(Box::new(families));
        let mut out = String::new();
        let encode = match format {
            Format::Text => prometheus_text::encode::<String>,
            Format::OpenMetrics => text::encode_registry::<String>,
        };
        encode(&mut out, &own)?;
        if let Some(metrics) = &self.application {
            metrics.with_registry(|registry| encode(&mut out, registry))?;
        }
        if format == Format::OpenMetrics {
            text::encode_eof(&mut out)?;
        }
        Ok(out)
    }
}

impl<S: Source> HttpHandler for Exporter<S> {
    type Body = Full<Bytes>;

    async fn handle(self: Arc<Self>, request: Request<Incoming>, _peer: SocketAddr) -> Response<Self::Body> {
        self.answer(request.method(), request.uri().path(), Format::wanted(request.headers())).await
    }

    fn note_rejected(&self) {
        let times = self.rejected.count();
        if times.is_power_of_two() {
            let limit = LIMITS.max_connections;
            warn!(limit, times, "metrics_listen has so many connections open: new ones get 503");
        }
    }

    fn reject(&self) -> Response<Self::Body> {
        let why = "too many connections: try again in a moment\n";
        let mut answer = response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, why);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        answer
    }
}

/// Makes an answer that no cache may store.
fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
