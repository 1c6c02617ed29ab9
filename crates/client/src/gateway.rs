//! The application's handle, how it is made, and how frames get to its links.
//!
//! The methods for applications are in `send.rs`, `close.rs`, `commands.rs`, `questions.rs`
//! and `select.rs`; they call the `tell_…` methods here. The links are kept by `links.rs`.

use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::join;
use gatewayworker_net::{LinkTls, RegisterLinks, registers};
use gatewayworker_protocol::interest::Name;
use gatewayworker_protocol::{ClientId, Command, Frame, MAX_FRAME_LEN, SecretKey, php};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::bus_state::BusState;
use crate::event_calls::EventCalls;
use crate::federation::Federation;
use crate::link::{Interest, LinkSettings, QuestionObserver};
use crate::links::Links;
use crate::session_observer::SessionObserver;
use crate::{Delivery, Error, LinkConnector, Liveness, Unreached};

/// Longer limits may be more than a clock can show.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What an application may do to clients, wherever they are connected.
///
/// Cheap to clone and usable from any task. Its links end with its last clone. It takes the
/// place of both the original's static class `GatewayWorker\Lib\Gateway` and its library
/// GatewayClient; each method names its model there.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    /// Is told of this clone's session writes only, and refuses its calls once the epoch of its event
    /// is over.
    observer: Option<Arc<dyn SessionObserver>>,
}

struct Shared {
    links: Arc<Links>,
    bus: BusState,
    /// Reaches other clusters, if there are any.
    federation: Option<Arc<dyn Federation>>,
    /// Is told of the session writes of all clones.
    observer: Option<Arc<dyn SessionObserver>>,
    /// The history of groups, where one is open.
    #[cfg(feature = "calls")]
    history: std::sync::OnceLock<std::sync::Weak<dyn crate::history::HistoryCalls>>,
    /// Sees the calls of all clones, once it is set.
    #[cfg(feature = "otel")]
    call_observer: std::sync::OnceLock<Arc<dyn crate::call_spans::CallObserver>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// Makes a [`Gateway`].
#[must_use = "it does nothing until it is connected"]
pub struct GatewayBuilder {
    source: Source,
    settings: LinkSettings,
    federation: Option<Arc<dyn Federation>>,
}

enum Source {
    Registers(Vec<String>),
    Addresses(watch::Receiver<Vec<String>>),
}

impl GatewayBuilder {
    fn new(source: Source) -> Self {
        let settings = LinkSettings {
            secret_key: SecretKey::default(),
            connector: LinkConnector::default(),
            question_timeout: Duration::from_secs(5),
            liveness: Liveness::default(),
            process: 0,
            gather_writes: false,
            interest: Interest::Asked,
            interest_runtime: None,
            left_out: None,
            journal: Arc::default(),
            questions: None,
        };
        Self { source, settings, federation: None }
    }

    /// Sets the key of the cluster; none by default (the original's `$secretKey`).
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.settings.secret_key = key;
        self
    }

    /// Speaks TLS with gateways and registers; plain TCP by default. The daemons have to be
    /// configured for it: see [`LinkTlsConfig`](crate::LinkTlsConfig).
    pub fn link_tls(mut self, tls: impl Into<Option<LinkTls>>) -> Self {
        self.settings.connector = self.settings.connector.with_tls(tls.into());
        self
    }

    /// Sets whether links to gateways of this host go over Unix sockets, which cost less than TCP; they do by
    /// default, where the gateway runs as the same user or as root.
    pub fn unix_links(mut self, unix_links: bool) -> Self {
        self.settings.connector = self.settings.connector.with_unix_links(unix_links);
        self
    }

    /// Connects to gateways by `connector`; see
    /// [`WorkerBuilder::connector`](crate::worker::WorkerBuilder::connector).
    pub(crate) fn connector(mut self, connector: LinkConnector) -> Self {
        self.settings.connector = connector;
        self
    }

    /// Sets how long a question may take in all; 5 seconds by default, as in the
    /// original. The first use of a handle waits as long for the registers, and at
    /// most a second more for gateways that cannot be connected to. A limit over a year
    /// counts as a year.
    pub fn question_timeout(mut self, limit: Duration) -> Self {
        self.settings.question_timeout = limit.min(YEAR);
        self
    }

