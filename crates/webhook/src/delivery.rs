//! Sends one event until it is answered, has failed, or is given back: waits for a backend, makes a try, and asks `tries`
//! what is next.
//!
//! `http_events` calls [`Delivery::deliver`], once for each event. What is decided here is decided by `backends` and `tries`;
//! this module waits and logs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewayworker_businessworker::EventsConfig;
use reqwest::Url;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::SetupError;
use crate::answer::Answer;
use crate::backends::{Backends, Choice};
use crate::event::Event;
use crate::request::Requests;
use crate::signature::Signer;
use crate::stats::Stats;
use crate::tries::{Next, Outcome, Received, Tries};

/// Sends events.
#[derive(Debug)]
pub(crate) struct Delivery {
    urls: Vec<Url>,
    requests: Requests,
    signer: Signer,
    permits: Semaphore,
    backends: Mutex<Backends>,
    /// Wakes events that wait for a backend: they choose again.
    reported: Notify,
    stats: Arc<Stats>,
    /// The worker was asked to stop.
    shutdown: CancellationToken,
    max_calls: usize,
    max_deliveries: u32,
    retry_delay_ms: u64,
    started: Instant,
}

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// It was answered.
    Answered(Answer),
    /// It has failed; this says why.
    Failed(String),
    /// The worker stops, and the event had to wait. `was_sent` says that a backend may have handled it.
    Stopped { was_sent: bool },
}

/// A request on its way to a backend. Dropped without a report, it was given up.
struct Sending<'a> {
    delivery: &'a Delivery,
    backend: usize,
    is_probe: bool,
    is_reported: bool,
}

impl Delivery {
    pub(crate) fn new(
        config: &EventsConfig,
        stats: Arc<Stats>,
        shutdown: CancellationToken,
    ) -> Result<Self, SetupError> {
        let parse = |url: &String| url.parse().map_err(|_| SetupError::Url(url.chars().take(128).collect()));
        let urls: Vec<Url> = config.url.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self {
            requests: Requests::new(config, &urls)?,
            signer: Signer::new([&config.secret, &config.next_secret]),
            permits: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
            backends: Mutex::new(Backends::new(urls.len())),
            reported: Notify::new(),
            stats,
            shutdown,
            max_calls: config.max_calls,
            max_deliveries: config.max_deliveries,
            retry_delay_ms: config.retry_delay_ms,
            started: Instant::now(),
            urls,
        })
    }

    /// Sends an event until it is answered or has failed. Where the worker stops, an event that would have to wait is
    /// returned as [`Stopped`](Delivered::Stopped), if `may_stop` says that somebody else takes it; a request that runs is
    /// waited for.
    pub(crate) async fn deliver(&self, event: &Event, may_stop: bool) -> Delivered {
        let stopped = async {
            match may_stop {
                true => self.shutdown.cancelled().await,
                false => std::future::pending().await,
            }
        };
        let mut stopped = std::pin::pin!(stopped);
        let mut tries = Tries::new(self.max_deliveries, self.retry_delay_ms);
        let mut failed_last = false;
        let mut was_sent = false;
        loop {
            let next = {
                let waiting = self.stats.waiting();
                let turn = async {
                    // The semaphore is never closed.
                    let permit = self.permits.acquire().await.ok();
                    (permit, self.choose(failed_last).await)
                };
                let (_permit, sending) = tokio::select! {
                    biased;
                    turn = turn => turn,
                    () = &mut stopped => return Delivered::Stopped { was_sent },
                };
                drop(waiting);
                self.try_once(event, &mut tries, sending, &mut was_sent).await
            };
            failed_last = matches!(next, Next::Wait);
            match next {
                Next::Done(answer) => return Delivered::Answered(answer),
                Next::Fail(why) => return Delivered::Failed(why),
                Next::AtOnce | Next::Wait => {}
                Next::Pause { ms } => {
                    let _waiting = self.stats.waiting();
                    tokio::select! {
                        () = sleep(Duration::from_millis(ms)) => {}
                        () = &mut stopped => return Delivered::Stopped { was_sent },
                    }
                }
            }
        }
    }

    /// Returns the problem of the worker where every backend is away, or `None`.
    pub(crate) fn problem(&self) -> Option<String> {
        let backends = self.backends();
        let away: Vec<_> = backends.away().collect();
        if away.len() < self.urls.len() {
            return None;
        }
        let (backend, first) = away.first()?;
        let seconds = self.now_ms().saturating_sub(first.since_ms) / 1_000;
        Some(format!(
            "the businessworker waits for the backend of events.url, {}, which is away for {seconds} s: {}. Events go on \
             when it answers",
            shown(&self.urls[*backend]),
            first.why
        ))
    }

    /// Waits for a backend.
    async fn choose(&self, failed_last: bool) -> Sending<'_> {
        loop {
            let mut reported = std::pin::pin!(self.reported.notified());
            reported.as_mut().enable();
            let choice = self.backends().choose(self.now_ms(), failed_last);
            match choice {
                Choice::Send { backend, is_probe } => {
                    return Sending { delivery: self, backend, is_probe, is_reported: false };
                }
                Choice::Wait { until_ms: None } => reported.await,
                Choice::Wait { until_ms: Some(ms) } => {
                    tokio::select! {
                        () = reported => {}
                        () = sleep_until(self.started + Duration::from_millis(ms)) => {}
                    }
                }
            }
        }
    }

    /// Sends an event once, and notes whether the backend may have received it. Returns what is next.
    async fn try_once(
        &self,
        event: &Event,
        tries: &mut Tries,
        sending: Sending<'_>,
        was_sent: &mut bool,
    ) -> Next {
        let body = event.body(tries.number());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signature = self.signer.sign(now.as_secs(), &body);
        let began = Instant::now();
        let received = {
            let _in_flight = self.stats.in_flight();
            let url = &self.urls[sending.backend];
            self.requests.send(url, &event.id, signature.as_deref(), body).await
        };
        *was_sent |= !matches!(received, Received::Unreachable(_));
        if matches!(received, Received::TimedOut) {
            self.stats.discarded.count();
        }
        let (outcome, meaning) = received.judge(self.max_calls, &event.client_id);
        self.stats.request_ended(outcome, began.elapsed());
        let why = meaning.why().unwrap_or_default().to_owned();
        let retry_after = meaning.retry_after();
        if outcome != Outcome::Answered {
            debug!(id = event.id, number = tries.number(), why, "a request with an event was of no use");
        }
        let answers = self.backends().answers();
        let next = tries.next(meaning, answers, rand::random());
        sending.report(outcome, &next, retry_after, why);
        next
    }

    fn backends(&self) -> MutexGuard<'_, Backends> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

