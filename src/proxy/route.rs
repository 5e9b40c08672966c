//! [`Route`]: one listener's way upstream, and [`Choice`]: which of its targets a request goes to, and which it goes to when
//! that one cannot be connected to.

use super::worker::RouteSeed;
use crate::config::{Side, Upstream};
use crate::policy::outbound::Place;
use crate::upstream::balance::{Outstanding, Standing, pick};
use crate::upstream::health::UpstreamHealth;
use crate::upstream::pool::Pool;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// One listener's way upstream.
pub(super) struct Route {
    pub(super) side: Side,
    /// At least one, in the order of the configuration.
    pub(super) targets: Vec<Target>,
    /// The same as the signing direction's judgement knows them.
    pub(super) places: Vec<Place>,
    /// Who is first among equals.
    next: Cell<usize>,
}

/// One upstream of a route.
pub(super) struct Target {
    pub(super) upstream: Upstream,
    pub(super) pool: Rc<Pool>,
    pub(super) health: Arc<UpstreamHealth>,
}

/// The target a request is at; it counts there until the choice is dropped.
pub(super) struct Choice<'r> {
    route: &'r Route,
    place: usize,
    /// Those before it, which could not be connected to. Empty, and so without memory, for nearly every request.
    tried: Vec<usize>,
    /// The request names its target: no other will do.
    is_named: bool,
    outstanding: Outstanding<'r>,
}

impl Route {
    /// The route of worker `worker`.
    pub(super) fn new(seed: RouteSeed, worker: usize) -> Route {
        let target =
            |(upstream, health): (Upstream, _)| Target { pool: Pool::new(upstream.clone()), upstream, health };
        Route {
            side: seed.side,
            places: seed.upstreams.iter().map(|(upstream, _)| upstream.place()).collect(),
            targets: seed.upstreams.into_iter().map(target).collect(),
            // Workers begin at different places, so that their first requests do not meet.
            next: Cell::new(worker),
        }
    }

    /// The target for a new request, by the rules of [`balance`](crate::upstream::balance).
    pub(super) fn choose(&self) -> Choice<'_> {
        // A route has a target: `Upstreams` is never empty.
        let place = self.pick(&[]).unwrap_or_default();
        self.choice(place, false)
    }

    /// The target at this place, and no other.
    pub(super) fn named(&self, place: usize) -> Choice<'_> {
        self.choice(place, true)
    }

    fn choice(&self, place: usize, is_named: bool) -> Choice<'_> {
        let outstanding = Outstanding::at(&self.targets[place].health);
        Choice { route: self, place, tried: Vec::new(), is_named, outstanding }
    }

    fn pick(&self, tried: &[usize]) -> Option<usize> {
        let standing = |place: usize| (!tried.contains(&place)).then(|| Standing::of(&self.targets[place].health));
        let place = pick(self.targets.len(), self.next.get(), standing)?;
        self.next.set(place + 1);
        Some(place)
    }
}

impl<'r> Choice<'r> {
    /// Where the request goes.
    pub(super) fn target(&self) -> &'r Target {
        &self.route.targets[self.place]
    }

    /// No connection could be opened there, so nothing was sent: goes on to the best of those not tried yet. `false`: there is no other.
    pub(super) fn advance(&mut self) -> bool {
        if self.is_named {
            return false;
        }
        self.tried.push(self.place);
        let Some(place) = self.route.pick(&self.tried) else { return false };
        self.place = place;
        self.outstanding = Outstanding::at(&self.target().health);
        true
    }
}
