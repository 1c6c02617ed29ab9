//! The worker from start to end: follows the registers, starts the application, keeps an
//! event link to each gateway, and drains when it is asked to stop.
//!
//! [`serve`] is called by [`run`](crate::run), and by programs that have a worker within
//! them. Events go from `link` to `event_queues`; nothing in here touches one.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_client::Liveness;
use gatewayworker_client::worker::{WorkerHandle, follow_gateways};
use gatewayworker_daemon::{BindError, ListenerSource, Stats, WatchedLoops};
use gatewayworker_http::RequestCounts;
use gatewayworker_metrics::{Exporter, Health, Metrics};
use gatewayworker_net::{LinkConnector, LinkTls, LinkTlsError, RegisterLinks, registers};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::client_map::ClientMap;
use crate::core::{Clients, Identity, Kept, Unfinished};
use crate::event_queues::{BUDGET, EventQueues};
#[cfg(feature = "federation")]
use crate::federation;
use crate::handler::{HandlerRunner, Limits};
use crate::heartbeats::{HeartbeatRuntime, Heartbeats};
use crate::link::{self, EventLinks, LinkLimits};
use crate::metrics::WorkerMetrics;
use crate::network::Network;
use crate::problem::{Problems, problem};
use crate::reports::Reports;
#[cfg(feature = "otel")]
use crate::spans::WorkerSpans;
use crate::timings::{Handler, Timings};
use crate::{BoxError, Config, Events};
use crate::{history_config, history_report};

/// How long scrapes that run may take when the worker has stopped.
const LAST_SCRAPES: Duration = Duration::from_secs(2);

