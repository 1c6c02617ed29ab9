//! [`matches()`]: patterns of the names of groups, `room-*`.
//!
//! Settings and tokens list such patterns. Names are any bytes, and so are patterns.

/// Returns whether `name` matches `pattern`: a `*` stands for any bytes, also for none, and every other byte for
/// itself.
///
/// It takes at most the product of both lengths in steps, whatever the pattern is.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Behind the last `*`: where to go on when what followed it did not match, with one more byte given to it.
    let mut last_star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                last_star = Some((at, read));
            }
            Some(byte) if *byte == name[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((behind, given)) = last_star else { return false };
                last_star = Some((behind, given + 1));
                (at, read) = (behind, given + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes_and_everything_else_for_itself() {
        for (pattern, name) in [
            ("", ""),
            ("room", "room"),
            ("*", ""),
            ("*", "anything"),
            ("room-*", "room-"),
            ("room-*", "room-1"),
            ("*-room", "a-b-room"),
            ("a*b*c", "a-b-b-c"),
            ("a**", "a"),
            ("*aab", "aaaab"),
            ("a?[x]", "a?[x]"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("room", "rooms"),
            ("room", "roo"),
            ("room-*", "room"),
            ("room-*", "a-room-1"),
            ("*-room", "room"),
            ("a*b*c", "a-c-b"),
            ("a?c", "abc"),
        ] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5_000).as_bytes()));
    }
}
