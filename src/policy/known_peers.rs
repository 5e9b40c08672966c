//! [`KnownPeers`]: whose failure is a refused call from this address?
//!
//! A rollback driven by failures is itself a way to switch authentication off, so only failures of *known peers* are held against
//! a rollout: of addresses configured for a service, and of those from which one authenticated within the last hour. In this order:
//!
//! 1. The claimed service, if the address is configured for it.
//! 2. The service that is configured to call from there, whatever is claimed, and if nothing is.
//! 3. The claimed service, if it authenticated from there within the hour.
//! 4. Whoever authenticated from there last within the hour.
//! 5. Nobody's: strangers' forgeries are no evidence of anything.
//!
//! Never counted: requests with an `Origin` or any `Sec-Fetch-*`, which a page makes a browser send from an honest machine. Never learned: the
//! address of a signature that was seen before. On a network without TLS a stranger can read one and send it again; with
//! `replay = "report"` that passes, and must not make the stranger a peer. Nor does it count, well answered or not: else a stranger
//! could drown a service's failures in its own good calls sent again, or have errors booked to it.
//!
//! Bounded: [`ADDRESSES`] addresses with [`PER_ADDRESS`] services each; only what verified is learned. The hot path of a valid request is a
//! comparison; the shared table is written at most once in `NOTED_EVERY` seconds for each address and service on a worker, and read only
//! for failing checks. Left out: peers on unix sockets, which have no address; their claims of a configured service are not believed.

use crate::policy::decision::Refusal;
use crate::signature::key::ServiceId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// So many addresses are learned at most.
pub const ADDRESSES: usize = 4096;
/// So many services of one address.
pub const PER_ADDRESS: usize = 16;
/// How long an address is a peer's after a valid signature from it.
pub const REMEMBERED: Duration = Duration::from_secs(3600);
/// A worker tells the table of the same peer again after so many seconds.
const NOTED_EVERY: u64 = 10;

/// Is this one of the refusals that can be a service's own breakage? Rows 4 to 8 of the contract's table.
pub const fn is_breakage(refusal: Refusal) -> bool {
    match refusal {
        Refusal::MissingSignature
        | Refusal::MalformedSignature
        | Refusal::TimestampOutsideWindow
        | Refusal::UnknownService
        | Refusal::InvalidSignature
        | Refusal::Replayed
        | Refusal::CallerNotAllowed => true,
        Refusal::MalformedRequest | Refusal::RateLimited | Refusal::KeysUnavailable | Refusal::AuditUnavailable => {
            false
        }
    }
}

/// Does a header of this name say that a web page sent the request?
pub fn is_of_a_page(header: &[u8]) -> bool {
    const FETCH: &[u8] = b"sec-fetch-";
    header.eq_ignore_ascii_case(b"origin")
        || header.get(..FETCH.len()).is_some_and(|start| start.eq_ignore_ascii_case(FETCH))
}

/// Who authenticated from where, within the last hour.
#[derive(Debug)]
pub struct KnownPeers {
    epoch: Instant,
    learned: RwLock<HashMap<IpAddr, Vec<(ServiceId, u64)>>>,
}

impl KnownPeers {
    /// Nobody yet. `now`: where seconds are counted from.
    pub fn new(now: Instant) -> Arc<KnownPeers> {
        Arc::new(KnownPeers { epoch: now, learned: RwLock::default() })
    }

    /// What one worker notes on.
    pub fn notes(self: &Arc<KnownPeers>) -> PeerNotes {
        PeerNotes { peers: Arc::clone(self), last: Default::default() }
    }

    /// The service that is known at this address by what verified. `claimed` is preferred where it is one of several.
    pub fn service_at(&self, address: IpAddr, claimed: Option<&str>, now: Instant) -> Option<ServiceId> {
        let oldest = self.seconds(now).saturating_sub(REMEMBERED.as_secs());
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let recent = learned.get(&address)?.iter().filter(|(_, at)| *at >= oldest);
        let found = recent.max_by_key(|(id, at)| (Some(id.as_str()) == claimed, *at));
        found.map(|(id, _)| id.clone())
    }

    fn learn(&self, address: IpAddr, service: &ServiceId, seconds: u64) {
        let oldest = seconds.saturating_sub(REMEMBERED.as_secs());
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if !learned.contains_key(&address) && learned.len() >= ADDRESSES {
            learned.retain(|_, services| services.iter().any(|(_, at)| *at >= oldest));
            if learned.len() >= ADDRESSES {
                return;
            }
        }
        let services = learned.entry(address).or_default();
        if let Some((_, at)) = services.iter_mut().find(|(id, _)| id == service) {
            *at = seconds.max(*at);
            return;
        }
        if services.len() >= PER_ADDRESS {
            services.retain(|(_, at)| *at >= oldest);
        }
        if services.len() < PER_ADDRESS {
            services.push((service.clone(), seconds));
        }
    }

    fn seconds(&self, now: Instant) -> u64 {
        // From one, so that what was never noted is older than all.
        now.saturating_duration_since(self.epoch).as_secs() + 1
    }
}

/// One worker's way to tell of peers.
#[derive(Debug)]
pub struct PeerNotes {
    peers: Arc<KnownPeers>,
    /// The last ones told of, by their addresses.
    last: [RefCell<Option<(IpAddr, ServiceId, u64)>>; PLACES],
}

const PLACES: usize = 16;

