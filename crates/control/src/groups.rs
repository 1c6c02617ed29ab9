//! `groups`: the largest groups of a running cluster, with the members that they have on all gateways together.

use std::collections::BTreeMap;
use std::process::ExitCode;

use gatewayworker_client::inspect::{InspectAnswer, InspectRequest, Inspector};
use serde_json::json;

use crate::cluster_access::Access;
use crate::inspecting::{self, Answers, InspectFlags};
use crate::look::Look;
use crate::table::{Table, text};

/// The flags of `groups`.
#[derive(Debug, clap::Args)]
pub struct GroupsFlags {
    /// List N groups
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    #[command(flatten)]
    inspect: InspectFlags,
}

/// Prints groups: status 0, or 1 if a gateway does not answer.
pub fn run(flags: &GroupsFlags) -> ExitCode {
    flags.inspect.show(async |inspector, access| list(flags, inspector, access).await)
}

async fn list(flags: &GroupsFlags, inspector: &Inspector, access: &Access) -> anyhow::Result<Look> {
    // More than are printed: a group may be among the largest on all gateways together, and not on each.
    let limit = flags.limit.saturating_mul(4).min(1000);
    let answers = inspecting::ask(inspector, access, &InspectRequest::Groups { limit }).await?;
    let groups = merge(&answers, flags.limit as usize);
    let mut seen = answers.look();
    if flags.inspect.json {
        let groups: Vec<_> =
            groups.iter().map(|(name, members)| json!({"name": name, "members": members})).collect();
        seen.notes.push(json!({"groups": groups, "errors": answers.errors()}).to_string());
    } else {
        let mut table = Table::new(["MEMBERS", "GROUP"]);
        groups.iter().for_each(|(name, members)| table.push(vec![members.to_string(), text(name)]));
        seen.lines = table.lines(None);
        seen.has_head = true;
    }
    Ok(seen)
}

/// Adds up the members of each group, and returns the largest groups.
fn merge(answers: &Answers, limit: usize) -> Vec<(String, u64)> {
    let mut members = BTreeMap::<&str, u64>::new();
    for (_, answer) in &answers.answers {
        if let InspectAnswer::Groups(list) = answer {
            list.groups.iter().for_each(|group| *members.entry(&group.name).or_default() += group.members);
        }
    }
    let mut groups: Vec<_> = members.into_iter().map(|(name, members)| (name.to_owned(), members)).collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(*members));
    groups.truncate(limit);
    groups
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::inspect::{GroupList, GroupReport};

    use super::*;

    #[test]
    fn a_groups_members_on_all_gateways_are_added_up() {
        let answer = |gateway: &str, groups: &[(&str, u64)]| {
            let groups =
                groups.iter().map(|(name, members)| GroupReport { name: (*name).into(), members: *members });
            (gateway.to_owned(), InspectAnswer::Groups(GroupList { groups: groups.collect() }))
        };
        let answers = Answers {
            answers: vec![answer("a", &[("x", 5), ("y", 4)]), answer("b", &[("y", 4), ("z", 1)])],
            missing: vec![],
        };
        assert_eq!(merge(&answers, 2), [("y".to_owned(), 8), ("x".to_owned(), 5)]);
    }
}
