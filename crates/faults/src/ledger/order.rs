//! The order of numbered events that may come again: in runs, each of which repeats the end of the run before.
//!
//! `handled` checks events with it, `observed` what observers are told.

/// The order of one client's events so far. Positions count from 0.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The number of the current run: a stretch of events in rising order.
    run: u16,
    /// The latest event of the run.
    latest: Option<usize>,
    /// The last event, by its position, that was in any run.
    furthest: Option<usize>,
}

/// How often an event has come, and in which run it came last.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Come {
    pub(super) times: u16,
    run: u16,
}

impl Order {
    /// Enters that the event at `position` comes, and returns whether it is in order.
    ///
    /// An event that follows a later one is either the first of a new run, which repeats what the run before had from
    /// there on, or out of order: the run had passed over it. An event that no run has had follows none that is later.
    pub(super) fn enter(&mut self, position: usize, come: &mut Come) -> bool {
        let is_behind = self.latest.is_some_and(|latest| position <= latest);
        let was_passed_over = match come.times {
            0 => self.furthest.is_some_and(|furthest| position < furthest),
            _ => is_behind && come.run != self.run,
        };
        if !was_passed_over {
            if is_behind {
                self.run = self.run.wrapping_add(1);
            }
            self.latest = Some(position);
            self.furthest = self.furthest.max(Some(position));
        }
        come.times = come.times.saturating_add(1);
        come.run = self.run;
        !was_passed_over
    }

    /// Returns the last event, by its position, that has come.
    pub(super) fn furthest(&self) -> Option<usize> {
        self.furthest
    }
}