impl PeerNotes {
    /// A signature of this service, not seen before, verified for a request from there.
    pub fn note(&self, address: IpAddr, service: &ServiceId, now: Instant) {
        let seconds = self.peers.seconds(now);
        let mut last = self.last[place(address)].borrow_mut();
        if let Some((at, id, told)) = &*last
            && *at == address
            && id == service
            && seconds < told + NOTED_EVERY
        {
            return;
        }
        *last = Some((address, service.clone(), seconds));
        drop(last);
        self.peers.learn(address, service, seconds);
    }

    /// Does this service call from there, by what verified within the hour? Asked of each signature that was seen before.
    pub fn is_known(&self, address: IpAddr, service: &ServiceId, now: Instant) -> bool {
        let seconds = self.peers.seconds(now);
        if let Some((at, id, told)) = &*self.last[place(address)].borrow()
            && *at == address
            && id == service
            && seconds < told + REMEMBERED.as_secs()
        {
            return true;
        }
        self.peers.service_at(address, Some(service.as_str()), now).as_ref() == Some(service)
    }

    /// See [`KnownPeers::service_at`].
    pub fn service_at(&self, address: IpAddr, claimed: Option<&str>, now: Instant) -> Option<ServiceId> {
        self.peers.service_at(address, claimed, now)
    }
}

fn place(address: IpAddr) -> usize {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    usize::from(last) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ServiceId {
        ServiceId::parse(text).unwrap()
    }

    fn at(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    #[test]
    fn a_service_is_known_where_it_verified_and_nowhere_else() {
        let start = Instant::now();
        let (peers, later) = (KnownPeers::new(start), |seconds| start + Duration::from_secs(seconds));
        let (notes, other) = (peers.notes(), peers.notes());
        notes.note(at(1), &id("a"), start);
        for worker in [&notes, &other] {
            assert!(worker.is_known(at(1), &id("a"), later(3599)));
            assert!(!worker.is_known(at(1), &id("b"), start) && !worker.is_known(at(2), &id("a"), start));
            assert!(!worker.is_known(at(17), &id("a"), start), "an address of the same place");
            assert!(!worker.is_known(at(1), &id("a"), later(3601)));
        }
    }

    #[test]
    fn who_authenticated_from_an_address_is_known_there_for_an_hour() {
        let start = Instant::now();
        let (peers, later) = (KnownPeers::new(start), |seconds| start + Duration::from_secs(seconds));
        let notes = peers.notes();
        assert_eq!(notes.service_at(at(1), Some("a"), start), None);
        notes.note(at(1), &id("a"), start);
        assert_eq!(notes.service_at(at(1), None, later(3600)), Some(id("a")));
        assert_eq!(notes.service_at(at(1), Some("other"), later(3600)), Some(id("a")), "whatever it claims");
        assert_eq!((notes.service_at(at(1), None, later(3601)), notes.service_at(at(2), None, start)), (None, None));
        notes.note(at(1), &id("a"), later(3000));
        assert_eq!(notes.service_at(at(1), None, later(6600)), Some(id("a")), "each valid call counts");
    }

    #[test]
    fn where_several_call_the_claimed_one_is_meant_else_the_last() {
        let start = Instant::now();
        let peers = KnownPeers::new(start);
        let notes = peers.notes();
        notes.note(at(1), &id("a"), start);
        notes.note(at(1), &id("b"), start + Duration::from_secs(5));
        let asked = |claimed| notes.service_at(at(1), claimed, start + Duration::from_secs(9)).unwrap();
        assert_eq!((asked(Some("a")), asked(Some("c")), asked(None)), (id("a"), id("b"), id("b")));
    }

    #[test]
    fn addresses_and_their_services_are_bounded_and_old_ones_make_room() {
        let start = Instant::now();
        let (peers, hours) = (KnownPeers::new(start), |hours: u64| start + Duration::from_secs(hours * 3600));
        let notes = peers.notes();
        (0..5_000).for_each(|n| notes.note(at(n), &id("a"), start));
        let known = |n, now| notes.service_at(at(n), None, now).is_some();
        assert!(known(0, start) && known(4_095, start) && !known(4_096, start));
        notes.note(at(9_999), &id("a"), hours(2));
        assert!(known(9_999, hours(2)));
        (0..40).for_each(|n| notes.note(at(9_999), &id(&format!("s{n}")), hours(2)));
        assert_eq!(peers.learned.read().unwrap()[&at(9_999)].len(), PER_ADDRESS);
        assert_eq!(peers.learned.read().unwrap().len(), 1);
    }

    #[test]
    fn what_a_page_sends_is_told_by_its_headers() {
        for name in ["Origin", "ORIGIN", "Sec-Fetch-Site", "sec-fetch-mode", "Sec-Fetch-"] {
            assert!(is_of_a_page(name.as_bytes()), "{name}");
        }
        for name in ["Origins", "X-Origin", "Sec-Fetch", "Sec-GPC", ""] {
            assert!(!is_of_a_page(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn rows_four_to_eight_are_breakage_and_nothing_else() {
        let breakage: Vec<&str> =
            Refusal::ALL.into_iter().filter(|refusal| is_breakage(*refusal)).map(Refusal::code).collect();
        let expected = [
            "missing_signature",
            "malformed_signature",
            "timestamp_outside_window",
            "unknown_service",
            "invalid_signature",
            "replayed",
            "caller_not_allowed",
        ];
        assert_eq!(breakage, expected);
    }
}
