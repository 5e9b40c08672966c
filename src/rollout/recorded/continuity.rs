//! [`Continuity`]: is anything of the evidence missing?
//!
//! Every record has the `boot` of its start of the process and a `seq` of its own, one up per record. Given every line in the
//! order of writing, also those outside the period:
//!
//! 1. A number left out within a boot is a lost record; so are the numbers before the first one of a later boot.
//! 2. A line that is none (torn by a crash or by somebody's editor) is a hole too. Its number is usually also missing: the
//!    two are told beside each other, not added.
//! 3. A boot that another one follows without a `stop` ended abruptly: up to one flush may be missing, which no number shows.
//! 4. What was reduced on purpose (`audit.keep_service`) has numbers left out; there nothing can be told.
//!
//! A hole counts when the period touches the time between the lines beside it. Left out: what the end of the newest file
//! lacks because the process was killed and nothing was written since; nothing there could tell.

use super::Tally;

/// One line, as far as its place goes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'l> {
    /// Which start of the process.
    pub boot: &'l str,
    /// Its number.
    pub seq: u64,
    /// When, microseconds since the epoch.
    pub unix_micros: u64,
    /// Is it of a file from which records were taken out on purpose?
    pub reduced: bool,
    /// Is it the last of its boot, an orderly end?
    pub stop: bool,
}

/// Numbers left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Within which start of the process.
    pub boot: Box<str>,
    /// The first number that is missing.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The time of the line before, microseconds since the epoch; 0 at the beginning of a boot with none before.
    pub after: u64,
    /// The time of the line behind.
    pub before: u64,
}

/// Follows the lines of one log.
#[derive(Debug, Default)]
pub struct Continuity {
    from: u64,
    until: u64,
    last: Option<Last>,
    torn_so_far: u64,
    /// The lines of the period.
    pub within: Tally,
    /// The time of the first line of all, microseconds since the epoch.
    pub begins: Option<u64>,
    /// Records lost in the period.
    pub lost: u64,
    /// Where: the first few.
    pub gaps: Vec<Gap>,
    /// Lines of the period that are none.
    pub torn: u64,
    /// Starts of the process that ended without saying so.
    pub abrupt_ends: u64,
    /// Is part of the period reduced on purpose?
    pub reduced: bool,
}

#[derive(Debug)]
struct Last {
    boot: Box<str>,
    seq: u64,
    unix_micros: u64,
    reduced: bool,
    stop: bool,
}

impl Continuity {
    /// How many gaps are told one by one.
    pub const MOST_GAPS: usize = 20;

    /// For a period: `from` is within, `until` is not.
    pub fn of(from: u64, until: u64) -> Continuity {
        Continuity { from, until, ..Continuity::default() }
    }

    /// The next line. `torn`: how many lines that are none were met until now.
    pub fn line(&mut self, place: Place<'_>, torn: u64) {
        if self.from <= place.unix_micros && place.unix_micros < self.until {
            self.within.add(place.unix_micros);
            self.reduced |= place.reduced;
        }
        self.begins.get_or_insert(place.unix_micros);
        let before = self.last.as_ref().map_or(0, |last| last.unix_micros);
        let touches = place.unix_micros >= self.from && before < self.until;
        if touches {
            self.torn += torn - self.torn_so_far;
            self.missing(place);
        }
        self.torn_so_far = torn;
        let last = self.last.get_or_insert_with(|| Last {
            boot: Box::default(),
            seq: 0,
            unix_micros: 0,
            reduced: false,
            stop: false,
        });
        if *last.boot != *place.boot {
            last.boot = place.boot.into();
        }
        (last.seq, last.unix_micros) = (place.seq, place.unix_micros);
        (last.reduced, last.stop) = (place.reduced, place.stop);
    }

    /// There are no more lines.
    pub fn end(&mut self, torn: u64) {
        if self.last.as_ref().is_none_or(|last| last.unix_micros < self.until) {
            self.torn += torn - self.torn_so_far;
        }
        self.torn_so_far = torn;
    }

