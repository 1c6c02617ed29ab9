//! Which gateways keep a room: two of the list, the owner and its standby.
//!
//! Rendezvous hashing: each gateway has a score for the room, and the two with the highest keep it. Gateways with the same
//! list agree without a word. Where a gateway is gone, only its rooms move, and each to the standby that it had.

use std::net::SocketAddrV4;

use gatewayworker_protocol::hash::{FNV_START, fnv, spread};

/// The owner of a room, and its standby. Fewer where the list is shorter.
pub type OwnerAndStandby = [Option<SocketAddrV4>; 2];

/// Returns which of these gateways keep a room, in whatever order they stand.
pub fn owner_and_standby(room: &str, gateways: &[SocketAddrV4]) -> OwnerAndStandby {
    let room = fnv(FNV_START, room.as_bytes());
    let mut best: [Option<(u64, SocketAddrV4)>; 2] = [None; 2];
    for gateway in gateways {
        // With the address, so that no two are equal.
        let scored = Some((score(room, *gateway), *gateway));
        if scored > best[0] {
            best = [scored, best[0]];
        } else if scored > best[1] {
            best[1] = scored;
        }
    }
    best.map(|scored| scored.map(|(_, gateway)| gateway))
}

/// Returns a number for a list of gateways: lists with the same addresses have the same one, in whatever order.
pub fn list_id(gateways: &[SocketAddrV4]) -> u64 {
    let scores = gateways.iter().map(|gateway| score(0, *gateway));
    scores.fold(gateways.len() as u64, u64::wrapping_add)
}

fn score(room: u64, gateway: SocketAddrV4) -> u64 {
    // Without the last step, addresses that differ in their last byte have similar scores.
    spread(fnv(fnv(room, &gateway.ip().octets()), &gateway.port().to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(count: u16) -> Vec<SocketAddrV4> {
        (0..count).map(|n| SocketAddrV4::new([10, 0, 0, 1].into(), 2300 + n)).collect()
    }

    #[test]
    fn gateways_of_every_version_choose_the_same_owner_and_standby() {
        let gateways = gateways(5);
        let ports = |room| owner_and_standby(room, &gateways).map(|keeper| keeper.unwrap().port());
        assert_eq!(["room-1", "room-2", "大厅"].map(ports), [[2303, 2304], [2304, 2300], [2304, 2301]]);
        assert_eq!((list_id(&gateways), list_id(&[])), (17_758_268_161_871_773_962, 0));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let mut turned = gateways(7);
        turned.reverse();
        assert_eq!(list_id(&turned), list_id(&gateways(7)));
        for room in 0..100 {
            let room = format!("room-{room}");
            assert_eq!(owner_and_standby(&room, &turned), owner_and_standby(&room, &gateways(7)));
        }
        assert_ne!(list_id(&turned), list_id(&gateways(6)));
    }

    #[test]
    fn a_room_whose_owner_is_gone_moves_to_its_standby_and_no_other_room_moves() {
        let before = gateways(5);
        let after: Vec<_> = before.iter().copied().filter(|gateway| gateway.port() != 2302).collect();
        let mut owned = 0;
        for room in 0..1_000 {
            let room = format!("room-{room}");
            let ([owner, standby], now) =
                (owner_and_standby(&room, &before), owner_and_standby(&room, &after));
            if owner == Some(before[2]) {
                owned += 1;
                assert_eq!(now[0], standby);
            } else {
                assert_eq!(now[0], owner);
            }
        }
        assert!((150..250).contains(&owned), "a fifth of the rooms are owned by each, not {owned} of 1,000");
    }

    #[test]
    fn a_single_gateway_keeps_all_rooms_and_no_gateway_none() {
        let one = gateways(1);
        assert_eq!(owner_and_standby("a", &one), [Some(one[0]), None]);
        assert_eq!(owner_and_standby("a", &[]), [None, None]);
    }
}
