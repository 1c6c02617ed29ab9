//! Memberships of one piece: an index of groups (or uids) and its clients say the same.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::violation::{Violation, ensure};

/// Compares what an index says (group, client) with what its clients say (client, group).
///
/// # Errors
/// `memberships-of-one-piece`, with the first pair that only one side has, or has twice.
pub fn check_memberships<G: Ord + Debug, C: Ord + Debug>(
    index: impl IntoIterator<Item = (G, C)>,
    clients: impl IntoIterator<Item = (C, G)>,
) -> Result<(), Violation> {
    let index = set("the index", index)?;
    let clients = set("a client", clients.into_iter().map(|(client, group)| (group, client)))?;
    let differs = index.symmetric_difference(&clients).next();
    ensure(differs.is_none(), NAME, || {
        let side = if differs.is_some_and(|pair| index.contains(pair)) { "the index" } else { "the client" };
        format!("only {side} has {differs:?}")
    })
}

const NAME: &str = "memberships-of-one-piece";

fn set<T: Ord + Debug>(side: &str, pairs: impl IntoIterator<Item = T>) -> Result<BTreeSet<T>, Violation> {
    let mut set = BTreeSet::new();
    for pair in pairs {
        if set.contains(&pair) {
            return Err(Violation::new(NAME, format!("{side} has {pair:?} twice")));
        }
        set.insert(pair);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_that_only_one_side_has_is_found() {
        let check = |index: &[(u8, u32)], clients: &[(u32, u8)]| {
            check_memberships(index.to_vec(), clients.to_vec()).map_err(|violation| violation.details)
        };
        check(&[(1, 10), (1, 11), (2, 10)], &[(10, 1), (10, 2), (11, 1)]).unwrap();
        assert!(check(&[(1, 10)], &[]).unwrap_err().contains("the index"));
        assert!(check(&[], &[(10, 1)]).unwrap_err().contains("the client"));
        assert!(check(&[(1, 10), (1, 10)], &[(10, 1)]).unwrap_err().contains("twice"));
    }
}
