//! Finds few steps of a script with which a run still fails: delta debugging.
//!
//! It knows no simulation: `runner.rs` says whether a choice of steps fails.

use std::collections::BTreeSet;

use crate::script::Kept;

/// Runs that shrinking may take.
const MAX_RUNS: usize = 600;

/// Drops chunks of `all`, from halves down to single steps, as long as `fails` says that the rest
/// still fails; `all` itself is taken to fail.
pub(crate) fn shrink(all: Vec<usize>, mut fails: impl FnMut(&Kept) -> bool) -> Kept {
    let mut kept = all;
    let mut runs = 0;
    let mut chunk = kept.len().div_ceil(2).max(1);
    while !kept.is_empty() {
        let before = kept.len();
        let mut start = 0;
        while start < kept.len() {
            if runs == MAX_RUNS {
                return Kept(kept.into_iter().collect());
            }
            let end = (start + chunk).min(kept.len());
            let rest: BTreeSet<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            let rest = Kept(rest);
            runs += 1;
            if fails(&rest) {
                kept = rest.0.into_iter().collect();
            } else {
                start = end;
            }
        }
        // Single steps again and again, until none can be spared.
        if chunk == 1 && kept.len() == before {
            break;
        }
        chunk = chunk.div_ceil(2);
    }
    Kept(kept.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_steps_that_matter_are_left() {
        let needed = [3, 57, 58, 90];
        let kept = shrink((0..100).collect(), |kept| needed.iter().all(|step| kept.0.contains(step)));
        assert_eq!(kept.to_string(), "3,57-58,90");
    }

    #[test]
    fn a_failure_that_needs_no_step_shrinks_to_none() {
        assert_eq!(shrink((0..40).collect(), |_| true).to_string(), "none");
        assert_eq!(shrink(Vec::new(), |_| true).to_string(), "none");
    }

    #[test]
    fn shrinking_ends_though_every_step_matters() {
        let mut runs = 0;
        let kept = shrink((0..5000).collect(), |_| {
            runs += 1;
            false
        });
        assert_eq!(kept.0.len(), 5000);
        assert!(runs <= MAX_RUNS);
    }
}
