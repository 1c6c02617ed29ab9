//! The register's metrics, read from its roster and its counters at each scrape. `server` serves them.

use std::sync::Arc;

use gatewayworker_metrics::{Families, Source};

use crate::register::Register;

/// The register as a source of metrics.
#[derive(Debug)]
pub(crate) struct RegisterMetrics(pub(crate) Arc<Register>);

impl Source for RegisterMetrics {
    async fn read(&self, into: &mut Families) {
        let (gateways, followers) = {
            let roster = self.0.roster();
            (roster.gateways(), roster.followers())
        };
        into.gauge("gatewayworker_gateways", "Gateways in the register's list.", gateways);
        into.gauge(
            "gatewayworker_workers",
            "Workers and client libraries that follow the register's list.",
            followers,
        );
        into.counters(
            "gatewayworker_rejected_total",
            "Connections that the register refused or closed, by reason.",
            "reason",
            self.0.rejections.by_reason(),
        );
    }
}