    /// Sets how gateways that are frozen or gone are noticed; see [`Liveness`] for the defaults.
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.settings.liveness = liveness;
        self
    }

    /// Reaches the clients of other clusters, too; only those of the own cluster by default. It is made by
    /// `gatewayworker_federation`.
    pub fn federation(mut self, federation: impl Into<Option<Arc<dyn Federation>>>) -> Self {
        self.federation = federation.into();
        self
    }

    /// Sets the id of the worker process; see
    /// [`WorkerBuilder::process`](crate::worker::WorkerBuilder::process).
    pub(crate) fn process(mut self, id: u64) -> Self {
        self.settings.process = id;
        self
    }

    /// Sets whether sends to groups and uids, and questions about them, leave gateways out that say that they have none;
    /// true by default.
    ///
    /// A handle that goes on sending to groups or uids asks each gateway for its names on a connection of its own. The first
    /// client of a group or uid then waits until the handle knows of it: a round trip, and 3 s at most if this process is
    /// frozen. So does one that blocks the threads of the runtime in which the handle was connected.
    pub fn interest(mut self, interest: bool) -> Self {
        self.settings.interest = if interest { Interest::Asked } else { Interest::Off };
        self
    }

    /// As [`interest`](Self::interest), for a worker, whose event links say which gateways announce their names.
    pub(crate) fn offered_interest(mut self, interest: bool) -> Self {
        self.settings.interest = if interest { Interest::Offered } else { Interest::Off };
        self
    }

    /// Sets where interest links live; see
    /// [`WorkerBuilder::interest_runtime`](crate::worker::WorkerBuilder::interest_runtime).
    pub(crate) fn interest_runtime(mut self, runtime: Handle) -> Self {
        self.settings.interest_runtime = Some(runtime);
        self
    }

    /// Counts gateways that are left out; see
    /// [`WorkerBuilder::left_out_counter`](crate::worker::WorkerBuilder::left_out_counter).
    pub(crate) fn left_out_counter(mut self, counter: Option<Arc<AtomicU64>>) -> Self {
        self.settings.left_out = counter;
        self
    }

    /// Tells `observer` of each question; see
    /// [`WorkerBuilder::question_observer`](crate::worker::WorkerBuilder::question_observer).
    pub(crate) fn question_observer(mut self, observer: Option<QuestionObserver>) -> Self {
        self.settings.questions = observer;
        self
    }

    /// Writes the frames of all tasks that are ready together, instead of each frame before
    /// its send returns. For a process in which many tasks send: fewer writes, a little
    /// later. Off by default.
    pub fn gather_writes(mut self) -> Self {
        self.settings.gather_writes = true;
        self
    }

    /// Returns the handle at once. It connects to registers and gateways in the background,
    /// and its first use waits for them.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(self) -> Gateway {
        self.connect_observed(None)
    }

    /// [`connect`](Self::connect) for a worker: tells `observer` of every session that is
    /// written through the handle and its clones.
    pub(crate) fn connect_observed(self, observer: Option<Arc<dyn SessionObserver>>) -> Gateway {
        let mut tasks = Vec::new();
        let addresses = match self.source {
            Source::Addresses(addresses) => addresses,
            Source::Registers(names) => {
                let (list, addresses) = watch::channel(Vec::new());
                let (key, tls) = (self.settings.secret_key.clone(), self.settings.connector.tls().cloned());
                let follow = async move {
                    registers::follow(&names, &key, tls.as_ref(), list, &RegisterLinks::default()).await;
                };
                tasks.push(AbortOnDropHandle::new(tokio::spawn(follow)));
                addresses
            }
        };
        let links = Arc::new(Links::new(self.settings, addresses));
        tasks.push(AbortOnDropHandle::new(tokio::spawn(links.clone().run())));
        let shared = Shared {
            links,
            bus: BusState::default(),
            federation: self.federation,
            observer,
            #[cfg(feature = "calls")]
            history: std::sync::OnceLock::new(),
            #[cfg(feature = "otel")]
            call_observer: std::sync::OnceLock::new(),
            _tasks: tasks,
        };
        Gateway { shared: Arc::new(shared), observer: None }
    }
}

impl Gateway {
    /// Begins a handle on the gateways that these registers list, each `host:port`
    /// (the original's `$registerAddress`). A gateway counts if any of the registers lists it.
    pub fn builder<R: Into<String>>(registers: impl IntoIterator<Item = R>) -> GatewayBuilder {
        GatewayBuilder::new(Source::Registers(registers.into_iter().map(Into::into).collect()))
    }

    /// Begins a handle on the gateways in a list of the caller's own, each `host:port`. The
    /// handle follows its changes.
    pub fn following(addresses: watch::Receiver<Vec<String>>) -> GatewayBuilder {
        GatewayBuilder::new(Source::Addresses(addresses))
    }

