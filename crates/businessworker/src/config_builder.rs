//! Setting a worker's configuration in code: `Config::default().with_name("Chat")`.
//!
//! Each method sets the field of its name; the fields say what they mean. Nothing is checked
//! here: [`serve`](crate::serve) takes what [`Config::validate`] accepts.

use gatewayworker_http::Config as HttpConfig;
use gatewayworker_net::LinkTlsConfig;
use gatewayworker_protocol::SecretKey;

use crate::{Config, EventsConfig, HistoryConfig};

impl<A> Config<A> {
    /// Sets the registers, `host:port` each.
    #[must_use]
    pub fn with_register_address<R: Into<String>>(mut self, registers: impl IntoIterator<Item = R>) -> Self {
        self.register_address = registers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the cluster's key; an empty one stands for none.
    #[must_use]
    pub fn with_secret_key(mut self, key: SecretKey) -> Self {
        self.secret_key = key;
        self
    }

    /// Sets the name that all workers of an application share.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the id that no other worker of the name on its host has.
    #[must_use]
    pub fn with_worker_id(mut self, id: impl Into<String>) -> Self {
        self.worker_id = Some(id.into());
        self
    }

    /// Sets how many handlers run at once, at least 1.
    #[must_use]
    pub fn with_concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Sets how long a question to the gateways may take, at least 1 ms.
    #[must_use]
    pub fn with_question_timeout_ms(mut self, ms: u64) -> Self {
        self.question_timeout_ms = ms;
        self
    }

    /// Sets from when on a handler is logged as slow; 0 for never.
    #[must_use]
    pub fn with_slow_handler_warning_ms(mut self, ms: u64) -> Self {
        self.slow_handler_warning_ms = ms;
        self
    }

    /// Sets when a handler is cancelled; 0 for never.
    #[must_use]
    pub fn with_handler_timeout_ms(mut self, ms: u64) -> Self {
        self.handler_timeout_ms = ms;
        self
    }

    /// Sets how long handlers may go on after the worker was asked to stop.
    #[must_use]
    pub fn with_shutdown_timeout_ms(mut self, ms: u64) -> Self {
        self.shutdown_timeout_ms = ms;
        self
    }

    /// Sets how often the worker shows each gateway that it lives, at least 1 ms.
    #[must_use]
    pub fn with_link_ping_interval_ms(mut self, ms: u64) -> Self {
        self.link_ping_interval_ms = ms;
        self
    }

    /// Sets how long a gateway may be silent before its links are closed, at least twice
    /// `link_ping_interval_ms`.
    #[must_use]
    pub fn with_link_timeout_ms(mut self, ms: u64) -> Self {
        self.link_timeout_ms = ms;
        self
    }

    /// Sets whether messages to groups and uids go only to gateways that may have one.
    #[must_use]
    pub fn with_interest(mut self, interest: bool) -> Self {
        self.interest = interest;
        self
    }

    /// Sets how long a gateway that is gone is waited for before it is lost.
    #[must_use]
    pub fn with_gateway_lost_after_ms(mut self, ms: u64) -> Self {
        self.gateway_lost_after_ms = ms;
        self
    }

    /// Sets where metrics and health are shown over HTTP, `host:port`.
    #[must_use]
    pub fn with_metrics_listen(mut self, address: impl Into<String>) -> Self {
        self.metrics_listen = Some(address.into());
        self
    }

    /// Sets whether links to gateways of this host go over Unix sockets.
    #[must_use]
    pub fn with_unix_links(mut self, unix_links: bool) -> Self {
        self.unix_links = unix_links;
        self
    }

    /// Sets TLS with gateways and registers.
    #[must_use]
    pub fn with_link_tls(mut self, tls: LinkTlsConfig) -> Self {
        self.link_tls = tls;
        self
    }

    /// Sets the settings of calls over HTTP.
    #[must_use]
    pub fn with_http(mut self, http: HttpConfig) -> Self {
        self.http = http;
        self
    }

    /// Sets the settings of events over HTTP.
    #[must_use]
    pub fn with_events(mut self, events: EventsConfig) -> Self {
        self.events = events;
        self
    }

    /// Sets where the last messages of groups are kept.
    #[must_use]
    pub fn with_history(mut self, history: HistoryConfig) -> Self {
        self.history = history;
        self
    }

    /// Sets the application's own settings.
    #[must_use]
    pub fn with_app(mut self, app: A) -> Self {
        self.app = app;
        self
    }
}
