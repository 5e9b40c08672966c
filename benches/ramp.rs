//! Does the ramp come back when it must, and only then? Thousands of simulated ramps, each from a seed, through the very windows, triggers
//! and stages that run in the sidecar; printed as a table. It adds to the tests with real traffic, and replaces none.
//!
//! A simulated fleet calls as the real one does: two busy services, one that calls twice a minute, one every five minutes; usual errors of
//! 0.1 to 0.4 %, and now and then an honest call that fails its check (a clock, a retry: 1 in 10 000). The stages and limits are the
//! defaults. What happens begins at a random second of the first hour.
//!
//! `cargo bench --bench ramp`, or with numbers: ramps of each kind that run to their end, and of each that is over sooner.

use countersign::policy::known_peers::KnownPeers;
use countersign::rollout::baseline::Baseline;
use countersign::rollout::health::{Counts, Health, HealthSample, UpstreamState};
use countersign::rollout::ramp::{Figures, Plan, Progress, Ramp, RampStep};
use countersign::rollout::stage::{By, default_stages};
use countersign::rollout::trigger::RollbackWhen;
use countersign::signature::key::ServiceId;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happens. A rollback is asked for, or is false.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Steady,
    Flood,
    IdleNight,
    ShortOutage,
    Flapping,
    BusyBroken,
    QuietBroken,
    PartlyBroken,
    Errors,
    Outage,
}

const KINDS: [(Kind, &str, bool); 10] = [
    (Kind::Steady, "steady", false),
    (Kind::Flood, "flood of forgeries from strangers", false),
    (Kind::IdleNight, "idle night (8 h without a call)", false),
    (Kind::ShortOutage, "upstream restarts (20 s)", false),
    (Kind::Flapping, "a service fails 10 s of every 5 min", true),
    (Kind::BusyBroken, "a busy service breaks", true),
    (Kind::QuietBroken, "a quiet service breaks (2 calls/min)", true),
    (Kind::PartlyBroken, "a fifth of a service's calls fail", true),
    (Kind::Errors, "errors rise to 4 %", true),
    (Kind::Outage, "upstream goes down", true),
];

/// Calls a second.
const SERVICES: [(&str, f64); 4] =
    [("npu-worker", 6.0), ("browser-service", 1.5), ("ai-stack", 1.0 / 30.0), ("main-backend", 1.0 / 300.0)];
const NIGHT: u64 = 8 * 3600;
/// A ramp that has not ended by then never will.
const LIMIT: u64 = 30 * 3600;

#[derive(Clone, Copy)]
enum End {
    Finished,
    RolledBack(u64),
    Held,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (long, short) = (numbers.first().copied().unwrap_or(200), numbers.get(1).copied().unwrap_or(1_000));
    println!(
        "{:<38}{:>7}{:>10}{:>7}{:>8}{:>8}   time from the event to the rollback: median, 99 %, longest",
        "what happens", "ramps", "finished", "false", "missed", "held"
    );
    for (kind, name, should) in KINDS {
        let ramps = if should { short } else { long };
        let (mut finished, mut rolled_back, mut held, mut times) = (0, 0, 0, Vec::new());
        for seed in 0..ramps {
            let mut story = Story::new(kind, seed);
            match story.run() {
                End::Finished => finished += 1,
                End::RolledBack(at) => {
                    rolled_back += 1;
                    times.push(at.saturating_sub(story.event));
                }
                End::Held => held += 1,
            }
        }
        let (false_ones, missed) = if should { (0, finished) } else { (rolled_back, 0) };
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        let times = match (should, at(50), at(99), times.last()) {
            (true, Some(median), Some(late), Some(last)) => format!("{median} s, {late} s, {last} s"),
            _ => "-".to_owned(),
        };
        println!("{name:<38}{ramps:>7}{finished:>10}{false_ones:>7}{missed:>8}{held:>8}   {times}");
    }
}

struct Story {
    kind: Kind,
    random: Random,
    event: u64,
    victim: usize,
    errors: f64,
    start: Instant,
    sums: Vec<(Arc<str>, Counts)>,
    upstream: Vec<(Arc<str>, UpstreamState)>,
    peers: Arc<KnownPeers>,
}

