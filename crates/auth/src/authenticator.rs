//! The shell around the [`Verifier`]: it keeps the verifier for all threads, and the keys of `jwks_url` fresh.
//!
//! Handshakes call [`Authenticator::check`]; one task of the gateway runs [`Authenticator::refresh`]. A key set that
//! cannot be fetched again stays as it was. No lock is held across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewayworker_daemon::log_time;
use reqwest::Url;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::claims::{Identity, Limits};
use crate::config::{Config, ConfigError};
use crate::fetch::Fetcher;
use crate::keys::Key;
use crate::refusal::Refusal;
use crate::schedule::Schedule;
use crate::verifier::{KeySet, Verifier};

/// Says what tokens are worth, for all threads of a gateway.
#[derive(Debug)]
pub struct Authenticator {
    verifier: RwLock<Arc<Verifier>>,
    remote: Option<Remote>,
}

/// The key set of `jwks_url`.
#[derive(Debug)]
struct Remote {
    fetcher: Mutex<Fetcher>,
    /// The URL, for the log: without a name, a password and a query.
    url: String,
    started: Instant,
    schedule: Mutex<Schedule>,
    /// The schedule has changed.
    wanted: Notify,
    /// How many fetches have ended.
    fetched: watch::Sender<u64>,
    /// The fetches that have failed since the last one that has not.
    failure: Mutex<Option<Failure>>,
}

/// Fetches that have failed, one after the other.
#[derive(Debug, Clone)]
struct Failure {
    /// When the first of them ended, as log lines have the time.
    since: String,
    /// Why the last of them has failed.
    why: String,
}

impl Authenticator {
    /// Reads the keys that the configuration names. Those of `jwks_url` are away until
    /// [`refresh`](Self::refresh) has fetched them.
    ///
    /// # Errors
    /// When a key cannot be read, or used.
    pub fn new(config: &Config, limits: Limits) -> Result<Self, ConfigError> {
        let verifier = config.verifier(limits)?;
        let remote = config.fetcher()?.map(|fetcher| Remote {
            url: shown(fetcher.url()),
            fetcher: Mutex::new(fetcher),
            started: Instant::now(),
            schedule: Mutex::new(Schedule::new(config.jwks_refresh_s.saturating_mul(1000))),
            wanted: Notify::new(),
            fetched: watch::Sender::new(0),
            failure: Mutex::new(None),
        });
        Ok(Self { verifier: RwLock::new(Arc::new(verifier)), remote })
    }

