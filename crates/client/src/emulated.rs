//! Commands that no gateway has, made of those that every gateway has.
//!
//! Each of them asks the gateways for the clients, and then tells each gateway about its own
//! clients by their ids. That is correct with gateways of either kind, but it is not atomic: a
//! client that is bound or joins between the answer and the command is missed, and so is one
//! that its worker has not admitted yet. A gateway that did not answer is named in the
//! [`Delivery`] as unreached. So is a gateway whose link has no room for all of the commands
//! (some 300,000 clients to close): the command can be made again for the rest.
//!
//! If a gateway of ours ever has such a command of its own, this file is the place where it is
//! sent instead.

use std::collections::HashSet;
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, Command, GroupId, Payload, Uid};

use crate::frames::{Plan, by_gateway, send_to_clients};
use crate::targets::without;
use crate::{AskError, ClusterName, Column, Delivery, Error, Gateway, Unreached, Where};

/// Clients that the gateways have named, and the gateways that did not answer.
struct Found {
    clients: Vec<ClientId>,
    silent: Vec<(SocketAddrV4, Unreached)>,
    silent_clusters: Vec<(ClusterName, Unreached)>,
}

/// Sends a message to the clients of these uids, without those in `except`.
pub(crate) async fn send_to_uids(
    gateway: &Gateway,
    uids: Vec<Bytes>,
    except: &HashSet<ClientId>,
    message: &Payload,
) -> Result<Delivery, Error> {
    let found = clients_of_uids(gateway, uids).await?;
    tell(gateway, found, except, |plan, address, ids| {
        plan.extend(send_to_clients(gateway, address, ids, message));
    })
}

/// Closes the clients of these uids, without those in `except`.
pub(crate) async fn close_uids(
    gateway: &Gateway,
    uids: Vec<Bytes>,
    except: &HashSet<ClientId>,
    last_message: Option<&Payload>,
) -> Result<Delivery, Error> {
    let found = clients_of_uids(gateway, uids).await?;
    close(gateway, found, except, last_message)
}

/// Closes the members of these groups, without those in `except`.
pub(crate) async fn close_groups(
    gateway: &Gateway,
    groups: Vec<Bytes>,
    except: &HashSet<ClientId>,
    last_message: Option<&Payload>,
) -> Result<Delivery, Error> {
    let groups: Vec<_> = groups.into_iter().map(GroupId::new).collect::<Result<_, _>>()?;
    let members = gateway.select([Column::Uid], Where::default().with_groups(groups)).await;
    close(gateway, found(members, |rows| rows.into_keys().collect())?, except, last_message)
}

async fn clients_of_uids(gateway: &Gateway, uids: Vec<Bytes>) -> Result<Found, Error> {
    let uids: Vec<_> = uids.into_iter().map(Uid::new).collect::<Result<_, _>>()?;
    if uids.is_empty() {
        return Ok(Found { clients: Vec::new(), silent: Vec::new(), silent_clusters: Vec::new() });
    }
    let clients = gateway.batch_client_ids_by_uid(uids).await;
    found(clients, |by_uid| by_uid.into_values().flatten().collect())
}

/// The clients that were found, as far as the gateways have answered.
fn found<T>(
    answer: Result<T, AskError<T>>,
    clients: impl FnOnce(T) -> Vec<ClientId>,
) -> Result<Found, Error> {
    match answer {
        Ok(whole) => Ok(Found { clients: clients(whole), silent: Vec::new(), silent_clusters: Vec::new() }),
        Err(AskError::Incomplete { partial, missing, missing_clusters }) => {
            Ok(Found { clients: clients(partial), silent: missing, silent_clusters: missing_clusters })
        }
        Err(AskError::NotAsked(error)) => Err(error),
    }
}

fn close(
    gateway: &Gateway,
    found: Found,
    except: &HashSet<ClientId>,
    last_message: Option<&Payload>,
) -> Result<Delivery, Error> {
    tell(gateway, found, except, |plan, address, ids| {
        // Once for all of them: it would be as often in the link's outbox as there are clients.
        if let Some(message) = last_message {
            plan.extend(send_to_clients(gateway, address, ids.clone(), message));
        }
        let kick = |connection_id| Command::Kick { connection_id, message: None }.into_frame();
        plan.extend(ids.into_iter().map(|id| (address, kick(id))));
    })
}

/// Hands each gateway the frames that `frames` plans for its clients.
fn tell(
    gateway: &Gateway,
    found: Found,
    except: &HashSet<ClientId>,
    frames: impl Fn(&mut Plan, SocketAddrV4, Vec<u32>),
) -> Result<Delivery, Error> {
    let mut plan = Plan::new();
    for (address, ids) in by_gateway(without(gateway, found.clients, except)) {
        frames(&mut plan, address, ids);
    }
    let mut delivery = gateway.tell_some(&plan)?;
    delivery.unreached.extend(found.silent);
    delivery.unreached_clusters.extend(found.silent_clusters);
    delivery.unreached.sort_by_key(|(gateway, _)| *gateway);
    Ok(delivery)
}