    /// Returns a clone whose session writes `observer` is told of too, and whose calls its fence may
    /// refuse.
    pub(crate) fn observed_by(&self, observer: Arc<dyn SessionObserver>) -> Self {
        Self { shared: self.shared.clone(), observer: Some(observer) }
    }

    /// Returns the gateways that are connected at the moment, by address.
    pub fn connected_gateways(&self) -> Vec<SocketAddrV4> {
        let links = self.links().all();
        links.iter().filter(|(_, link)| link.is_live()).map(|(address, _)| *address).collect()
    }

    /// Waits until the call link to `gateway` is connected; for ever, if it never is.
    ///
    /// Cancel safe.
    pub async fn connected(&self, gateway: SocketAddrV4) {
        self.links().connected(gateway).await;
    }

    /// Writes all frames that still wait, then closes all links, of this handle and its
    /// clones. Frames that are not written within `limit` are lost, and the [`Delivery`]
    /// names their gateways. The handle reaches no gateway afterwards.
    ///
    /// For a program that sends and ends: without it, some frames may never have left the
    /// process.
    pub async fn finish(&self, limit: Duration) -> Delivery {
        let Some(federation) = self.federation() else { return self.links().finish(limit).await };
        let (mut delivery, unreached_clusters) =
            join(self.links().finish(limit), federation.finish(limit)).await;
        delivery.unreached_clusters = unreached_clusters;
        delivery
    }

    /// The bus that a worker takes part in.
    pub(crate) fn bus(&self) -> &BusState {
        &self.shared.bus
    }

    /// Returns the length of the longest frame that every gateway takes, in bytes.
    pub(crate) fn max_frame_len(&self) -> usize {
        self.links().all().values().map(|link| link.max_frame_len()).min().unwrap_or(MAX_FRAME_LEN)
    }

    pub(crate) fn links(&self) -> &Links {
        &self.shared.links
    }

    /// Where a history is attached.
    #[cfg(feature = "calls")]
    pub(crate) fn history_cell(
        &self,
    ) -> &std::sync::OnceLock<std::sync::Weak<dyn crate::history::HistoryCalls>> {
        &self.shared.history
    }

    /// What reaches other clusters.
    pub(crate) fn federation(&self) -> Option<&Arc<dyn Federation>> {
        self.shared.federation.as_ref()
    }

    /// Fails if the handle is that of an event whose epoch is over ([`Error::Fenced`]), and notes so. Every call does it by
    /// itself; this is for work that begins elsewhere, as a message that is kept before it is sent.
    ///
    /// # Errors
    /// When another worker may handle the event by now.
    pub fn check_fence(&self) -> Result<(), Error> {
        match self.observer.as_ref().and_then(|observer| observer.fence()) {
            Some(fence) => fence.check().inspect_err(|_| {
                if let Some(calls) = self.calls() {
                    calls.note_fenced();
                }
            }),
            None => Ok(()),
        }
    }

    /// Where the commands of this clone are noted.
    fn calls(&self) -> Option<&EventCalls> {
        self.observer.as_ref()?.calls()
    }

    /// Sets who sees the calls of all clones, unless somebody does.
    #[cfg(feature = "otel")]
    pub(crate) fn observe_calls(&self, observer: impl FnOnce() -> Arc<dyn crate::call_spans::CallObserver>) {
        self.shared.call_observer.get_or_init(observer);
    }

