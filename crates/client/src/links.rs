//! The call links of a handle: one for each gateway that it knows.
//!
//! `gateway.rs` looks a link up here for each frame, `ask.rs` for each question.
//! `gateway_list.rs` says which gateways there are.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::link::{Link, LinkSettings};
use crate::{Delivery, Unreached, gateway_list};

/// How long the first use of a handle waits for listed gateways that do not accept a
/// connection. After that time they count as down: a gateway whose host is gone does not
/// keep the application from the others any longer.
const FIRST_CONNECT: Duration = Duration::from_secs(1);

/// The links by address, so that gateways are told and named in the same order every time.
pub(crate) type Map = BTreeMap<SocketAddrV4, Arc<Link>>;

/// The links, connected or not.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) settings: Arc<LinkSettings>,
    map: RwLock<Arc<Map>>,
    /// Bumped whenever a link was added, removed, connected or disconnected.
    changes: watch::Sender<u64>,
    addresses: watch::Receiver<Vec<String>>,
    /// The wait for the first list and the first attempts to connect is over.
    ready: AtomicBool,
}

impl Links {
    pub(crate) fn new(settings: LinkSettings, addresses: watch::Receiver<Vec<String>>) -> Self {
        Self {
            settings: Arc::new(settings),
            map: RwLock::default(),
            changes: watch::Sender::new(0),
            addresses,
            ready: AtomicBool::new(false),
        }
    }

    /// Keeps a link to each listed gateway. Never returns.
    pub(crate) async fn run(self: Arc<Self>) {
        let links = self.clone();
        gateway_list::follow_gateways(self.addresses.clone(), move |address, listed| {
            let link = Arc::new(Link::new(address, links.settings.clone(), links.changes.clone()));
            links.change(|map| map.insert(address, link.clone()));
            let links = links.clone();
            async move {
                link.run(listed).await;
                links.change(|map| map.remove(&address));
            }
        })
        .await;
    }

    /// Returns all links as they are now.
    pub(crate) fn all(&self) -> Arc<Map> {
        self.read().clone()
    }

    /// Locks the links: for a look that waits for nothing, and is cheaper than [`all`](Self::all).
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Arc<Map>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) {
        change(Arc::make_mut(&mut self.map.write().unwrap_or_else(PoisonError::into_inner)));
        self.changes.send_modify(|version| *version += 1);
    }

    /// Whether the first use of the handle need not wait any more.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Waits for the first list of gateways, for as long as a question may take, and then for
    /// the first attempt to connect to each, for [`FIRST_CONNECT`] at most. Waits only once.
    pub(crate) async fn ready(&self) {
        if !self.is_ready() {
            // Boxed: it happens once, and would otherwise enlarge the future of every call.
            Box::pin(self.ready_first()).await;
        }
    }

    async fn ready_first(&self) {
        let listed = || !self.addresses.borrow().is_empty() && !self.all().is_empty();
        let limit = self.settings.question_timeout;
        self.wait_until(listed, limit).await;
        let decided = || {
            let map = self.all();
            map.len() >= self.addresses.borrow().len() && !map.values().any(|link| link.is_connecting())
        };
        self.wait_until(decided, limit.min(FIRST_CONNECT)).await;
        // Also after a wait in vain: the next use shall not wait again.
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Waits until the link to `address` is connected.
    pub(crate) async fn connected(&self, address: SocketAddrV4) {
        let connected = || self.all().get(&address).is_some_and(|link| link.is_live());
        self.wait_until(connected, Duration::MAX).await;
    }

    /// Writes the frames that wait on every link, and closes it. Returns the gateways whose
    /// frames were not written within `limit`.
    pub(crate) async fn finish(&self, limit: Duration) -> Delivery {
        let links = self.all();
        links.values().for_each(|link| link.finish());
        self.wait_until(|| !links.values().any(|link| link.is_live()), limit).await;
        let late = links.iter().filter(|(_, link)| link.is_live());
        let unreached = late.map(|(gateway, _)| (*gateway, Unreached::Overloaded)).collect();
        Delivery { unreached, ..Delivery::default() }
    }

    async fn wait_until(&self, condition: impl Fn() -> bool, limit: Duration) {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while !condition() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
    }
}
