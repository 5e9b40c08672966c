//! Decisions to be counted by callgrind: `benches/instructions/run` says how.
//!
//! `instructions CASE` judges [`COUNT`] requests, and callgrind looks only at what [`counted`] does: tables of ten thousand
//! services are hashed at random, so that making them never costs the same twice. Without a case it names them all, each
//! after judging as many.

#[path = "../support/fleet.rs"]
mod fleet;

use countersign::request::facts::RequestFacts;
use countersign::request::readings::Readings;
use fleet::{Court, GUARDED, MOST_READINGS, SHORT_OVERLONG, Signed, TRICKS};
use std::hint::black_box;
use std::process::ExitCode;

/// What is judged.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    /// Signed, each path and signature another.
    Signed,
    /// Exempt.
    Exempt,
    /// Guarded, and not signed.
    Unsigned,
    /// Signed, and read in several ways.
    Escaped,
    /// The most work that was found, unsigned.
    MostReadings,
    ShortOverlong,
    LongOverlong,
}

/// By name, with how many rules and services there are beside the fleet's.
const CASES: [(&str, Path, usize); 11] = [
    ("authenticated", Path::Signed, 0),
    ("authenticated-10", Path::Signed, 10),
    ("authenticated-1000", Path::Signed, 1_000),
    ("authenticated-10000", Path::Signed, 10_000),
    ("exempt", Path::Exempt, 0),
    ("refused", Path::Unsigned, 0),
    ("escaped", Path::Escaped, 0),
    ("worst-readings", Path::MostReadings, 0),
    ("worst-short", Path::ShortOverlong, 0),
    ("worst-long", Path::LongOverlong, 0),
    ("worst-long-10000", Path::LongOverlong, 10_000),
];

fn main() -> ExitCode {
    let chosen = std::env::args().skip(1).find(|argument| argument != "--bench");
    let mut is_known = false;
    for (name, path, more) in CASES {
        if chosen.as_ref().is_none_or(|chosen| chosen == name) {
            is_known = true;
            judge(path, more);
            println!("{name} {COUNT}");
        }
    }
    if is_known {
        return ExitCode::SUCCESS;
    }
    eprintln!("no case is named {chosen:?}");
    ExitCode::from(2)
}

fn judge(path: Path, more: usize) {
    let court = Court::of(more);
    let made: Vec<(Signed, String)> = (0..2 * COUNT).map(|number| path.request(number)).collect();
    let facts: Vec<_> = made.iter().map(|(signed, path)| signed.facts(path)).collect();
    let (first, then) = facts.split_at(COUNT);
    // Tables have their size when it counts.
    for facts in first {
        black_box(court.judge(facts, 100));
    }
    counted(&court, then);
}

#[inline(never)]
fn counted(court: &Court, facts: &[RequestFacts<'_>]) {
    for facts in facts {
        black_box(court.judge(black_box(facts), 100));
    }
}

/// Decisions that are counted.
const COUNT: usize = 200;

impl Path {
    fn request(self, number: usize) -> (Signed, String) {
        let unsigned = Signed(Vec::new());
        match self {
            Path::Signed => {
                let path = format!("{GUARDED}-{number:04}");
                (Signed::new("npu-worker", &path), path)
            }
            Path::Escaped => {
                let path = format!("/api/npu/results/Task%20{number:04}");
                (Signed::new("npu-worker", &path), path)
            }
            Path::Exempt => (unsigned, format!("/api/chat/sessions/{number:04}")),
            Path::Unsigned => (unsigned, format!("{GUARDED}-{number:04}")),
            Path::MostReadings => (unsigned, MOST_READINGS.to_owned()),
            Path::ShortOverlong => (unsigned, SHORT_OVERLONG.to_owned()),
            Path::LongOverlong => (unsigned, TRICKS.repeat(Readings::LONGEST / TRICKS.len())),
        }
    }
}
