//! The call links that a handle has: one for each gateway that it knows.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::link::{Link, Settings};
use crate::roster;

/// By address, so that gateways are told and named in the same order every time.
pub(crate) type Map = BTreeMap<SocketAddrV4, Arc<Link>>;

/// The links, connected or not.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) settings: Arc<Settings>,
    map: RwLock<Arc<Map>>,
    /// Bumped whenever a link has come, gone, or changed its state.
    changes: watch::Sender<u64>,
    addresses: watch::Receiver<Vec<String>>,
    /// The first addresses and attempts have been waited for.
    settled: AtomicBool,
}

impl Links {
    pub(crate) fn new(settings: Settings, addresses: watch::Receiver<Vec<String>>) -> Self {
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
        roster::follow(self.addresses.clone(), move |address, listed| {
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

    /// Waits, once and within the time that a question has, for the first list of
    /// gateways and the first attempt to connect to each.
    pub(crate) async fn settle(&self) {
        if !self.is_settled() {
            // Boxed, as it happens once, and every call would have a place for it.
            Box::pin(self.settle_first()).await;
        }
    }

    async fn settle_first(&self) {
        let settled = || {
            let known = self.addresses.borrow().len();
            let map = self.all();
            known > 0 && map.len() >= known && !map.values().any(|link| link.is_starting())
        };
        // Whoever has waited in vain has waited for those who come after, too.
        self.wait_until(settled, self.settings.question_timeout).await;
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Waits until the link to `address` stands.
    pub(crate) async fn connected(&self, address: SocketAddrV4) {
        let connected = || self.all().get(&address).is_some_and(|link| link.is_live());
        self.wait_until(connected, Duration::MAX).await;
    }

    /// Writes what waits on every link and closes it. What is not written within
    /// `limit` is lost.
    pub(crate) async fn finish(&self, limit: Duration) {
        let links = self.all();
        links.values().for_each(|link| link.finish());
        self.wait_until(|| !links.values().any(|link| link.is_live()), limit).await;
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
