//! Suggests the name that is meant ("did you mean") for a mistyped one: a key in a file, or a variable.

use crate::FormerKeys;

/// The least similarity, from 0.0 to 1.0, of two names of which one is suggested for the other.
const NEAR: f64 = 0.65;

/// Returns the one of `names` that is most similar to `wrong`, if one is similar enough. GatewayWorker's spelling,
/// `pingInterval`, is similar to ours.
pub(crate) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|name| (similarity(wrong, name), name)).filter(|(how, _)| *how >= NEAR);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

/// Returns the similarity of two names, from 0.0 to 1.0. Underscores, dashes and case do not count.
pub(crate) fn similarity(a: &str, b: &str) -> f64 {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    strsim::normalized_damerau_levenshtein(&plain(a), &plain(b))
}

/// Changes serde's message about an unknown name, which lists all names, into one that suggests the name which is
/// meant; for a mistyped former name, that is the new one. Returns other messages as they are.
pub(crate) fn instead_of_list(message: &str, former: FormerKeys) -> String {
    let of_kind = |kind: &str| message.strip_prefix(kind)?.strip_prefix(" `")?.split_once("`, expected ");
    let (kind, (wrong, list)) = match (of_kind("unknown field"), of_kind("unknown variant")) {
        (Some(found), _) => ("unknown key", found),
        (None, Some(found)) => ("unknown value", found),
        (None, None) => return message.to_owned(),
    };
    // Names stand in backticks: every second part is one.
    let names = list.split('`').skip(1).step_by(2);
    let former: Vec<_> = former.names().collect();
    match nearest(wrong, names.chain(former.iter().map(|(old, _)| old.as_str()))) {
        Some(near) => {
            let renamed = former.iter().find(|(old, _)| old == near);
            let near = renamed.map_or(near, |(_, new)| new);
            format!("{kind} `{wrong}`: did you mean `{near}`?")
        }
        None => format!("{kind} `{wrong}`, expected {list}"),
    }
}

/// Returns the key in such a message.
pub(crate) fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown key `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_meant_is_said_instead_of_all_names() {
        for (message, said) in [
            (
                "unknown field `lan_prot`, expected one of `lan_ip`, `lan_port`",
                "unknown key `lan_prot`: did you mean `lan_port`?",
            ),
            (
                "unknown field `lanPort`, expected `lan_port` or `x`",
                "unknown key `lanPort`: did you mean `lan_port`?",
            ),
            (
                "unknown field `lan-port`, expected `lan_port`",
                "unknown key `lan-port`: did you mean `lan_port`?",
            ),
            (
                "unknown variant `least-conections`, expected `least-connections` or `random`",
                "unknown value `least-conections`: did you mean `least-connections`?",
            ),
            (
                "unknown field `dance`, expected `listen` or `name`",
                "unknown key `dance`, expected `listen` or `name`",
            ),
            ("unknown field `x`, there are no fields", "unknown field `x`, there are no fields"),
            ("invalid type: integer `1`", "invalid type: integer `1`"),
        ] {
            assert_eq!(instead_of_list(message, FormerKeys::default()), said);
        }
    }
}
