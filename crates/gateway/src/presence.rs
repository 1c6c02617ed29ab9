//! Presence in the gateway: the core's [`Reporter`] and [`Owner`] behind locks, and the task that works for them.
//!
//! The task ([`Presence::run`]) follows the registers as a client library does, and carries reports to the gateways that
//! keep rooms: as questions, on call links of its own. It sends what the owner says to the rooms, on all gateways. The
//! tasks of links hand in the reports of others ([`Presence::receive`]); the shards tell the feed what changes. What is
//! said and reported is decided in `core::presence`.

use std::net::SocketAddrV4;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gatewayworker_client::{Gateway, Unreached};
use gatewayworker_net::{LogLimiter, RegisterLinks, registers};
use gatewayworker_protocol::presence::{PresenceAnswer, PresenceReport};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::config::{ConfigError, PresenceConfig};
use crate::core::presence::feed::PresenceFeed;
use crate::core::presence::message::MessageTemplate;
use crate::core::presence::owner::{Owner, OwnerCounts, OwnerSettings};
use crate::core::presence::reporter::Reporter;
use crate::gateway_state::GatewayState;

/// How long the owner of a room waits for gateways that do not report when the list has changed.
const SETTLE_MS: u64 = 5_000;

/// How long a report may take, with the connection to its gateway.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a gateway that stops waits for its last reports.
const LAST_REPORTS: Duration = Duration::from_secs(1);

/// So many messages are sent at once, and then it is waited for so long.
const MESSAGES_AT_ONCE: usize = 1_000;
const MESSAGES_PAUSE: Duration = Duration::from_millis(50);

/// The presence of a gateway that has some.
#[derive(Debug)]
pub(crate) struct Presence {
    own: SocketAddrV4,
    started: Instant,
    owner: Mutex<Owner>,
    feed: Arc<PresenceFeed>,
    /// There may be something to report or to say.
    changed: Arc<Notify>,
    /// A report was answered.
    answered: Notify,
    join: Option<MessageTemplate>,
    leave: Option<MessageTemplate>,
    /// Gateways without an answer.
    unanswered: LogLimiter,
}

/// What came of a report: to which gateway, of which series, and its answer.
type Answered = (SocketAddrV4, u64, Option<PresenceAnswer>);

impl Presence {
    /// The presence of a gateway with this address; `None` where none is configured.
    ///
    /// # Errors
    /// When a message is no JSON.
    pub(crate) fn new(config: &PresenceConfig, own: SocketAddrV4) -> Result<Option<Arc<Self>>, ConfigError> {
        if !config.is_on() {
            return Ok(None);
        }
        let [join, leave] = config.templates()?;
        let settings = OwnerSettings {
            linger_ms: config.linger_ms,
            lost_after_ms: config.gateway_lost_after_ms,
            settle_ms: SETTLE_MS,
        };
        // A later process at this address goes on with other numbers.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reporter = Reporter::new(own, config.linger_ms, since_1970.as_micros() as u64);
        let changed = Arc::new(Notify::new());
        let wakes = changed.clone();
        let (groups, data) = (config.groups.clone(), config.data.clone());
        Ok(Some(Arc::new(Self {
            own,
            started: Instant::now(),
            owner: Mutex::new(Owner::new(own, settings)),
            feed: Arc::new(PresenceFeed::new(groups, data, reporter, move || wakes.notify_one())),
            changed,
            answered: Notify::new(),
            join,
            leave,
            unanswered: LogLimiter::default(),
        })))
    }

    /// Where the shards tell of changes.
    pub(crate) fn feed(&self) -> Arc<PresenceFeed> {
        self.feed.clone()
    }

    /// Returns what there is and what has happened, and how many reports were not answered.
    pub(crate) fn counts(&self) -> (OwnerCounts, u64) {
        let failed = self.feed.reporter().failed();
        (self.owner().counts(), failed)
    }

    fn owner(&self) -> MutexGuard<'_, Owner> {
        // Every step of it is complete when a panic could poison the lock.
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Takes a report of a gateway, and returns the answer.
    pub(crate) fn receive(&self, report: PresenceReport) -> PresenceAnswer {
        let answer = {
            let mut owner = self.owner();
            // Under the lock, so that its time never goes back.
            let now_ms = self.now_ms();
            owner.receive(report, now_ms)
        };
        self.changed.notify_one();
        answer
    }

