//! [`Peers`]: whose address is this? The same question that counting a refusal as a service's failure asks.
//!
//! 1. `services.X.addresses`: it is X's, whatever a request says. Of several services that share it, of each; one that the
//!    request claims to be is meant alone.
//! 2. An address from which a service proved itself within the period is that service's too.
//! 3. Any other is nobody's: what a request from there claims is only a claim.
//!
//! Addresses are learned in a pass of their own before anything is counted, so that a call counts alike before and after its
//! service first proved itself. At most [`Peers::MOST`] are: who proves itself is no outsider, but may sit behind a proxy
//! that names ever new addresses.

use super::Seen;
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Which service: its place in [`Peers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub usize);

/// Who exists, and where from it calls.
#[derive(Debug, Default)]
pub struct Peers {
    services: Vec<Known>,
    by_id: BTreeMap<Box<str>, PeerIndex>,
    learned: HashMap<Box<str>, Vec<PeerIndex>>,
    /// Addresses left out.
    unlearned: u64,
}

#[derive(Debug)]
struct Known {
    id: Box<str>,
    configured: bool,
    addresses: Vec<IpNet>,
}

impl Peers {
    /// Learned addresses at most.
    pub const MOST: usize = 100_000;

    /// One that the configuration names.
    pub fn configure(&mut self, id: &str, addresses: &[IpNet]) {
        let PeerIndex(at) = self.index_of(id);
        self.services[at].configured = true;
        self.services[at].addresses = addresses.to_vec();
    }

    /// Takes in where a service proved itself.
    pub fn learn(&mut self, seen: &Seen<'_>) {
        let Some(id) = seen.service.filter(|_| seen.proves_address()) else { return };
        let index = self.index_of(id);
        if let Some(owners) = self.learned.get_mut(seen.client) {
            if !owners.contains(&index) {
                owners.push(index);
            }
        } else if self.learned.len() < Peers::MOST {
            self.learned.insert(seen.client.into(), vec![index]);
        } else {
            self.unlearned += 1;
        }
    }

    /// Who made this call: the one that proved itself, else whose address it is; nobody's gives none.
    pub fn callers(&self, seen: &Seen<'_>) -> Vec<PeerIndex> {
        if let Some(index) = seen.service.filter(|_| seen.proves_address()).and_then(|id| self.by_id.get(id)) {
            return vec![*index];
        }
        let mut owners = self.learned.get(seen.client).cloned().unwrap_or_default();
        if let Ok(address) = seen.client.parse::<IpAddr>() {
            let at = self.services.iter().enumerate();
            let here = at.filter(|(_, known)| known.addresses.iter().any(|net| net.contains(&address)));
            owners.extend(here.map(|(at, _)| PeerIndex(at)));
        }
        owners.sort_unstable();
        owners.dedup();
        let claimed = seen.claimed.and_then(|id| self.by_id.get(id)).filter(|index| owners.contains(index));
        claimed.map_or(owners, |index| vec![*index])
    }

    /// Its id.
    pub fn id(&self, index: PeerIndex) -> &str {
        &self.services[index.0].id
    }

    /// Does the configuration name it?
    pub fn is_configured(&self, index: PeerIndex) -> bool {
        self.services[index.0].configured
    }

    /// Does the configuration say where it calls from?
    pub fn has_addresses(&self, index: PeerIndex) -> bool {
        !self.services[index.0].addresses.is_empty()
    }

    /// The service of this id, if it is known.
    pub fn find(&self, id: &str) -> Option<PeerIndex> {
        self.by_id.get(id).copied()
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = PeerIndex> {
        self.by_id.values().copied()
    }

    /// How many there are: every index is below.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Is nobody known?
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Calls of services from addresses beyond [`Peers::MOST`].
    pub fn unlearned(&self) -> u64 {
        self.unlearned
    }

    fn index_of(&mut self, id: &str) -> PeerIndex {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let index = PeerIndex(self.services.len());
        self.services.push(Known { id: id.into(), configured: false, addresses: Vec::new() });
        self.by_id.insert(id.into(), index);
        index
    }
}