/// Why [`serve`] failed. A worker that has started fails only by a defect of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `on_worker_start` returned this error.
    #[error("on_worker_start: {0}")]
    Start(BoxError),
    /// The worker cannot listen on `http.listen`.
    #[error("{0}")]
    Http(BoxError),
    /// The worker cannot listen on `metrics_listen`.
    #[error(transparent)]
    Metrics(#[from] BindError),
    /// The spans of traced events cannot be exported.
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Otel(#[from] gatewayworker_otel::SetupError),
    /// `link_tls` cannot work.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
    /// The federation cannot be joined. That NATS is away is no such error.
    #[cfg(feature = "federation")]
    #[error(transparent)]
    Federation(#[from] gatewayworker_federation::Error),
    /// The history of groups cannot be opened. That its server is away is no such error.
    #[error(transparent)]
    History(#[from] gatewayworker_history::Error),
    /// The system has no thread left for the links, their heartbeats, or the metrics.
    #[error("cannot start a thread for the links or the metrics: {0}")]
    Thread(std::io::Error),
    /// A task that the worker relies on has panicked; the log says where. The worker has drained.
    #[error("the worker has stopped, as {0} panicked: see the log")]
    Panicked(&'static str),
}

/// How [`serve`] runs a worker, apart from its configuration: until when, with which
/// listener, and what it calls.
#[must_use]
pub struct ServeOptions {
    shutdown: CancellationToken,
    http_listener: HttpListener,
    on_ready: Box<dyn FnOnce() + Send>,
    stats: Stats,
    loops: WatchedLoops,
    metrics_listener: gatewayworker_metrics::Listener,
    metrics: Metrics,
    problems: Problems,
    /// Another process may take scrapes from the same listener.
    is_metrics_listener_shared: bool,
    #[cfg(feature = "otel")]
    spans: SpanOptions,
}

/// Where the spans of traced events go.
#[cfg(feature = "otel")]
#[derive(Debug)]
enum SpanOptions {
    /// Where the environment says. The application's spans go there, too.
    Environment {
        /// The worker's provider of tracers is to be OpenTelemetry's global one.
        sets_global: bool,
    },
    /// This was started already, or there are to be none.
    Given(Option<WorkerSpans>),
}

/// Where calls over HTTP come from.
#[derive(Debug)]
enum HttpListener {
    /// From `http.listen`, if it is set.
    Configured,
    /// From this listener; from none where it is `None`.
    Given(Option<TcpListener>),
}

impl ServeOptions {
    /// The options of a worker that runs until `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            http_listener: HttpListener::Configured,
            on_ready: Box::new(|| ()),
            stats: Stats::default(),
            loops: WatchedLoops::default(),
            metrics_listener: Default::default(),
            metrics: Metrics::default(),
            problems: Problems::default(),
            is_metrics_listener_shared: false,
            #[cfg(feature = "otel")]
            spans: SpanOptions::Environment { sets_global: true },
        }
    }

    /// Takes calls over HTTP from this listener instead of `http.listen`; from none where
    /// it is `None`. Without this, the worker listens on `http.listen` if that is set.
    pub fn with_http_listener(mut self, listener: impl Into<Option<TcpListener>>) -> Self {
        self.http_listener = HttpListener::Given(listener.into());
        self
    }

    /// Calls `ready` once, when `on_worker_start` has returned and calls over HTTP are
    /// taken. Gateways are linked after that. It must not block. Without this, nothing is
    /// called.
    pub fn on_ready(mut self, ready: impl FnOnce() + Send + 'static) -> Self {
        self.on_ready = Box::new(ready);
        self
    }

    /// Has the links' loop watched with `loops`.
    pub(crate) fn with_loops(mut self, loops: WatchedLoops) -> Self {
        self.loops = loops;
        self
    }

    /// Shows metrics and health at this listener instead of `metrics_listen`; nowhere where it is `None`.
    pub fn with_metrics_listener(mut self, listener: impl Into<Option<TcpListener>>) -> Self {
        self.metrics_listener = gatewayworker_metrics::Listener::Given(listener.into());
        self
    }

    /// Shows these metrics of the application beside the worker's own; none by default.
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Shows what the application says keeps it from its work; nothing by default.
    pub fn with_problems(mut self, problems: Problems) -> Self {
        self.problems = problems;
        self
    }

    /// The supervisor holds the listener of metrics: the process that takes this one's place answers scrapes from
    /// when this one drains.
    pub(crate) fn with_shared_metrics_listener(mut self, is_shared: bool) -> Self {
        self.is_metrics_listener_shared = is_shared;
        self
    }

    /// Leaves OpenTelemetry's global tracer provider as it is: the application has one of its own, and exports its
    /// spans by itself. Without this, the worker's provider becomes the global one.
    #[cfg(feature = "otel")]
    pub fn keep_tracer_provider(mut self) -> Self {
        self.spans = SpanOptions::Environment { sets_global: false };
        self
    }

    /// Takes spans that were started already.
    #[cfg(feature = "otel")]
    pub(crate) fn with_spans(mut self, spans: Option<WorkerSpans>) -> Self {
        self.spans = SpanOptions::Given(spans);
        self
    }

    /// Provides the worker's counters and problems to `stats`.
    pub(crate) fn with_stats(mut self, stats: Stats) -> Self {
        self.stats = stats;
        self
    }
}

/// A worker that runs until the token is cancelled, with no options beyond that.
impl From<CancellationToken> for ServeOptions {
    fn from(shutdown: CancellationToken) -> Self {
        Self::new(shutdown)
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions").field("http_listener", &self.http_listener).finish_non_exhaustive()
    }
}

impl HttpListener {
    async fn open(self, config: &Config) -> Result<Option<TcpListener>, Error> {
        match self {
            Self::Given(listener) => Ok(listener),
            Self::Configured => gatewayworker_http::bind(&config.http, &ListenerSource::default())
                .await
                .map_err(|error| Error::Http(format!("{:#}", anyhow::Error::from(error)).into())),
        }
    }
}

/// The list of gateways that the registers make, for as long as this lives.
struct Registers {
    gateways: watch::Receiver<Vec<String>>,
    links: RegisterLinks,
    following: AbortOnDropHandle<()>,
}

impl Registers {
    fn follow(config: &Config, tls: Option<LinkTls>) -> Self {
        let (list, gateways) = watch::channel(Vec::new());
        let (names, key) = (config.register_address.clone(), config.secret_key.clone());
        let links = RegisterLinks::default();
        let following = tokio::spawn({
            let links = links.clone();
            async move { registers::follow(&names, &key, tls.as_ref(), list, &links).await }
        });
        Self { gateways, links, following: AbortOnDropHandle::new(following) }
    }
}

/// Runs a worker until it is asked to stop, then drains, within `shutdown_timeout_ms`: events whose
/// handlers have begun are handled, the others given back to the gateways, which give them to other
/// workers; requests over HTTP are answered, and what was said is written. What is not done when the
/// time is over goes to other workers, too, unless the gateway delivers at most once. (A gateway of the original gives nothing to others: there,
/// events that have left are handled, and lost when the time is over.)
///
/// `options` is a [`CancellationToken`], or [`ServeOptions`] for more than that.
///
/// ```no_run
/// # async fn example(events: impl gatewayworker_businessworker::Events) {
/// use gatewayworker_businessworker::{CancellationToken, Config, serve};
///
/// let shutdown = CancellationToken::new();
/// let config = Config::default().with_name("Chat").with_register_address(["10.0.0.1:1236"]);
/// let worker = tokio::spawn(serve(config, events, shutdown.clone()));
/// // …
/// shutdown.cancel();
/// worker.await.expect("it does not panic").expect("it has started");
/// # }
/// ```
///
/// Not cancel safe: dropped before its end, it drops the links, with the events and the
/// messages in them.
///
/// # Errors
/// When `on_worker_start` fails, `http.listen` or `metrics_listen` cannot be listened on, the system has
/// no thread left for the links, or a task that the worker relies on has panicked.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn serve<E: Events>(
    config: Config,
    events: E,
    options: impl Into<ServeOptions>,
) -> Result<(), Error> {
    let ServeOptions {
        shutdown,
        http_listener,
        on_ready,
        stats,
        loops,
        metrics_listener,
        metrics,
        problems,
        is_metrics_listener_shared,
        #[cfg(feature = "otel")]
        spans,
    } = options.into();
    #[cfg(feature = "otel")]
    let spans = match spans {
        SpanOptions::Given(spans) => spans,
        SpanOptions::Environment { sets_global } => WorkerSpans::start()?.inspect(|spans| {
            if sets_global {
                spans.set_global();
            }
        }),
    };
    // The worker stops by itself, too, where it cannot go on.
    let shutdown = shutdown.child_token();
    let http_listener = http_listener.open(&config).await?;
    let metrics_listener = metrics_listener.open(config.metrics_listen.as_deref()).await?;
    let timings = metrics_listener.as_ref().map(|_| Arc::new(Timings::default()));
    let tls = config.link_tls.load_for_connecting()?;
    #[cfg(feature = "federation")]
    let federation = federation::join(&config).await?;
    let mut registers = Registers::follow(&config, tls.clone());
    let connector = LinkConnector::default().with_tls(tls).with_unix_links(config.unix_links);
    let clients = Arc::new(Clients::new(ClientMap::default(), BUDGET));
    let network = Network::start().map_err(Error::Thread)?;
    let _watched = network.spawn(loops.watch("the links' thread".to_owned()));
    let process = rand::random();
    let heartbeat_runtime = HeartbeatRuntime::new().map_err(Error::Thread)?;
    let worker = network.enter(|| {
        let builder = WorkerHandle::builder(registers.gateways.clone());
        #[cfg(feature = "federation")]
        let builder = builder.federation(federation.clone().map(|federation| Arc::new(federation) as _));
        builder
            .secret_key(config.secret_key.clone())
            .connector(connector.clone())
            .question_timeout(config.question_timeout())
            .liveness(Liveness::new(config.link_ping_interval(), config.link_timeout()))
            .process(process)
            .interest(config.interest)
            .interest_runtime(heartbeat_runtime.handle().clone())
            .left_out_counter(timings.as_ref().map(|timings| timings.left_out.clone()))
            .observer(clients.clone())
            .question_observer(timings.as_ref().map(Timings::question_observer))
            .connect()
    });
    let limits = Limits { slow: config.slow_handler_warning(), cancel: config.handler_timeout() };
    let gateway = worker.gateway().clone();
    #[cfg_attr(not(feature = "otel"), allow(unused_mut, reason = "it gets what makes spans"))]
    let mut handler = HandlerRunner::new(events, worker, limits).with_timings(timings.clone());
    #[cfg(feature = "otel")]
    {
        handler.spans = spans.as_ref().map(|spans| spans.for_handlers(&config.name));
    }
    let queues = EventQueues::new(clients, handler, config.concurrency, config.link_timeout());
    let mut reports = Reports::new(Arc::downgrade(&queues));
    let worker = queues.handler.worker.clone();
    let interval = config.link_ping_interval();
    let heartbeats = Heartbeats::start(heartbeat_runtime, worker, interval, move || reports.read())
        .map_err(Error::Thread)?;
    #[cfg(feature = "federation")]
    let of_federation = {
        let federation = federation.clone();
        move || federation.as_ref().map(|joined| joined.stats())
    };
    // Weak: a worker ends although its numbers are still asked for.
    let of_history = {
        let queues = Arc::downgrade(&queues);
        move || history_report::stats(queues.upgrade()?.handler.worker.gateway())
    };
    provide_stats(&stats, &queues, &registers, problems, {
        #[cfg(feature = "federation")]
        let of_federation = of_federation.clone();
        let of_history = of_history.clone();
        move || {
            let mut numbers = Vec::new();
            #[cfg(feature = "federation")]
            numbers.extend(of_federation().iter().flat_map(federation::stats));
            numbers.extend(of_history().iter().flat_map(history_report::numbers));
            numbers
        }
    });
    // The worker serves its own cluster, whatever these say.
    stats.provide_notices(move || {
        let mut notices = Vec::new();
        #[cfg(feature = "federation")]
        notices.extend(of_federation().into_iter().flat_map(|stats| stats.problems));
        notices.extend(of_history().and_then(|stats| stats.problem));
        notices
    });
    let requests = RequestCounts::default();
    let end_of_metrics = CancellationToken::new();
    let _end_of_metrics = end_of_metrics.clone().drop_guard();
    let mut metrics_ended = None;
    if let (Some(listener), Some(timings)) = (metrics_listener, timings) {
        let source = WorkerMetrics {
            queues: Arc::downgrade(&queues),
            timings,
            requests: requests.clone(),
            #[cfg(feature = "federation")]
            federation: federation.clone(),
        };
        let health = Health::new(stats.clone(), shutdown.clone());
        let exporter = Exporter::new(source, health).with_application(metrics);
        // With the process that takes this one's place, scrapers would get the numbers of either.
        let end = if is_metrics_listener_shared { shutdown.child_token() } else { end_of_metrics.clone() };
        let ended = gatewayworker_metrics::serve_on_thread(listener, exporter, end).map_err(Error::Thread)?;
        metrics_ended = Some(ended);
    }
    let mut telling = network.spawn({
        let queues = queues.clone();
        async move { queues.done.run().await }
    });

    // Open until the worker has stopped; the handle has it only as long.
    let _history = history_config::open(&config.history, &gateway)?;
    let handler = &queues.handler;
    tokio::select! {
        started = handler.events.on_worker_start(&gateway) => started.map_err(Error::Start)?,
        () = shutdown.cancelled() => {
            warn!("the worker was asked to stop before on_worker_start had returned");
            return Ok(());
        }
    }
    info!(name = %config.name, concurrency = config.concurrency, "the worker has started");
    let drain_timeout = config.shutdown_timeout();
    let http = http_listener.map(|listener| {
        let (config, gateway) = (config.http.clone(), gateway.clone());
        let shutdown = shutdown.clone();
        let serving = gatewayworker_http::serve(listener, config, gateway, requests, shutdown, drain_timeout);
        AbortOnDropHandle::new(tokio::spawn(serving))
    });
    on_ready();
    #[cfg(feature = "federation")]
    let serving = federation.map(|federation| federation::Serving::begin(federation, &gateway));

    let links = TaskTracker::new();
    let event_links = EventLinks {
        queues: queues.clone(),
        identity: {
            let identity =
                identity(&config, process).with_event_contexts(queues.handler.events.takes_context());
            #[cfg(feature = "otel")]
            let identity = identity.with_trace_contexts(spans.is_some());
            identity
        },
        heartbeats,
        registers: registers.links.clone(),
        connector,
        stop: shutdown.clone(),
        limits: LinkLimits {
            // The other half is for the events that come until then.
            close: drain_timeout / 2,
            silence: config.link_timeout(),
            lost_after: config.gateway_lost_after(),
        },
    };
    let following = keep_links(&network, &links, event_links, registers.gateways.clone());
    // None of these tasks returns: where one has ended, it has panicked.
    let panicked = tokio::select! {
        () = shutdown.cancelled() => None,
        _ = &mut registers.following => Some("the task that follows the registers"),
        _ = &mut telling => Some("the task that tells gateways what is done"),
    };
    if let Some(task) = panicked {
        error!("{task} panicked: the worker drains and stops");
        shutdown.cancel();
    }

    info!("the worker drains");
    #[cfg(feature = "federation")]
    if let Some(serving) = &serving {
        serving.begin_leave();
    }
    let deadline = Instant::now() + drain_timeout;
    queues.epochs.drain();
    links.close();
    let drain = async {
        links.wait().await;
        queues.drained().await;
    };
    if timeout_at(deadline, drain).await.is_err() {
        stop_waiting(&queues, drain_timeout);
    }
    drop(following);
    // It ends by itself when the time is over; what it still says is written below.
    if let Some(http) = http
        && let Err(error) = http.await
    {
        error!(%error, "the server for calls over HTTP panicked");
    }
    #[cfg(feature = "federation")]
    if let Some(serving) = serving {
        serving.left().await;
    }
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let stop = pin!(async { handler.events.on_worker_stop(&gateway).await });
    if timeout(left, handler.contain(Handler::WorkerStop, None, 0, stop)).await.is_err() {
        warn!("on_worker_stop did not return in time: it is cancelled");
    }
    gateway.finish(left).await;
    end_of_metrics.cancel();
    if let Some(ended) = metrics_ended {
        // Who has asked already is answered.
        let _ = timeout(LAST_SCRAPES, ended).await;
    }
    #[cfg(feature = "otel")]
    if let Some(spans) = spans {
        spans.send_last().await;
    }
    info!(stats = %handler.stats, "the worker has stopped");
    panicked.map_or(Ok(()), |task| Err(Error::Panicked(task)))
}

/// Ends the epochs, so that gateways give what is not done to other workers, and says what that is.
fn stop_waiting<E: Events>(queues: &Arc<EventQueues<E>>, limit: Duration) {
    let limit_ms = limit.as_millis() as u64;
    let (gateways, Kept { clients, returned }) = missing(queues);
    let Unfinished { events, given_to_others } = queues.clients.unfinished();
    queues.epochs.end_all();
    if events > given_to_others {
        warn!(
            limit_ms,
            events = events - given_to_others,
            "handlers were still running when shutdown_timeout_ms was over: the worker does not wait for \
             them, and no other worker gets these events"
        );
    }
    if clients > 0 {
        warn!(
            limit_ms,
            clients,
            events = returned,
            gateways = gateways.join(","),
            "gateways were missing when shutdown_timeout_ms was over: if they are lost, on_close does not run \
             for these clients, which this worker had there, and nobody handles these events, which it had given back"
        );
    }
    if given_to_others == 0 {
        return;
    }
    // What these handlers have done by now is done twice, unless a gateway delivers at most once: this worker
    // does not know which do.
    warn!(
        limit_ms,
        events = given_to_others,
        "the worker had not finished when shutdown_timeout_ms was over: its gateways take these events back, \
         and go on with them as their `delivery` says"
    );
}

/// Returns the gateways that are missing and have not taken this worker's clients back, and what this worker
/// has of them.
fn missing<E: Events>(queues: &EventQueues<E>) -> (Vec<String>, Kept) {
    let mut all = Kept::default();
    let mut gateways = Vec::new();
    for epoch in queues.epochs.missing() {
        let kept = queues.clients.kept_for(&epoch);
        if kept.clients > 0 {
            gateways.push(epoch.gateway().to_string());
            all.clients += kept.clients;
            all.returned += kept.returned;
        }
    }
    (gateways, all)
}

fn identity(config: &Config, process: u64) -> Identity {
    let (name, secret_key) = (config.name.clone(), config.secret_key.clone());
    let identity = match config.worker_id.clone() {
        Some(id) => Identity::with_id(name, id, secret_key),
        None => Identity::with_drawn_id(name, process, secret_key),
    };
    identity.with_process(process)
}

fn provide_stats<E: Events>(
    stats: &Stats,
    queues: &Arc<EventQueues<E>>,
    registers: &Registers,
    problems: Problems,
    more: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
) {
    stats.provide({
        let queues = Arc::downgrade(queues);
        move || {
            let mut stats = queues.upgrade().map(|queues| queues.stats()).unwrap_or_default();
            stats.extend(more());
            stats
        }
    });
    stats.provide_problems({
        let (queues, gateways, links) =
            (Arc::downgrade(queues), registers.gateways.clone(), registers.links.clone());
        move || {
            let linked = queues.upgrade().map_or(0, |queues| queues.gateways());
            let own = problem(linked, &gateways.borrow(), &links);
            own.into_iter().chain(problems.read()).collect()
        }
    });
}

/// Keeps an event link to each gateway in the list, until what is returned is dropped; after
/// the worker was asked to stop no new one. Each link is tracked in `tracker` until it has ended.
fn keep_links<E: Events>(
    network: &Network,
    tracker: &TaskTracker,
    links: EventLinks<E>,
    gateways: watch::Receiver<Vec<String>>,
) -> AbortOnDropHandle<()> {
    let (tracker, links) = (tracker.clone(), Arc::new(links));
    network.spawn(follow_gateways(gateways, move |address, listed| {
        let stop = links.stop.clone();
        let run = tracker.track_future(link::run(links.clone(), address, listed));
        async move {
            run.await;
            if stop.is_cancelled() {
                // Ending would be taken for a lost link, and start the next, which ends at once.
                std::future::pending().await
            }
        }
    }))
}