    /// Reports and announces, until the future is dropped.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<GatewayState>) {
        let (list, mut addresses) = watch::channel(Vec::new());
        let follow = shared.clone();
        let _follow = AbortOnDropHandle::new(tokio::spawn(async move {
            let (names, key) = (&follow.config.register_address, &follow.config.secret_key);
            // Its announcement to the same registers is logged.
            let tls = follow.link_tls.as_ref();
            registers::follow_silently(names, key, tls, list, &RegisterLinks::default()).await;
        }));
        let gateway = Gateway::following(addresses.clone())
            .secret_key(shared.config.secret_key.clone())
            .link_tls(shared.link_tls.clone())
            .unix_links(shared.config.unix_links)
            .interest(false)
            .gather_writes()
            .connect();
        let mut reports = JoinSet::new();
        loop {
            let entries = addresses.borrow_and_update().clone();
            self.set_list(&entries);
            let has_more_to_say = self.announce(&gateway).await;
            self.report(&gateway, &mut reports);
            let deadline = self.next_deadline();
            let at = self.started + Duration::from_millis(deadline.unwrap_or_default());
            tokio::select! {
                // The task that publishes the list ends with this one.
                _ = addresses.changed() => {}
                () = self.changed.notified() => {}
                Some(ended) = reports.join_next() => match ended {
                    Ok((gateway, series, answer)) => {
                        self.feed.reporter().answered(gateway, series, answer, self.now_ms());
                        self.answered.notify_waiters();
                    }
                    // Nobody cancels one.
                    Err(error) => resume_unwind(error.into_panic()),
                },
                () = sleep_until(at), if deadline.is_some() => {}
                () = sleep(MESSAGES_PAUSE), if has_more_to_say => {}
            }
        }
    }

    /// Waits until everything is reported, for a second at most: the gateway ends next, and its clients have left.
    ///
    /// Cancel safe.
    pub(crate) async fn reported(&self) {
        let all = async {
            loop {
                let answered = self.answered.notified();
                if self.feed.reporter().has_reported() {
                    return;
                }
                answered.await;
            }
        };
        // What is not said now is noticed after gateway_lost_after_ms.
        let _ = timeout(LAST_REPORTS, all).await;
    }

    fn set_list(&self, entries: &[String]) {
        // A host name is the address of no gateway of ours.
        let gateways: Vec<_> = entries.iter().filter_map(|entry| entry.parse().ok()).collect();
        self.feed.reporter().set_list(&gateways);
        let mut owner = self.owner();
        let now_ms = self.now_ms();
        owner.set_list(&gateways, now_ms);
    }

    /// Sends what is to be said to the rooms, so much of it as goes at once. Returns whether there may be more.
    async fn announce(&self, gateway: &Gateway) -> bool {
        let said: Vec<_> = {
            let mut owner = self.owner();
            let now_ms = self.now_ms();
            owner.advance(now_ms);
            std::iter::from_fn(|| owner.next_said()).take(MESSAGES_AT_ONCE).collect()
        };
        for said in &said {
            let template = if said.is_join { &self.join } else { &self.leave };
            let Some(template) = template else { continue };
            let message = template.fill(&said.room, &said.uid, &said.data);
            if let Err(error) = gateway.send_to_group([&*said.room], message).await {
                debug!(room = &*said.room, %error, "a message of presence was not sent");
            }
        }
        said.len() == MESSAGES_AT_ONCE
    }

    /// Begins the reports that are due, one for each gateway at most.
    fn report(&self, gateway: &Gateway, reports: &mut JoinSet<Answered>) {
        self.feed.reporter().advance(self.now_ms());
        loop {
            let now_ms = self.now_ms();
            let Some((to, report)) = self.feed.reporter().next_report(now_ms) else { return };
            let series = report.series;
            if to == self.own {
                let answer = self.receive(report);
                self.feed.reporter().answered(to, series, Some(answer), self.now_ms());
                continue;
            }
            let (gateway, unanswered) = (gateway.clone(), self.unanswered.clone());
            reports.spawn(async move {
                let asking = async {
                    gateway.connected(to).await;
                    gateway.report_presence(to, report).await
                };
                let answer = timeout(REPORT_TIMEOUT, asking).await;
                let answer = answer.unwrap_or(Err(Unreached::TimedOut));
                match &answer {
                    Err(why) => {
                        let why = *why;
                        unanswered.log(move |times| {
                            warn!(gateway = %to, %why, times, "a gateway does not take reports of presence: it is tried again")
                        });
                    }
                    Ok(PresenceAnswer::Off) => unanswered.log(move |times| {
                        warn!(
                            gateway = %to,
                            times,
                            "another gateway has no presence.groups set: nothing is said about the rooms that it owns; set \
                             the same on all gateways"
                        )
                    }),
                    Ok(_) => {}
                }
                (to, series, answer.ok())
            });
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let report = self.feed.reporter().next_deadline();
        [report, self.owner().next_deadline()].into_iter().flatten().min()
    }
}

/// Returns the answer to a report, of a gateway that may have no presence; `None` stands for a report that cannot be read.
pub(crate) fn answer(presence: Option<&Arc<Presence>>, report: Option<PresenceReport>) -> Bytes {
    let answer = match (presence, report) {
        (None, _) => PresenceAnswer::Off,
        (Some(_), None) => PresenceAnswer::UnknownSeries,
        (Some(presence), Some(report)) => presence.receive(report),
    };
    answer.to_json().into()
}
