//! What goes to other clusters, too: sends to groups, uids and everybody, and commands for gateways that are not the
//! own cluster's.
//!
//! `send.rs` and `commands.rs` call it for handles with a [`Federation`], `gateway.rs` for gateways that it does not know. It
//! checks before anything is sent that NATS takes the call.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, Frame, MAX_FRAME_LEN, Payload};

use crate::dispatch::Dispatch;
use crate::federation::{Destination, Federation, at_gateway_len, encode_at_gateway, encode_everywhere};
use crate::gateway::check_len;
use crate::names::Names;
use crate::targets::Target;
use crate::{Delivery, Error, Gateway, Unreached};

/// A send as it goes to other clusters.
#[derive(Debug)]
pub struct Elsewhere {
    /// Whose members it is for.
    pub(crate) names: Names,
    /// The commands, without anybody excepted.
    pub(crate) frames: Vec<Frame>,
    /// Who does not get it.
    pub(crate) except: Vec<ClientId>,
}

/// The calls of a send, of which each fits a message of NATS.
#[derive(Debug)]
pub(crate) struct Calls {
    names: Names,
    calls: Vec<Bytes>,
}

impl Elsewhere {
    /// Makes calls of it.
    ///
    /// # Errors
    /// When one of them does not fit a message of NATS.
    pub(crate) fn into_calls(self, federation: &dyn Federation) -> Result<Calls, Error> {
        let limit = federation.max_call_len();
        let call = |frame: &Frame| {
            let call = encode_everywhere(frame, &self.except);
            if call.len() > limit {
                Err(Error::TooLargeForClusters { len: call.len(), limit })
            } else {
                Ok(call)
            }
        };
        let calls = self.frames.iter().map(call).collect::<Result<_, _>>()?;
        Ok(Calls { names: self.names, calls })
    }
}

impl Calls {
    /// Publishes them, and notes in `delivery` where NATS has not taken them.
    pub(crate) fn publish(self, federation: &dyn Federation, delivery: &mut Delivery) {
        let to = self.names.destination();
        for call in self.calls {
            // Once clusters have missed a call, they get none of the later ones.
            if let Err(unreached) = federation.publish(to, call) {
                delivery.unreached_clusters = unreached;
                return;
            }
        }
    }
}

/// Sends to the own gateways and then to other clusters. What is refused by the own cluster goes nowhere.
pub(crate) fn send<T: Target>(
    gateway: &Gateway,
    federation: &Arc<dyn Federation>,
    to: T,
    message: Payload,
) -> Dispatch {
    // Frames that other clusters' gateways take, which may be older, and that fit a message of NATS.
    let limit = federation.max_call_len().min(MAX_FRAME_LEN);
    let elsewhere = to
        .elsewhere(&message, limit)
        .map(|elsewhere| Elsewhere { except: gateway.for_other_clusters(elsewhere.except), ..elsewhere });
    let calls = match elsewhere.map(|elsewhere| elsewhere.into_calls(&**federation)) {
        None => return to.send(gateway, message),
        Some(Err(error)) => return Dispatch::Done(Err(error)),
        Some(Ok(calls)) => calls,
    };
    match to.send(gateway, message) {
        Dispatch::Done(Ok(mut delivery)) => {
            calls.publish(&**federation, &mut delivery);
            Dispatch::Done(Ok(delivery))
        }
        other => other,
    }
}

impl Gateway {
    /// Returns the length of the longest frame for a gateway, in bytes, whichever cluster has it.
    pub(crate) fn max_frame_len_at(&self, gateway: SocketAddrV4) -> usize {
        let limit = self.max_frame_len();
        match self.federation() {
            Some(federation) if !self.links().read().contains_key(&gateway) => {
                let beside = at_gateway_len(&Frame::default()) - Frame::default().encoded_len();
                limit.min(federation.max_call_len().saturating_sub(beside))
            }
            _ => limit,
        }
    }

    /// Checks that a frame for a gateway that is not the own cluster's can be sent.
    pub(crate) fn check_elsewhere(&self, gateway: SocketAddrV4, frame: &Frame) -> Result<(), Error> {
        check_len(frame, MAX_FRAME_LEN)?;
        let Some(federation) = self.federation() else { return Ok(()) };
        let (len, limit) = (at_gateway_len(frame), federation.max_call_len());
        if len > limit && federation.find_gateway(gateway).is_some() {
            return Err(Error::TooLargeForClusters { len, limit });
        }
        Ok(())
    }

    /// Hands a frame for a gateway that is not the own cluster's to the cluster that has it.
    pub(crate) fn tell_elsewhere(&self, gateway: SocketAddrV4, frame: &Frame, delivery: &mut Delivery) {
        let found =
            self.federation().and_then(|federation| Some((federation, federation.find_gateway(gateway)?)));
        match found {
            None => delivery.note(gateway, Err(Unreached::NotKnown)),
            Some((federation, (cluster, gateway))) => {
                // Once a cluster has missed a frame, it gets none of the later ones.
                if delivery.unreached_clusters.iter().any(|(missed, _)| *missed == cluster) {
                    return;
                }
                let call = encode_at_gateway(gateway, frame);
                if let Err(unreached) = federation.publish(Destination::One(&cluster), call) {
                    delivery.unreached_clusters.extend(unreached);
                }
            }
        }
    }
}
