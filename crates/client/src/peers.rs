//! What gateways of ours say to each other over a client library: reports of presence.
//!
//! For our own gateway, which follows the registers as any other user of the library does. An application has no use for it.

use std::net::SocketAddrV4;

use gatewayworker_protocol::Question;
use gatewayworker_protocol::presence::{PresenceAnswer, PresenceReport};

use crate::{Gateway, Unreached};

impl Gateway {
    /// Reports to another gateway what this one has in presence rooms. A PHP gateway does not answer.
    ///
    /// Cancel safe: the answer to a report that nobody waits for any more is dropped.
    ///
    /// # Errors
    /// When the gateway is not connected, or does not answer within the question time-out.
    #[doc(hidden)]
    pub async fn report_presence(
        &self,
        gateway: SocketAddrV4,
        report: PresenceReport,
    ) -> Result<PresenceAnswer, Unreached> {
        let answer = self.ask_own(gateway, Question::PresenceReport(Some(Box::new(report)))).await?;
        PresenceAnswer::from_json(&answer).ok_or(Unreached::BadAnswer)
    }
}