    /// Returns who a token is about, now. Where it names a key that is not known, the key set is fetched before, unless
    /// that was done a moment ago.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn check(&self, token: &str) -> Result<Identity, Refusal> {
        let verified = self.verify(token);
        match (&verified, &self.remote) {
            (Err(Refusal::Key | Refusal::KeysAway), Some(remote)) if remote.fetch_at_once().await => {
                self.verify(token)
            }
            _ => verified,
        }
    }

    /// Does the same where nobody runs [`refresh`](Self::refresh): fetches the key set first, where there is one.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn check_once(&self, token: &str) -> Result<Identity, Refusal> {
        tokio::select! {
            checked = self.check(token) => checked,
            () = self.refresh() => Err(Refusal::KeysAway),
        }
    }

    fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        self.verifier().verify(token, unix_s())
    }

    fn verifier(&self) -> Arc<Verifier> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how long a client may stay whose token expires at `expires_at`, in seconds since 1970: until then, and
    /// the leeway longer.
    pub fn time_left(&self, expires_at: u64) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.verifier().with_leeway(expires_at)).saturating_sub(now)
    }

    /// Returns why clients with tokens of `jwks_url` are refused: its keys were never fetched. `None` where there are
    /// keys, also those of an earlier fetch: then there may be a [`notice`](Self::notice).
    pub fn problem(&self) -> Option<String> {
        let remote = self.remote.as_ref()?;
        let KeySet::Away = self.verifier().key_set else { return None };
        let refused = "clients with tokens of its keys are refused";
        Some(match remote.failure() {
            Some(Failure { why, .. }) => {
                format!("auth.jwks_url: the keys cannot be fetched, {refused}: {}: {why}", remote.url)
            }
            None => format!("auth.jwks_url: the keys are not fetched yet, {refused}"),
        })
    }

    /// Returns why the keys of `jwks_url` are not renewed, since when, and what that means, where those of an earlier fetch
    /// are there.
    pub fn notice(&self) -> Option<String> {
        let remote = self.remote.as_ref()?;
        let KeySet::Fetched(_) = self.verifier().key_set else { return None };
        let Failure { since, why } = remote.failure()?;
        Some(format!(
            "auth.jwks_url: the keys cannot be fetched again since {since}; tokens of the earlier keys are still \
             accepted, those of newer keys are refused: {}: {why}",
            remote.url
        ))
    }

    /// Fetches the key set, now and then, for as long as the future is polled. It never ends.
    pub async fn refresh(&self) {
        let Some(remote) = &self.remote else { return std::future::pending().await };
        loop {
            remote.wait_until_due().await;
            lock(&remote.schedule).begin(remote.now_ms());
            let fetcher = lock(&remote.fetcher).clone();
            let fetched = fetcher.fetch().await;
            lock(&remote.schedule).end(fetched.is_ok(), remote.now_ms());
            let why = fetched.map(|keys| self.replace_key_set(keys, &remote.url)).err();
            remote.note(why);
        }
    }

    /// Reads the files again that the configuration names: keys, and `ca_file`. Clients that are connected stay.
    ///
    /// # Errors
    /// When one cannot be read, or used. All is as it was, then.
    pub fn reload(&self, config: &Config) -> Result<(), ConfigError> {
        let (own_keys, fetcher) = (config.own_keys()?, config.fetcher()?);
        if let (Some(remote), Some(fetcher)) = (&self.remote, fetcher) {
            *lock(&remote.fetcher) = fetcher;
        }
        // Under the lock, so that a key set that comes at the same time is not lost.
        let mut verifier = self.verifier.write().unwrap_or_else(PoisonError::into_inner);
        *verifier = Arc::new(Verifier { own_keys, ..Verifier::clone(&verifier) });
        Ok(())
    }

    fn replace_key_set(&self, keys: Vec<Key>, url: &str) {
        let mut verifier = self.verifier.write().unwrap_or_else(PoisonError::into_inner);
        if let KeySet::Away = verifier.key_set {
            info!(keys = keys.len(), url, "the keys of tokens are fetched");
        }
        *verifier = Arc::new(Verifier { key_set: KeySet::Fetched(keys), ..Verifier::clone(&verifier) });
    }
}

impl Remote {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    async fn wait_until_due(&self) {
        loop {
            let due_ms = lock(&self.schedule).next_ms();
            if due_ms <= self.now_ms() {
                return;
            }
            tokio::select! {
                () = sleep_until(self.started + Duration::from_millis(due_ms)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Has the key set fetched at once, and waits for the end of that, or of the fetch that is under way. Returns
    /// `false` without a wait where it was fetched a moment ago.
    async fn fetch_at_once(&self) -> bool {
        let mut fetched = self.fetched.subscribe();
        if !lock(&self.schedule).want(self.now_ms()) {
            return false;
        }
        self.wanted.notify_one();
        // The sender is in `self`.
        fetched.changed().await.is_ok()
    }

    fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// Notes the end of a fetch, and why it has failed, if it has. Logs the first failure, and the end of them.
    fn note(&self, why: Option<String>) {
        let before = self.failure();
        match (&why, &before) {
            (Some(problem), None) => warn!(
                url = self.url,
                problem, "the keys of tokens cannot be fetched: those of an earlier fetch stay"
            ),
            (None, Some(_)) => info!(url = self.url, "the keys of tokens are fetched again"),
            _ => {}
        }
        let since = || before.map_or_else(log_time, |failure| failure.since);
        let failure = why.map(|why| Failure { since: since(), why });
        *lock(&self.failure) = failure;
        self.fetched.send_modify(|fetches| *fetches += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Returns the time in seconds since 1970, which tokens count in; 0 where the clock stands before.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
