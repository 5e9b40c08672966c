//! [`Remark`] and [`ExpiryWatch`]: which of our own certificates ends soon, and when is it time to say so?
//!
//! At 30, 14, 7 and 1 days before the end, and once it has come; at each step once, and again after a restart. An ended certificate is
//! still served: see [`super::material`]. Pure but for the words: the time is an argument.

use super::certificate::Certificate;
use super::material::OwnCertificate;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Something about a certificate that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// It counts no more.
    #[error("the certificate {} ended {} days ago: clients that look refuse it", path.display(), days)]
    Ended {
        /// Its file.
        path: PathBuf,
        /// Whole days since.
        days: i64,
    },
    /// It ends soon.
    #[error("the certificate {} ends in {} days", path.display(), days)]
    EndsSoon {
        /// Its file.
        path: PathBuf,
        /// Whole days until.
        days: i64,
    },
    /// It does not count yet.
    #[error("the certificate {} does not count yet: is the clock right?", path.display())]
    NotYet {
        /// Its file.
        path: PathBuf,
    },
}

/// Days before the end at which it is told, and the end.
const STEPS: [i64; 5] = [30, 14, 7, 1, 0];

impl Remark {
    /// Whose.
    pub fn path(&self) -> &Path {
        match self {
            Remark::Ended { path, .. } | Remark::EndsSoon { path, .. } | Remark::NotYet { path } => path,
        }
    }

    /// What is to be said of it at this time.
    pub fn of(path: &Path, certificate: &Certificate, now: u64) -> Option<Remark> {
        let (path, days) = (path.to_owned(), certificate.days_left(now));
        match certificate.counts_at(now) {
            false if days < 0 => Some(Remark::Ended { path, days: -days - 1 }),
            false => Some(Remark::NotYet { path }),
            true if days < STEPS[0] => Some(Remark::EndsSoon { path, days }),
            true => None,
        }
    }
}

/// Which steps have been told.
#[derive(Debug, Default)]
pub struct ExpiryWatch(HashMap<PathBuf, (i64, usize)>);

impl ExpiryWatch {
    /// What is to be said now: of each certificate its newest step, once. A certificate that was renewed begins anew.
    pub fn look(&mut self, own: &[OwnCertificate], now: u64) -> Vec<Remark> {
        let mut said = HashMap::with_capacity(own.len());
        let mut remarks = Vec::new();
        for OwnCertificate { path, certificate } in own {
            let days = certificate.days_left(now);
            let passed = STEPS.iter().filter(|step| days < **step).count();
            let before = match self.0.get(path) {
                Some((end, passed)) if *end == certificate.not_after => *passed,
                Some(_) | None => 0,
            };
            if passed > before {
                remarks.extend(Remark::of(path, certificate, now));
            }
            said.insert(path.clone(), (certificate.not_after, passed));
        }
        self.0 = said;
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;
    const END: u64 = 1_000 * DAY;

    fn own(end: u64) -> Vec<OwnCertificate> {
        let not_after = i64::try_from(end).unwrap();
        let certificate = Certificate { names: Vec::new(), not_before: 0, not_after };
        vec![OwnCertificate { path: "cert.pem".into(), certificate }]
    }

    #[test]
    fn each_step_before_the_end_is_told_once() {
        let mut watch = ExpiryWatch::default();
        let mut told = Vec::new();
        for hours in (0..24 * 40).rev() {
            let remarks = watch.look(&own(END), END - hours * DAY / 24);
            told.extend(remarks.into_iter().map(|remark| (hours, remark)));
        }
        let ends = |hours, days| (hours, Remark::EndsSoon { path: "cert.pem".into(), days });
        assert_eq!(told, [ends(719, 29), ends(335, 13), ends(167, 6), ends(23, 0)]);
        let ended = Remark::Ended { path: "cert.pem".into(), days: 0 };
        assert_eq!(watch.look(&own(END), END + 1), [ended]);
        assert_eq!(watch.look(&own(END), END + 100 * DAY), [], "it has been said");
    }

    #[test]
    fn a_renewed_certificate_begins_anew() {
        let mut watch = ExpiryWatch::default();
        assert_eq!(watch.look(&own(END), END - DAY / 2).len(), 1);
        assert_eq!(watch.look(&own(END + 90 * DAY), END), []);
        assert_eq!(watch.look(&own(END + 90 * DAY), END + 80 * DAY).len(), 1);
    }

    #[test]
    fn what_does_not_count_yet_is_told_at_the_start() {
        let certificate = Certificate { names: Vec::new(), not_before: 100, not_after: 1_000 * DAY as i64 };
        let not_yet = Some(Remark::NotYet { path: "cert.pem".into() });
        assert_eq!(Remark::of(Path::new("cert.pem"), &certificate, 99), not_yet);
        assert_eq!(Remark::of(Path::new("cert.pem"), &certificate, 100), None);
    }
}
