//! Orders the clients of several gateways so that the members of each group are on a given number of gateways.
//!
//! `mesh` makes groups of clients that follow each other. Each gateway gives as many members as the others, to neighbouring
//! groups, so that the load of the gateways stays even.

/// Orders clients, which come by gateway, into groups of `size`: those of group n are on the gateways n to n + `spread` - 1,
/// as far as these have clients left.
pub(super) fn spread<C>(gateways: Vec<Vec<C>>, size: usize, spread: usize) -> Vec<C> {
    let count = gateways.len();
    let mut left: Vec<_> = gateways.into_iter().map(Vec::into_iter).collect();
    let mut ordered = Vec::new();
    for group in 0.. {
        for member in 0..size {
            let wanted = group + member % spread.max(1);
            // The next one that has clients left.
            let client = (0..count).find_map(|more| left[(wanted + more) % count].next());
            match client {
                Some(client) => ordered.push(client),
                None => return ordered,
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_members_of_a_group_are_on_that_many_gateways() {
        for (count, on) in [(5, 2), (20, 2), (40, 2), (20, 1), (7, 3)] {
            let gateways = (0..count).map(|gateway| vec![gateway; 30]).collect();
            let ordered = spread(gateways, 30, on);
            assert_eq!(ordered.len(), count * 30);
            for group in ordered.chunks(30) {
                assert_eq!(group.iter().collect::<BTreeSet<_>>().len(), on, "{count} gateways");
            }
        }
    }

    #[test]
    fn every_client_is_there_once_whatever_the_numbers_are() {
        let mut ordered = spread(vec![vec![1, 2, 3], vec![4], vec![]], 10, 2);
        ordered.sort_unstable();
        assert_eq!(ordered, [1, 2, 3, 4]);
    }
}
