//! [`History`]: when did this phase begin, and what was done in it? From the changes of state on record, oldest first.
//!
//! A *phase* is the time in one mode without a break: log-only, or enforcement. It began with the first record of the mode that has
//! been in force ever since. Where records do not reach so far back, it began at the oldest word there is: a phase is rather taken for
//! shorter than for longer.

use crate::policy::enforcement::Mode;

/// One change of state, as far as it is of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'c> {
    /// Microseconds since the epoch.
    pub unix_micros: u64,
    /// What.
    pub what: What,
    /// The mode from then on, where the record says it.
    pub mode: Option<Mode>,
    /// Why, for people.
    pub why: &'c str,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A rollback.
    Rollback,
    /// One for practice.
    Drill,
    /// Anything else.
    Other,
}

/// What was done, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    mode: Option<Mode>,
    since: Option<u64>,
    rollbacks: Vec<(u64, String)>,
    rehearsed: Option<u64>,
}

const SECOND: u64 = 1_000_000;

/// Rollbacks told one by one; older ones are forgotten.
const MOST: usize = 1_000;

impl History {
    /// The next one.
    pub fn add(&mut self, change: Change<'_>) {
        let Change { unix_micros, what, mode, why } = change;
        if let Some(mode) = mode
            && self.mode != Some(mode)
        {
            (self.mode, self.since) = (Some(mode), Some(unix_micros));
        }
        match what {
            What::Rollback => {
                if self.rollbacks.len() == MOST {
                    self.rollbacks.remove(0);
                }
                self.rollbacks.push((unix_micros, why.to_owned()));
                self.rehearsed = Some(unix_micros);
            }
            What::Drill => self.rehearsed = Some(unix_micros),
            What::Other => {}
        }
    }

    /// The mode that the newest record says.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// When the phase of this mode began. `moved`: when the last move was made, as the running sidecar says.
    pub fn begin(&self, mode: Mode, moved: Option<u64>) -> Option<u64> {
        let recorded = self.since.filter(|_| self.mode == Some(mode));
        match (recorded, moved) {
            // The same move: the sidecar tells whole seconds of it.
            (Some(recorded), Some(moved)) if moved + SECOND > recorded => Some(recorded),
            (recorded, moved) => moved.or(recorded),
        }
    }

    /// Rollbacks after that point: the one that began a phase is not within it.
    pub fn rollbacks_after(&self, unix_micros: u64) -> Vec<&str> {
        let after = self.rollbacks.iter().filter(|(at, _)| *at > unix_micros);
        after.map(|(_, why)| why.as_str()).collect()
    }

    /// When a rollback was last made or drilled.
    pub fn rehearsed(&self) -> Option<u64> {
        self.rehearsed
    }
}

/// How much of a period was the process up? It is down from the last record of one start to the first of the next.
///
/// That is the longest that it can have been: a quiet sidecar that is killed writes nothing in its last minutes either.
#[derive(Debug, Clone)]
pub struct Uptime {
    from: u64,
    last: Option<(Box<str>, u64)>,
    down: u64,
    restarts: u64,
}

impl Uptime {
    /// Of a period that begins here, microseconds since the epoch.
    pub fn of(from: u64) -> Uptime {
        Uptime { from, last: None, down: 0, restarts: 0 }
    }

    /// The next record: which start of the process wrote it, and is it the start itself?
    pub fn record(&mut self, boot: &str, unix_micros: u64, is_start: bool) {
        let before = match &mut self.last {
            Some((last, at)) if **last == *boot => {
                *at = unix_micros.max(*at);
                return;
            }
            Some((_, at)) => Some(*at),
            None if is_start => Some(self.from),
            None => None,
        };
        if let Some(before) = before.filter(|before| *before < unix_micros) {
            self.down += unix_micros.saturating_sub(before);
            self.restarts += 1;
        }
        self.last = Some((boot.into(), unix_micros));
    }

    /// Microseconds down, and how many restarts, so far.
    pub fn down(&self) -> (u64, u64) {
        (self.down, self.restarts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_with_its_mode_and_a_rollback_that_began_it_is_not_within() {
        let mut history = History::default();
        let change = |at, what, mode| Change { unix_micros: at, what, mode, why: "why" };
        assert_eq!(
            history.begin(Mode::Log, Some(9)),
            Some(9),
            "the sidecar's own word, where there is none on record"
        );
        for (at, what, mode) in [
            (10, What::Other, Some(Mode::Log)),
            (20, What::Other, Some(Mode::Enforce)),
            (25, What::Drill, Some(Mode::Enforce)),
            (30, What::Rollback, Some(Mode::Log)),
            (40, What::Other, None),
            (50, What::Other, Some(Mode::Log)),
        ] {
            history.add(change(at, what, mode));
        }
        assert_eq!(history.begin(Mode::Log, Some(50)), Some(30), "a rule's percentage begins no phase");
        assert_eq!(history.begin(Mode::Enforce, Some(60)), Some(60), "what is not on record yet");
        assert_eq!((history.rollbacks_after(30).len(), history.rollbacks_after(29).len()), (0, 1));
        assert_eq!(history.rehearsed(), Some(30));
    }

    #[test]
    fn down_is_the_time_between_the_records_of_two_starts() {
        let mut uptime = Uptime::of(100);
        uptime.record("a", 110, false);
        uptime.record("a", 150, false);
        uptime.record("a", 149, false);
        uptime.record("b", 170, true);
        assert_eq!(uptime.down(), (20, 1));
        let mut uptime = Uptime::of(100);
        uptime.record("b", 130, true);
        assert_eq!(uptime.down(), (30, 1), "a period that begins with a start");
    }
}
