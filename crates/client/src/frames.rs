//! Making frames for the gateways: which ids go to which gateway, and how many fit a frame.
//!
//! `targets.rs` and `emulated.rs` make plans of frames here, and `Gateway::tell_some` hands the
//! frames to the links.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Body, ClientId, Command, Frame, HEADER_LEN, Payload};

use crate::gateway::check_len;
use crate::names::Names;
use crate::{Delivery, Error, Gateway};

/// The frames for each gateway, in the order in which to send them.
pub(crate) type Plan = Vec<(SocketAddrV4, Frame)>;

/// The most bytes that an id takes in the JSON of a frame: `"4294967295":4294967295,`.
const ID_COST: usize = 24;

/// The most bytes that the JSON around a list takes.
const LIST_COST: usize = 64;

/// Frames that send a message to these clients of one gateway.
pub(crate) fn send_to_clients(
    gateway: &Gateway,
    address: SocketAddrV4,
    ids: Vec<u32>,
    message: &Payload,
) -> impl Iterator<Item = (SocketAddrV4, Frame)> {
    let parts = chunks(ids, |_| ID_COST, room_beside(gateway.max_frame_len_at(address), message, 0));
    parts.into_iter().map(move |ids| {
        let command = Command::SendToAll { to: Audience::Only(ids), message: message.clone() };
        (address, command.into_frame())
    })
}

/// Hands every gateway that may have one of `names` the commands that `commands` makes of the ids of its
/// own clients.
pub(crate) fn to_each(
    gateway: &Gateway,
    names: &Names,
    ids: Vec<ClientId>,
    commands: impl Fn(Vec<u32>) -> Vec<Command>,
) -> Result<Delivery, Error> {
    let links = gateway.links().all();
    if links.is_empty() {
        return Err(Error::NoGateways);
    }
    let mut own = by_gateway(ids);
    gateway.resolve_own_aliases(&mut own);
    let mut plan = Plan::new();
    for (address, link) in links.iter() {
        if !link.interest.may_have(names) {
            continue;
        }
        let commands = commands(own.remove(address).unwrap_or_default());
        plan.extend(commands.into_iter().map(|command| (*address, command.into_frame())));
    }
    if plan.is_empty() {
        // What is too long is so wherever the members are.
        for command in commands(Vec::new()) {
            check_len(&command.into_frame(), gateway.max_frame_len())?;
        }
    }
    gateway.tell_some(&plan)
}

/// The connection ids of these clients, by their gateways.
pub(crate) fn by_gateway(ids: impl IntoIterator<Item = ClientId>) -> BTreeMap<SocketAddrV4, Vec<u32>> {
    let mut own = BTreeMap::<_, Vec<u32>>::new();
    for id in ids {
        own.entry(id.gateway()).or_default().push(id.connection_id());
    }
    own
}

/// Cuts a list of uids or groups so that each part fits a frame with this message and so many
/// client ids.
pub(crate) fn name_chunks(
    gateway: &Gateway,
    names: Vec<Bytes>,
    message: &Payload,
    ids: usize,
) -> Vec<Vec<Bytes>> {
    name_chunks_within(gateway.max_frame_len(), names, message, ids)
}

/// The same for frames of at most `limit` bytes.
pub(crate) fn name_chunks_within(
    limit: usize,
    names: Vec<Bytes>,
    message: &Payload,
    ids: usize,
) -> Vec<Vec<Bytes>> {
    chunks(names, name_cost, room_beside(limit, message, ids))
}

/// The bytes that a frame of at most `limit` bytes with this message and so many client ids has left for a list.
fn room_beside(limit: usize, message: &Payload, ids: usize) -> usize {
    let (Body::Plain(body) | Body::Php(body)) = &message.body;
    let body = body.len();
    limit.saturating_sub(HEADER_LEN + LIST_COST + body + ids.saturating_mul(ID_COST))
}

/// The most bytes that a name takes in JSON: each byte may be escaped (`\u001f`), or
/// replaced with three.
fn name_cost(name: &Bytes) -> usize {
    name.len() * 6 + 3
}

/// Cuts a list so that no part costs more than `room`. An item that does not fit alone
/// gets a part of its own, and its frame is found too long later.
fn chunks<T>(items: Vec<T>, cost: impl Fn(&T) -> usize, room: usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let cost = cost(&item);
        match parts.last_mut() {
            Some(part) if cost <= left => {
                left -= cost;
                part.push(item);
            }
            _ => {
                parts.push(vec![item]);
                left = room.saturating_sub(cost);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_so_that_each_part_fits() {
        let parts = chunks(vec![4, 4, 4, 9, 100, 1], |n| *n, 10);
        assert_eq!(parts, [vec![4, 4], vec![4], vec![9], vec![100], vec![1]]);
        assert!(chunks(Vec::<usize>::new(), |n| *n, 10).is_empty());
    }
}