impl Sending<'_> {
    /// Notes how the request has ended, how long the backend wants to be left alone, and why the request was of no use, if it
    /// was not.
    fn report(mut self, outcome: Outcome, next: &Next, retry_after: Duration, why: String) {
        self.is_reported = true;
        let Self { delivery, backend, is_probe, .. } = self;
        let (stats, url) = (&delivery.stats, &delivery.urls[backend]);
        let now_ms = delivery.now_ms();
        let mut backends = delivery.backends();
        let mut is_back = false;
        if outcome == Outcome::TimedOut {
            // It is no answer. A backend that is away stays away, and one that is slow is not.
            if is_probe {
                backends.note_away(backend, is_probe, now_ms, rand::random(), retry_after, why);
            }
        } else if outcome != Outcome::Away {
            if let Some(since_ms) = backends.note_answer(backend) {
                is_back = true;
                stats.away.fetch_sub(1, Ordering::Relaxed);
                let away_ms = now_ms.saturating_sub(since_ms);
                info!(url = shown(url), away_ms, "the backend is back: events go on");
            }
        } else if is_probe || !matches!(next, Next::AtOnce) {
            // A connection that ends under its first event says nothing: it may have been kept for too long.
            if backends.note_away(backend, is_probe, now_ms, rand::random(), retry_after, why.clone()) {
                stats.away.fetch_add(1, Ordering::Relaxed);
                warn!(url = shown(url), why, "the backend is away: events wait until it answers");
            }
        }
        if is_probe || is_back {
            delivery.reported.notify_waiters();
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.is_reported && self.is_probe {
            self.delivery.backends().note_given_up(self.backend);
            self.delivery.reported.notify_waiters();
        }
    }
}

/// Returns a URL for people, without its query: that may hold a secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
