//! [`Budget`]: how many requests that are not announced may be refused, and which ones go first. Pure.

use super::Wishes;
use super::judge::Said;
use super::plan::{Check, Plan, Probe};
use super::standing::Standing;

/// Refusals that are left to others below the failure limit.
const LEFT_TO_OTHERS: u32 = 2;

/// What is left after the first contact, in the order of the plan; where few may be sent, what matters most comes first.
pub(super) fn in_order(plan: &Plan, is_limited: bool) -> Vec<&Probe> {
    let mut probes: Vec<&Probe> = plan.probes.iter().filter(|probe| probe.check != Check::Malformed).collect();
    if is_limited {
        probes.sort_by_key(|probe| !probe.is_first);
    }
    probes
}

/// How many requests may be refused.
pub(super) struct Budget {
    /// `None`: any number.
    pub(super) limit: Option<u32>,
    used: u32,
    /// Refusals are carried out where they were thought not to be.
    pub(super) is_surprised: bool,
}

impl Budget {
    /// `is_free`: announced, or nobody is there who counts.
    pub(super) fn of(wishes: &Wishes, is_free: bool) -> Budget {
        let limit = wishes.config.rate_limit.failures.saturating_sub(LEFT_TO_OTHERS).max(1);
        Budget { limit: (!is_free).then_some(limit), used: 0, is_surprised: false }
    }

    /// May it be sent? Then it has been counted.
    pub(super) fn takes(&mut self, probe: &Probe, standing: &Standing) -> bool {
        let counts = probe.check.is_refused() && (self.is_surprised || is_expected(probe, standing));
        let Some(limit) = self.limit.filter(|_| counts) else { return true };
        if self.used >= limit {
            return false;
        }
        self.used += 1;
        true
    }

    /// Learns from an answer: whoever said what is in force may have been wrong.
    pub(super) fn learn(&mut self, probe: &Probe, standing: &Standing, said: &Said) {
        let is_counted = self.is_surprised || is_expected(probe, standing);
        if matches!(said, Said::Refusal { status: 401 | 403, .. }) && probe.check.is_refused() && !is_counted {
            self.is_surprised = true;
            self.used += 1;
        }
    }

    pub(super) fn begin_anew(&mut self, probe: &Probe, standing: &Standing) {
        self.used = 0;
        self.takes(probe, standing);
    }
}

/// Should a refusal of this be carried out, and so be counted? A wrong token counts in every mode.
fn is_expected(probe: &Probe, standing: &Standing) -> bool {
    standing.share(&probe.rules) > 0 || probe.check == Check::WrongOverride
}
