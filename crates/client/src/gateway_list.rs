//! One task for each gateway that the registers list.
//!
//! `links.rs` uses it for call links, `gatewayworker_businessworker` for event links. This
//! module resolves host names and starts tasks; what a link does is up to the caller.

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV4};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use gatewayworker_net::{Backoff, LogLimiter};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, error, warn};

use crate::core::GatewayList;

/// How long the host names of a list may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many names are resolved at the same time: each takes a thread.
const RESOLVING: usize = 32;

/// How long to wait before names that did not resolve are tried again, at first and at most.
const RESOLVE_AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// How long to wait before the link to a gateway is started again after it panicked.
const RESTART_AFTER_PANIC: Duration = Duration::from_secs(5);

/// The task of a gateway.
struct LinkTask {
    /// Tells the task whether a register still lists the gateway.
    listed: watch::Sender<bool>,
    handle: AbortHandle,
}

/// Runs `link` in one task for each gateway in `addresses`, whose entries have the form
/// `host:port`. Never returns; dropping the future ends the tasks.
///
/// A gateway that is no longer listed keeps its task, because a register that has just
/// restarted lists no gateway for a moment. The second argument of `link` is `false` while the
/// gateway is not listed; the task then ends by itself when its connection is lost. If the
/// gateway is listed again after that, it gets a new task. A link that panics is logged, and started
/// again after a pause, so that the links to the other gateways go on. `host` is an IPv4 address, or a name
/// if a PHP gateway was configured with a name.
pub async fn follow_gateways<F>(
    mut addresses: watch::Receiver<Vec<String>>,
    link: impl Fn(SocketAddrV4, watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut list = GatewayList::default();
    let unresolved = LogLimiter::default();
    let [first, longest] = RESOLVE_AGAIN;
    let mut resolve_again = Backoff::new(first, longest);
    loop {
        let entries = addresses.borrow_and_update().clone();
        let mut begin = |address| {
            list.add(address, || {
                debug!(%address, "a gateway is listed");
                let (listed, flag) = watch::channel(true);
                LinkTask { listed, handle: tasks.spawn(run_link(address, link(address, flag))) }
            });
        };
        // First the entries that are IP addresses, so that a slow name does not delay them.
        entries.iter().filter_map(|entry| entry.parse().ok()).for_each(&mut begin);
        let (wanted, all_resolved) = resolve(&entries, &unresolved).await;
        wanted.iter().copied().for_each(&mut begin);
        list.set_listed(&wanted, |task, is_listed| _ = task.listed.send_replace(is_listed));
        if all_resolved {
            resolve_again.reset();
        }
        let wait = if all_resolved { Duration::MAX } else { resolve_again.next_wait() };
        tokio::select! {
            changed = addresses.changed() => if changed.is_err() {
                // The list never changes again: keep the links that there are.
                while tasks.join_next().await.is_some() {}
                return std::future::pending().await;
            },
            Some(_) = tasks.join_next() => list.remove_ended(|task| task.handle.is_finished()),
            () = tokio::time::sleep(wait), if !all_resolved => {}
        }
    }
}

/// Runs a link. If it panics, ends later, because a listed gateway's link starts again at once.
async fn run_link(address: SocketAddrV4, link: impl Future<Output = ()>) {
    if AssertUnwindSafe(link).catch_unwind().await.is_err() {
        let seconds = RESTART_AFTER_PANIC.as_secs();
        error!(%address, "the link to a gateway panicked: it is started again in {seconds} s");
        tokio::time::sleep(RESTART_AFTER_PANIC).await;
    }
}

/// Returns the addresses that the entries stand for, and whether all names among them resolved. Names
/// that take longer than [`RESOLVE_TIMEOUT`] together are left for the next time: a register may list
/// any number of bad ones.
async fn resolve(entries: &[String], unresolved: &LogLimiter) -> (BTreeSet<SocketAddrV4>, bool) {
    let mut resolved: BTreeSet<_> = entries.iter().filter_map(|entry| entry.parse().ok()).collect();
    let names: Vec<String> =
        entries.iter().filter(|entry| entry.parse::<SocketAddrV4>().is_err()).cloned().collect();
    let mut found = stream::iter(names).map(address_of).buffer_unordered(RESOLVING);
    let mut all = true;
    let look_up = async {
        while let Some((name, found)) = found.next().await {
            match found {
                Ok(address) => _ = resolved.insert(address),
                Err(why) => {
                    all = false;
                    unresolved.log(move |names| {
                        warn!(address = %name, why, names, "the address of a listed gateway does not resolve: trying again");
                    });
                }
            }
        }
    };
    if tokio::time::timeout(RESOLVE_TIMEOUT, look_up).await.is_err() {
        all = false;
        let seconds = RESOLVE_TIMEOUT.as_secs();
        warn!("not all addresses of listed gateways have resolved within {seconds} s: trying again");
    }
    (resolved, all)
}

/// Resolves a name, and returns it with its address or why it has none.
async fn address_of(name: String) -> (String, Result<SocketAddrV4, String>) {
    let found = match tokio::net::lookup_host(name.as_str()).await {
        Ok(mut found) => found
            .find_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })
            .ok_or_else(|| {
                "the name has no IPv4 address, and a client id contains its gateway's IPv4 address".into()
            }),
        Err(error) => Err(error.to_string()),
    };
    (name, found)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// Follows `names` with links that report their start, and their end once they are not listed.
    async fn following(names: &[&str]) -> (watch::Sender<Vec<String>>, mpsc::UnboundedReceiver<String>) {
        let (list, addresses) = watch::channel(names.iter().map(|n| (*n).to_owned()).collect());
        let (report, reports) = mpsc::unbounded_channel();
        tokio::spawn(follow_gateways(addresses, move |address, mut listed| {
            let report = report.clone();
            async move {
                report.send(format!("+{address}")).unwrap();
                while *listed.borrow() {
                    if listed.changed().await.is_err() {
                        return;
                    }
                }
                report.send(format!("-{address}")).unwrap();
            }
        }));
        (list, reports)
    }

    #[tokio::test]
    async fn each_listed_gateway_has_one_link_however_often_the_list_comes() {
        let (list, mut reports) = following(&["127.0.0.1:1"]).await;
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:1");
        list.send_replace(vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()]);
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:2");
        list.send_replace(vec!["127.0.0.1:2".into()]);
        assert_eq!(reports.recv().await.unwrap(), "-127.0.0.1:1");
        list.send_replace(vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()]);
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_panics_is_started_again_after_a_pause() {
        let (_list, addresses) = watch::channel(vec!["127.0.0.1:1".to_owned()]);
        let (report, mut reports) = mpsc::unbounded_channel();
        tokio::spawn(follow_gateways(addresses, move |_, _| {
            report.send(Instant::now()).unwrap();
            async { panic!("on purpose") }
        }));
        let first = reports.recv().await.unwrap();
        let second = reports.recv().await.unwrap();
        assert!(second - first >= RESTART_AFTER_PANIC, "after {:?}", second - first);
    }

    #[tokio::test]
    async fn entries_that_are_no_addresses_keep_none_of_the_others_from_a_link() {
        let mut names: Vec<String> = (0..1000).map(|n| format!("no address {n}")).collect();
        names.push("127.0.0.1:2300".into());
        names.push("localhost:2301".into());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (list, mut reports) = following(&names).await;
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:2300");
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:2301");
        list.send_replace(vec!["127.0.0.1:2300".into()]);
        assert_eq!(reports.recv().await.unwrap(), "-127.0.0.1:2301");
    }

    #[tokio::test]
    async fn a_host_name_is_resolved() {
        let (_list, mut reports) = following(&["localhost:2300"]).await;
        assert_eq!(reports.recv().await.unwrap(), "+127.0.0.1:2300");
    }
}