impl Story {
    fn new(kind: Kind, seed: u64) -> Story {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind as u64);
        let start = Instant::now();
        let victim = match kind {
            Kind::QuietBroken => 2,
            _ => usize::from(random.chance(0.5)),
        };
        let errors = 0.001 + 0.003 * random.unit();
        let peers = KnownPeers::new(start);
        for (place, (id, _)) in SERVICES.iter().enumerate() {
            let id = ServiceId::parse(id).expect("a service id");
            peers.notes().note(IpAddr::V4(Ipv4Addr::new(10, 0, 0, place as u8)), &id, start);
        }
        Story {
            kind,
            event: 60 + random.below(3_500),
            victim,
            errors,
            start,
            sums: SERVICES.iter().map(|(id, _)| ((*id).into(), Counts::default())).collect(),
            upstream: vec![("0.0.0.0:8001".into(), UpstreamState::Up)],
            peers,
            random,
        }
    }

    fn run(&mut self) -> End {
        let mut baseline = Baseline::default();
        for (id, rate) in SERVICES {
            let calls = (rate * 86_400.0) as u64;
            let errors = (calls as f64 * self.errors) as u64;
            baseline.note(21_600, [(id, Counts { authenticated: calls, errors, failing: 0 })], 1_000);
        }
        let mut health = Health::default();
        health.take(&self.sample(), self.start);
        let progress = Progress {
            by: By::Percentage,
            stage: 0,
            served_ms: 0,
            paused: false,
            without_baseline: false,
            started: 0,
            stage_started: 0,
            who: String::new(),
        };
        let plan = Plan { stages: default_stages(), when: RollbackWhen::default() };
        let mut ramp = Ramp::start(plan, progress);
        for second in 1..LIMIT {
            self.second(second);
            let now = self.start + Duration::from_secs(second);
            health.take(&self.sample(), now);
            let figures = Figures { health: &health, baseline: Some(&baseline), maintenance: false };
            match ramp.step(figures, now, second) {
                RampStep::Stay { .. } => {}
                RampStep::Advance => health.begin_stage(now),
                RampStep::Finish => return End::Finished,
                RampStep::RollBack(_) => return End::RolledBack(second),
            }
        }
        End::Held
    }

    fn second(&mut self, second: u64) {
        let since = second.checked_sub(self.event);
        let asleep = self.kind == Kind::IdleNight && since.is_some_and(|since| since < NIGHT);
        let down = match self.kind {
            Kind::ShortOutage => since.is_some_and(|since| since < 20),
            Kind::Outage => since.is_some(),
            _ => false,
        };
        self.upstream[0].1 = if down { UpstreamState::Down } else { UpstreamState::Up };
        let errors = match self.kind {
            Kind::Errors if since.is_some() => 0.04,
            // What cannot be reached answers nothing, and we say so in its place.
            _ if down => 0.0,
            _ => self.errors,
        };
        for (place, service) in SERVICES.iter().enumerate() {
            let breaks: f64 = since.filter(|_| place == self.victim).map_or(0.0, |since| match self.kind {
                Kind::BusyBroken | Kind::QuietBroken => 1.0,
                Kind::PartlyBroken => 0.2,
                Kind::Flapping if since % 300 < 10 => 1.0,
                _ => 0.0001,
            });
            let calls = if asleep { 0 } else { self.random.calls(service.1) };
            for _ in 0..calls {
                let counts = &mut self.sums[place].1;
                if self.random.chance(breaks.max(0.0001)) {
                    counts.failing += 1;
                    continue;
                }
                counts.authenticated += 1;
                if self.random.chance(errors) {
                    counts.errors += 1;
                }
            }
        }
        if self.kind == Kind::Flood && since.is_some() {
            // Forged in the name of a service, from addresses that are nobody's.
            let now = self.start + Duration::from_secs(second.min(3_000));
            for _ in 0..20 {
                let stranger = IpAddr::V4(Ipv4Addr::from(0xc000_0200 + self.random.below(200) as u32));
                if let Some(id) = self.peers.service_at(stranger, Some("npu-worker"), now) {
                    let known = self.sums.iter_mut().find(|(other, _)| **other == *id.as_str());
                    known.expect("a service of the fleet").1.failing += 1;
                }
            }
        }
    }

    fn sample(&self) -> HealthSample {
        HealthSample { services: self.sums.clone(), failing: Vec::new(), upstreams: self.upstream.clone() }
    }
}

/// SplitMix64: the same seeds, the same ramps.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// How many calls there are in a second, at this rate: Poisson.
    fn calls(&mut self, rate: f64) -> u64 {
        let (limit, mut product, mut calls) = ((-rate).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            calls += 1;
        }
        calls
    }
}