    /// Tells the observer of calls that frames are about to be handed to so many gateways. The call ends when what
    /// is returned is dropped.
    #[cfg(feature = "otel")]
    pub(crate) fn begin_call<'f>(
        &self,
        frames: impl IntoIterator<Item = &'f Frame>,
        gateways: impl FnOnce() -> usize,
    ) -> Option<Box<dyn std::any::Any + Send>> {
        let observer = self.shared.call_observer.get()?;
        observer.begin(&mut frames.into_iter(), gateways())
    }

    /// Hands each frame to its gateway. If one of them is over the limit, none is sent.
    pub(crate) fn tell_some(&self, plan: &[(SocketAddrV4, Frame)]) -> Result<Delivery, Error> {
        self.check_fence()?;
        #[cfg(feature = "otel")]
        let _call = self.begin_call(plan.iter().map(|(_, frame)| frame), || {
            plan.iter().map(|(address, _)| address).collect::<std::collections::BTreeSet<_>>().len()
        });
        let (links, calls) = (self.links().all(), self.calls());
        plan.iter().try_for_each(|(address, frame)| {
            let Some(link) = links.get(address) else { return self.check_elsewhere(*address, frame) };
            check_len(frame, link.max_frame_len())
        })?;
        let mut delivery = Delivery::default();
        for (address, frame) in plan {
            // Once a gateway has missed a frame, it gets none of the later frames.
            if delivery.unreached.last().is_some_and(|(lost, _)| lost == address) {
                continue;
            }
            match links.get(address) {
                Some(link) => delivery.note(*address, link.tell(frame, calls)),
                None => self.tell_elsewhere(*address, frame, &mut delivery),
            }
        }
        Ok(delivery)
    }

    /// Hands a frame to every gateway.
    pub(crate) fn tell_all(&self, frame: &Frame) -> Result<Delivery, Error> {
        self.check_fence()?;
        check_len(frame, self.max_frame_len())?;
        let (links, calls) = (self.links().all(), self.calls());
        if links.is_empty() {
            return Err(Error::NoGateways);
        }
        #[cfg(feature = "otel")]
        let _call = self.begin_call([frame], || links.len());
        let mut delivery = Delivery::default();
        for (address, link) in links.iter() {
            delivery.note(*address, link.tell(frame, calls));
        }
        Ok(delivery)
    }

    /// Hands a frame to one gateway.
    pub(crate) fn tell_one(&self, gateway: SocketAddrV4, frame: &Frame) -> Result<Delivery, Error> {
        self.check_fence()?;
        #[cfg(feature = "otel")]
        let _call = self.begin_call([frame], || 1);
        let mut delivery = Delivery::default();
        let links = self.links().read();
        match links.get(&gateway) {
            Some(link) => {
                check_len(frame, link.max_frame_len())?;
                delivery.note(gateway, link.tell(frame, self.calls()));
            }
            None => {
                // What follows signs the frame, and needs no link.
                drop(links);
                self.check_elsewhere(gateway, frame)?;
                self.tell_elsewhere(gateway, frame, &mut delivery);
            }
        }
        Ok(delivery)
    }

    /// Hands a command to the gateway of a client, once the handle is ready.
    pub(crate) async fn tell_client(&self, id: ClientId, command: Command) -> Result<Delivery, Error> {
        self.links().ready().await;
        let id = self.own_form(id);
        let joined = joined_name(&command);
        let told = self.tell_one(id.gateway(), &command.into_frame());
        if let (Some(name), Some(link)) = (joined, self.links().read().get(&id.gateway())) {
            link.interest.note_join(name);
        }
        told
    }

    /// Hands a command that came from another cluster to a gateway of the own one.
    pub(crate) fn tell_own(&self, gateway: SocketAddrV4, command: Command) -> Result<Delivery, Error> {
        let joined = joined_name(&command);
        let frame = command.into_frame();
        let links = self.links().read();
        let link = links.get(&gateway).ok_or(Unreached::NotKnown);
        check_len(&frame, link.map_or(MAX_FRAME_LEN, |link| link.max_frame_len()))?;
        let mut delivery = Delivery::default();
        delivery.note(gateway, link.and_then(|link| link.tell(&frame, self.calls())));
        if let (Some(name), Ok(link)) = (joined, link) {
            link.interest.note_join(name);
        }
        Ok(delivery)
    }

    fn observers(&self) -> impl Iterator<Item = &Arc<dyn SessionObserver>> {
        self.shared.observer.iter().chain(&self.observer)
    }

    pub(crate) fn session_replaced(&self, id: ClientId, bytes: &[u8]) {
        let id = self.own_form(id);
        self.observers().for_each(|observer| observer.session_replaced(id, bytes));
    }

    pub(crate) fn session_merged(&self, id: ClientId, with: &php::Array) {
        let id = self.own_form(id);
        self.observers().for_each(|observer| observer.session_merged(id, with));
    }
}

/// The name that a command makes a client a member of.
fn joined_name(command: &Command) -> Option<Name> {
    match command {
        Command::JoinGroup { group, .. } => Some(Name::group(group)),
        Command::BindUid { uid, .. } => Some(Name::uid(uid)),
        _ => None,
    }
}

/// Checks that a frame is not over a gateway's limit.
pub(crate) fn check_len(frame: &Frame, limit: usize) -> Result<(), Error> {
    let len = frame.encoded_len();
    if len > limit { Err(Error::TooLarge { len, limit }) } else { Ok(()) }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("connected", &self.connected_gateways()).finish()
    }
}
