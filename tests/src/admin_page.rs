//! The page for operators of a [`Cluster`], in the test's process, and requests to it.

use std::net::SocketAddr;

use gatewayworker_admin::{About, Access, Config, ServedPage};
use gatewayworker_daemon::{ListenerSource, Warnings};
use gatewayworker_protocol::SecretKey;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{Cluster, HttpAnswer, HttpRequest};

/// The token of the page.
pub const ADMIN_TOKEN: &str = "a-token-of-operators";

/// The page for operators, on a free port. Dropping it ends it.
pub struct AdminPage {
    /// Where it is served.
    pub address: SocketAddr,
    /// The warnings that it shows.
    pub warnings: Warnings,
    _served: ServedPage,
}

impl AdminPage {
    /// Serves the page of a cluster that has this key, with [`ADMIN_TOKEN`].
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(cluster: &Cluster, key: &str) -> Self {
        Self::with_token(cluster, key, ADMIN_TOKEN).await
    }

    /// Serves it with another token, or with none where it is empty.
    ///
    /// # Panics
    /// It does not start.
    pub async fn with_token(cluster: &Cluster, key: &str, token: &str) -> Self {
        let mut config = Config::new("127.0.0.1:0").with_token(SecretKey::new(token));
        config.hosts = vec!["admin.example.com".into()];
        let secret_key = SecretKey::new(key);
        let listeners = ListenerSource::default();
        let page = gatewayworker_admin::open(&config, &secret_key, &listeners).await.expect("a free port");
        let page = page.expect("it is on");
        let address = page.url().strip_prefix("http://").and_then(|url| url.strip_suffix('/')?.parse().ok());
        let access = Access::new(vec![cluster.register.to_string()], secret_key, None);
        let warnings = Warnings::default();
        let about = About {
            served_by: "gatewayworker start",
            access,
            warnings: Some(warnings.clone()),
            daemons: None,
        };
        let served = page.start(about, CancellationToken::new()).expect("a thread");
        Self { address: address.expect("an address"), warnings, _served: served }
    }

    /// Returns a request without a token.
    pub fn get(&self, path: &str) -> HttpRequest {
        HttpRequest::new(self.address, "GET", path)
    }

    /// Returns a request with the token.
    pub fn post(&self, path: &str, body: &Value) -> HttpRequest {
        HttpRequest::post(self.address, path, body).token(ADMIN_TOKEN)
    }

    /// Returns what the page shows of the cluster.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn cluster(&self) -> Value {
        let HttpAnswer { status, body, .. } = self.get("/api/cluster").send().await;
        assert_eq!(status, 200, "{body}");
        body
    }
}
