//! Which of several upstreams gets a request? [`pick`] says; [`Outstanding`] counts.
//!
//! The rules, in order:
//!
//! 1. Those that passed their last check, or were not checked yet, come first; among them those that no worker has just
//!    failed to reach, or was left by without an answer (that lasts until the next check, a second at most). A slow or an odd
//!    answer changes nothing: strangers may be able to cause it.
//! 2. Those that fail their checks come last: they are tried when none of the others is there or could be connected to.
//!    A request never fails for a health check's sake alone.
//! 3. Within one of these standings the fewest outstanding requests win, counted over all workers. A tunnel counts as long as
//!    it is open. So a slow upstream gets less, without anybody measuring its speed.
//! 4. Equal ones take turns, beginning behind the one chosen last, so that idle upstreams share also where some are out.
//!
//! Not round robin alone: it goes on feeding one that hangs. Not by latency: the fast failure of a broken backend looks
//! like good health. Two workers that choose at the same moment may choose the same one; the next choice sees both.
//!
//! Left out: weights, and keeping a client at its upstream. Backends of one list do the same.

use super::health::{HealthState, UpstreamHealth};

/// How an upstream stands before a choice; the least is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    health: Hope,
    outstanding: usize,
}

/// What may be hoped of it, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hope {
    /// Nothing is known against it.
    Good,
    /// A worker could not reach it just now, or got no answer; the check that decides is under way.
    Suspected,
    /// It fails its checks.
    Down,
}

impl Standing {
    /// How this upstream stands now.
    pub fn of(upstream: &UpstreamHealth) -> Standing {
        let health = match upstream.state() {
            HealthState::Down => Hope::Down,
            HealthState::Up | HealthState::Unknown if upstream.is_suspected() => Hope::Suspected,
            HealthState::Up | HealthState::Unknown => Hope::Good,
        };
        Standing { health, outstanding: upstream.outstanding() }
    }
}

/// The place of the upstream to choose among `count`; those whose standing is `None` are left out. `first`: the place that
/// wins among equals, then those behind it. `None`: all are left out.
pub fn pick(count: usize, first: usize, standing: impl Fn(usize) -> Option<Standing>) -> Option<usize> {
    let in_turn = (0..count).map(|step| (first + step) % count);
    let standings = in_turn.filter_map(|place| Some((standing(place)?, place)));
    // The first of several least.
    standings.min_by_key(|(standing, _)| *standing).map(|(_, place)| place)
}

/// One request at an upstream; counts there until it is dropped.
#[derive(Debug)]
pub struct Outstanding<'u>(&'u UpstreamHealth);

impl<'u> Outstanding<'u> {
    /// One more.
    pub fn at(upstream: &'u UpstreamHealth) -> Outstanding<'u> {
        upstream.entered();
        Outstanding(upstream)
    }
}

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        self.0.left();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;
    use std::sync::Arc;

    fn upstreams(states: &[HealthState]) -> Vec<Arc<UpstreamHealth>> {
        states
            .iter()
            .map(|state| {
                let upstream = UpstreamHealth::new(Upstream::http("127.0.0.1", 8001));
                upstream.pretend(*state);
                upstream
            })
            .collect()
    }

    /// The places that so many requests in a row go to, each over before the next.
    fn in_a_row(upstreams: &[Arc<UpstreamHealth>], requests: usize) -> Vec<usize> {
        let mut next = 0;
        std::iter::repeat_with(|| {
            let place = pick(upstreams.len(), next, |place| Some(Standing::of(&upstreams[place]))).unwrap();
            next = place + 1;
            place
        })
        .take(requests)
        .collect()
    }

    use HealthState::{Down, Unknown, Up};

    #[test]
    fn idle_ones_share_equally_also_where_some_are_out() {
        assert_eq!(in_a_row(&upstreams(&[Up, Up, Up]), 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(in_a_row(&upstreams(&[Up, Down, Up]), 4), [0, 2, 0, 2]);
        assert_eq!(in_a_row(&upstreams(&[Down, Up, Unknown, Down]), 4), [1, 2, 1, 2]);
        assert_eq!(in_a_row(&upstreams(&[Up]), 3), [0, 0, 0]);
    }

    #[test]
    fn the_one_with_the_fewest_outstanding_requests_wins() {
        let all = upstreams(&[Up, Up, Up]);
        let held = [Outstanding::at(&all[0]), Outstanding::at(&all[0]), Outstanding::at(&all[1])];
        assert_eq!(in_a_row(&all, 3), [2, 2, 2]);
        let more = [Outstanding::at(&all[2]), Outstanding::at(&all[2])];
        assert_eq!(in_a_row(&all, 3), [1, 1, 1]);
        drop((held, more));
        assert_eq!(in_a_row(&all, 3), [0, 1, 2]);
    }

    #[test]
    fn one_that_fails_its_checks_gets_nothing_however_busy_the_others_are() {
        let all = upstreams(&[Down, Up]);
        let _held: Vec<_> = (0..50).map(|_| Outstanding::at(&all[1])).collect();
        assert_eq!(in_a_row(&all, 2), [1, 1]);
        all[0].pretend(Up);
        assert_eq!(in_a_row(&all, 2), [0, 0]);
    }

    #[test]
    fn where_none_is_up_all_are_tried() {
        assert_eq!(in_a_row(&upstreams(&[Down, Down, Down]), 4), [0, 1, 2, 0]);
    }

    #[test]
    fn one_that_could_not_be_reached_waits_behind_the_others_until_it_is_checked() {
        let all = upstreams(&[Up, Up, Down]);
        all[0].suspect();
        assert_eq!(in_a_row(&all, 2), [1, 1]);
        all[1].pretend(Down);
        assert_eq!(in_a_row(&all, 2), [0, 0], "before those that are down");
    }

    #[test]
    fn those_left_out_are_never_picked() {
        let all = upstreams(&[Up, Up, Down]);
        let but = |tried: &[usize]| pick(3, 0, |place| (!tried.contains(&place)).then(|| Standing::of(&all[place])));
        assert_eq!((but(&[]), but(&[0]), but(&[0, 1]), but(&[0, 1, 2])), (Some(0), Some(1), Some(2), None));
        assert_eq!(pick(0, 5, |_| Some(Standing::of(&all[0]))), None);
    }
}
