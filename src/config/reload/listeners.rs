//! Which of the loaded listeners is which of the running ones, and what of it may change in flight?
//!
//! A listener is known by its place in its list, so the running order stays whatever the order of the file is now. Where it
//! listens and which addresses it forwards to stay as they are until a restart; the rest follows the file.

use crate::config::{Config, Destination, Inbound, Listen, Outbound};
use std::sync::Arc;

/// Puts the running listeners into the loaded configuration, with what may change of them, and names what needs a restart.
pub(super) fn keep_running(running: &Config, loaded: &mut Config) -> Vec<&'static str> {
    let mut edited = Vec::new();
    let (inbound, moved, resent) = merge(&running.inbound, &loaded.inbound);
    edited.extend(resent.then_some("inbound.upstream"));
    edited.extend(moved.then_some("inbound.listen"));
    loaded.inbound = inbound;
    let (outbound, moved, resent) = merge(&running.outbound, &loaded.outbound);
    edited.extend(resent.then_some("outbound.upstream"));
    edited.extend(moved.then_some("outbound.listen"));
    loaded.outbound = outbound;
    edited
}

/// Either kind of listener.
trait Listener {
    fn listen(&self) -> &Listen;
    /// Do both forward to the same addresses?
    fn goes_where(&self, other: &Self) -> bool;
    /// The running one with what may change of it.
    fn in_place(&self, new: &Self) -> Self;
}

impl Listener for Inbound {
    fn listen(&self) -> &Listen {
        &self.listen
    }

    fn goes_where(&self, other: &Inbound) -> bool {
        self.upstreams == other.upstreams
    }

    fn in_place(&self, new: &Inbound) -> Inbound {
        let Inbound { listen: _, upstreams: _, health, tls, h2c, trusted_proxies, first_byte } = new;
        Inbound {
            listen: self.listen.clone(),
            upstreams: self.upstreams.clone(),
            health: health.clone(),
            tls: tls.clone(),
            h2c: *h2c,
            trusted_proxies: trusted_proxies.clone(),
            first_byte: *first_byte,
        }
    }
}

impl Listener for Outbound {
    fn listen(&self) -> &Listen {
        &self.listen
    }

    fn goes_where(&self, other: &Outbound) -> bool {
        match (&self.destination, &other.destination) {
            (Destination::ForwardProxy { allow: one, .. }, Destination::ForwardProxy { allow: other, .. }) => {
                one == other
            }
            (one, other) => one == other,
        }
    }

    fn in_place(&self, new: &Outbound) -> Outbound {
        let Outbound { listen: _, destination, health, h2c, allow_uids, first_byte } = new;
        // A tunnel has no pool of connections: where one may lead can change.
        let destination = match (&self.destination, destination) {
            (Destination::ForwardProxy { allow, .. }, Destination::ForwardProxy { connect, .. }) => {
                Destination::ForwardProxy { allow: allow.clone(), connect: connect.clone() }
            }
            (running, _) => running.clone(),
        };
        // How the new upstreams are asked says nothing of the old ones.
        let health = if self.is_proxy() == new.is_proxy() { health } else { &self.health };
        Outbound {
            listen: self.listen.clone(),
            destination,
            health: health.clone(),
            h2c: *h2c,
            allow_uids: allow_uids.clone(),
            first_byte: *first_byte,
        }
    }
}

impl Outbound {
    fn is_proxy(&self) -> bool {
        matches!(self.destination, Destination::ForwardProxy { .. })
    }
}

/// The running listeners with what may change of them; is one listening elsewhere, does one forward elsewhere?
fn merge<T: Listener>(running: &[Arc<T>], loaded: &[Arc<T>]) -> (Vec<Arc<T>>, bool, bool) {
    let mut resent = false;
    let mut places = Vec::with_capacity(running.len());
    for (index, old) in running.iter().enumerate() {
        let new = counterpart(index, running, loaded);
        resent |= new.is_some_and(|new| !new.goes_where(old));
        places.push(new.map_or_else(|| Arc::clone(old), |new| Arc::new(old.in_place(new))));
    }
    let listens = |list: &[Arc<T>]| {
        let mut listens: Vec<String> = list.iter().map(|one| format!("{:?}", one.listen())).collect();
        // In another order they are the same listeners.
        listens.sort();
        listens
    };
    (places, listens(running) != listens(loaded), resent)
}

/// The same listener in the loaded configuration: at the same place, else wherever it moved to.
fn counterpart<'l, T: Listener>(index: usize, running: &[Arc<T>], loaded: &'l [Arc<T>]) -> Option<&'l Arc<T>> {
    let listen = |one: Option<&Arc<T>>| one.map(|one| one.listen().clone());
    let wanted = listen(running.get(index));
    if listen(loaded.get(index)) == wanted {
        return loaded.get(index);
    }
    // One that stands in its own place is not another that moved (several may say port 0).
    let moved = loaded
        .iter()
        .enumerate()
        .find(|(place, new)| Some(new.listen().clone()) == wanted && listen(running.get(*place)) != wanted);
    moved.map(|(_, new)| new)
}
