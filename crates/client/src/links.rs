//! The call links that a handle has: one for each gateway that it knows.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::link::{Link, LinkSettings};
use crate::{Delivery, Unreached, gateway_list};

/// How long the first use of a handle waits for gateways that are listed but do not
/// let themselves be connected to, after which they are as good as down: one whose
/// host is gone keeps nobody from the others for longer.
const FIRST_CONNECT: Duration = Duration::from_secs(1);

/// By address, so that gateways are told and named in the same order every time.
pub(crate) type Map = BTreeMap<SocketAddrV4, Arc<Link>>;

/// The links, connected or not.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) settings: Arc<LinkSettings>,
    map: RwLock<Arc<Map>>,
    /// Bumped whenever a link has come, gone, or changed its state.
    changes: watch::Sender<u64>,
    addresses: watch::Receiver<Vec<String>>,
    /// The first addresses and attempts have been waited for.
    settled: AtomicBool,
}

impl Links {
    pub(crate) fn new(settings: LinkSettings, addresses: watch::Receiver<Vec<String>>) -> Self {
        Self {
            settings: Arc::new(settings),
            map: RwLock::default(),
            changes: watch::Sender::new(0),
            addresses,
            settled: AtomicBool::new(false),
        }
    }

    /// Keeps a link to each listed gateway, for ever.
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

    /// All links as they are now.
    pub(crate) fn all(&self) -> Arc<Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) {
        change(Arc::make_mut(&mut self.map.write().unwrap_or_else(PoisonError::into_inner)));
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Waits, once, for the first list of gateways within the time that a question
    /// has, and then a little for the first attempt to connect to each.
    pub(crate) async fn settle(&self) {
        if !self.is_settled() {
            // Boxed, as it happens once, and every call would have a place for it.
            Box::pin(self.settle_first()).await;
        }
    }

    async fn settle_first(&self) {
        let listed = || !self.addresses.borrow().is_empty() && !self.all().is_empty();
        let limit = self.settings.question_timeout;
        self.wait_until(listed, limit).await;
        let decided = || {
            let map = self.all();
            map.len() >= self.addresses.borrow().len() && !map.values().any(|link| link.is_connecting())
        };
        self.wait_until(decided, limit.min(FIRST_CONNECT)).await;
        // Whoever has waited in vain has waited for those who come after, too.
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Waits until the link to `address` stands.
    pub(crate) async fn connected(&self, address: SocketAddrV4) {
        let connected = || self.all().get(&address).is_some_and(|link| link.is_live());
        self.wait_until(connected, Duration::MAX).await;
    }

    /// Writes what waits on every link and closes it. What is not written within
    /// `limit` is lost; whose it was is said.
    pub(crate) async fn finish(&self, limit: Duration) -> Delivery {
        let links = self.all();
        links.values().for_each(|link| link.finish());
        self.wait_until(|| !links.values().any(|link| link.is_live()), limit).await;
        let late = links.iter().filter(|(_, link)| link.is_live());
        Delivery { unreached: late.map(|(gateway, _)| (*gateway, Unreached::Overloaded)).collect() }
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
