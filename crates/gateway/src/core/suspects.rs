//! Events that may have ended a worker, of all shards of a gateway: how many are with workers now.
//!
//! Plain data, in the directory. An event is *suspect* when a worker's connection ended while the
//! event was the first of its client that the worker had. The last try of a suspect is made while no
//! other suspect is with a worker, so that another crash says which event it was.

/// Suspects that workers have.
#[derive(Debug, Default)]
pub struct Suspects {
    given: usize,
    is_last_try: bool,
    /// A shard was told that it has to wait.
    is_awaited: bool,
}

impl Suspects {
    /// Counts a suspect that is to be given. Returns `false` where it has to wait: another one's last
    /// try is under way, or this is a last try and others are.
    pub fn begin(&mut self, is_last_try: bool) -> bool {
        if self.is_last_try || (is_last_try && self.given > 0) {
            self.is_awaited = true;
            return false;
        }
        self.given += 1;
        self.is_last_try = is_last_try;
        true
    }

    /// Counts a suspect that no worker has any more. Returns whether shards that wait may try again.
    pub fn end(&mut self) -> bool {
        self.given = self.given.saturating_sub(1);
        // A last try is alone: with no suspect left there is none.
        self.is_last_try &= self.given > 0;
        self.given == 0 && std::mem::take(&mut self.is_awaited)
    }

    /// How many suspects workers have.
    #[cfg(any(test, feature = "internals"))]
    pub fn given(&self) -> usize {
        self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_try_is_alone() {
        let mut suspects = Suspects::default();
        assert!(suspects.begin(false) && suspects.begin(false));
        assert!(!suspects.begin(true), "others are under way");
        assert!(suspects.begin(false), "an earlier try does not wait for those that wait");
        assert!(!suspects.end() && !suspects.end());
        assert!(suspects.end(), "those that wait may try again");
        assert!(suspects.begin(true));
        assert!(!suspects.begin(false) && !suspects.begin(true));
        assert!(suspects.end() && suspects.begin(false));
        assert!(!suspects.end(), "nobody waits");
    }
}