    /// Is the evidence of the period whole, as far as can be told?
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.torn == 0
    }

    /// Do the records begin later than the period?
    pub fn begins_late(&self) -> Option<u64> {
        self.begins.filter(|begins| *begins > self.from)
    }

    fn missing(&mut self, place: Place<'_>) {
        let (first, after) = match &self.last {
            // What came before the oldest file nobody can tell.
            None => return,
            Some(last) if last.reduced || place.reduced => return,
            Some(last) if *last.boot == *place.boot => (last.seq + 1, last.unix_micros),
            Some(last) => {
                self.abrupt_ends += u64::from(!last.stop);
                (1, last.unix_micros)
            }
        };
        if place.boot.is_empty() || place.seq <= first {
            return;
        }
        self.lost += place.seq - first;
        if self.gaps.len() < Continuity::MOST_GAPS {
            self.gaps.push(Gap {
                boot: place.boot.into(),
                first,
                last: place.seq - 1,
                after,
                before: place.unix_micros,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as `boot seq time`, `!` for an orderly end, `~` for a reduced file, `?` for a torn line before it; the period is 100 to 200.
    fn of(lines: &[&str]) -> Continuity {
        let mut continuity = Continuity::of(100, 200);
        let mut torn = 0;
        for line in lines {
            if *line == "?" {
                torn += 1;
                continue;
            }
            let plain = line.trim_end_matches(['!', '~']);
            let words: Vec<&str> = plain.split(' ').collect();
            let place = Place {
                boot: words[0],
                seq: words[1].parse().unwrap(),
                unix_micros: words[2].parse().unwrap(),
                reduced: line.ends_with('~'),
                stop: line.ends_with('!'),
            };
            continuity.line(place, torn);
        }
        continuity.end(torn);
        continuity
    }

    #[test]
    fn holes_count_where_the_period_touches_them() {
        for (lines, lost, torn, abrupt) in [
            (&[][..], 0, 0, 0),
            (&["a 1 110", "a 2 120", "a 3 130"], 0, 0, 0),
            // What came before the oldest file nobody can tell.
            (&["a 7 110", "a 8 120"], 0, 0, 0),
            (&["a 1 110", "a 3 120"], 1, 0, 0),
            (&["a 1 10", "a 5 150"], 3, 0, 0),
            (&["a 1 150", "a 5 250"], 3, 0, 0),
            (&["a 1 10", "a 5 20", "a 6 150"], 0, 0, 0),
            (&["a 1 150", "a 2 250", "a 9 260"], 0, 0, 0),
            (&["a 1 90", "a 2 150", "a 3 80", "a 4 160"], 0, 0, 0),
            (&["a 1 110!", "b 1 120"], 0, 0, 0),
            (&["a 1 110", "b 1 120"], 0, 0, 1),
            (&["a 1 110!", "b 4 120"], 3, 0, 0),
            (&["a 1 10", "b 1 20", "b 2 150"], 0, 0, 0),
            (&["a 1 110", "?", "a 3 120"], 1, 1, 0),
            (&["?", "a 1 110"], 0, 1, 0),
            (&["a 1 110", "?"], 0, 1, 0),
            (&["a 1 10", "?", "a 3 20", "a 4 150"], 0, 0, 0),
            (&["a 1 150", "a 2 250", "?"], 0, 0, 0),
            (&["a 1 110~", "a 9 120~", "a 20 130"], 0, 0, 0),
            (&["a 1 110~", "a 9 120", "a 11 130"], 1, 0, 0),
            (&[" 0 110", " 0 120"], 0, 0, 0),
        ] {
            let found = of(lines);
            assert_eq!((found.lost, found.torn, found.abrupt_ends), (lost, torn, abrupt), "{lines:?}");
            assert_eq!(found.is_whole(), lost + torn == 0, "{lines:?}");
        }
    }

    #[test]
    fn a_gap_is_told_with_its_numbers_and_the_times_beside_it_and_many_are_summed() {
        let found = of(&["a 1 110", "a 5 120", "b 3 130"]);
        let gap = |boot: &str, first, last, after, before| Gap { boot: boot.into(), first, last, after, before };
        assert_eq!(found.gaps, [gap("a", 2, 4, 110, 120), gap("b", 1, 2, 120, 130)]);
        let many: Vec<String> = (0..100).map(|n| format!("a {} 150", n * 2 + 1)).collect();
        let found = of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((found.lost, found.gaps.len()), (99, Continuity::MOST_GAPS));
    }

    #[test]
    fn it_says_when_the_records_begin_late_and_when_they_were_reduced() {
        assert_eq!(of(&["a 1 50", "a 2 150"]).begins_late(), None);
        assert_eq!(of(&["a 1 130", "a 2 150"]).begins_late(), Some(130));
        assert!(of(&["a 1 130~"]).reduced && !of(&["a 1 50~", "a 2 130"]).reduced);
        assert_eq!(of(&["a 1 50", "a 2 199", "a 3 200"]).within, Tally { count: 1, first: 199, last: 199 });
    }
}
