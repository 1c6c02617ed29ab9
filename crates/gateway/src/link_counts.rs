//! How many links the gateway has, by transport. `link` counts; `status` and the metrics show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayworker_net::Transport;

/// The links of workers and client libraries, by transport.
#[derive(Debug, Default)]
pub(crate) struct LinkCounts {
    tcp: AtomicUsize,
    unix: AtomicUsize,
}

/// Counts one link until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedLink {
    counts: Arc<LinkCounts>,
    transport: Transport,
}

impl LinkCounts {
    /// Counts a link.
    pub(crate) fn count(self: &Arc<Self>, transport: Transport) -> CountedLink {
        self.of(transport).fetch_add(1, Ordering::Relaxed);
        CountedLink { counts: self.clone(), transport }
    }

    /// Returns how many links there are over `transport`.
    pub(crate) fn get(&self, transport: Transport) -> usize {
        self.of(transport).load(Ordering::Relaxed)
    }

    /// Returns the numbers for `status`.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        let (tcp, unix) = (self.get(Transport::Tcp) as u64, self.get(Transport::Unix) as u64);
        vec![("links", tcp + unix), ("links_unix", unix)]
    }

    fn of(&self, transport: Transport) -> &AtomicUsize {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Unix => &self.unix,
        }
    }
}

impl Drop for CountedLink {
    fn drop(&mut self) {
        self.counts.of(self.transport).fetch_sub(1, Ordering::Relaxed);
    }
}
