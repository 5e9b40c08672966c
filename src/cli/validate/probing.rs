//! [`run`]: sends what is planned, one request at a time, and makes rows of what comes back.
//!
//! Not announced, at most so many requests that have to be refused are sent as leave room below the failure limit of the system:
//! the first of each kind and of each rule come first. What counts is what is carried out; in log mode only a wrong override
//! token does.

use super::announce::Announcement;
use super::budget::{Budget, in_order};
use super::client::{Answer, Client, ClientFault, Request};
use super::judge::{Judgement, Known, Row, Said, Told};
use super::plan::{Check, Means, Plan, Probe};
use super::standing::{SaidBy, Standing};
use super::{Wishes, made_up_word, surroundings};
use crate::cli::output::CliError;
use crate::clock;
use crate::keys::record::KeyText;
use crate::signature::hmac_v1;
use crate::signature::key::{ServiceId, ServiceKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// What came of it.
pub(super) struct Run {
    pub(super) standing: Standing,
    pub(super) announced: bool,
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<String>,
}

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// So many requests without an answer say enough.
const HANGING: usize = 3;
/// How much older than the window an old timestamp is.
const OLDER: u64 = 60;

/// One exchange, to be judged when everything is known.
struct Exchange<'p> {
    probe: &'p Probe,
    request_id: String,
    answer: Result<Answer, ClientFault>,
    /// This machine's time when the answer was there.
    at: u64,
}

impl Exchange<'_> {
    const fn has_timed_out(&self) -> bool {
        matches!(self.answer, Err(ClientFault::TimedOut(_)))
    }
}

/// A run under way.
pub(super) struct Probing<'w> {
    wishes: &'w Wishes,
    client: &'w Client,
    /// Signs what has to be refused.
    wrong_key: ServiceKey,
    /// Who nobody is.
    nobody: ServiceId,
    word: String,
    sent: u32,
    announcement: Option<Announcement>,
    /// What the sidecar said of announced probes.
    told: BTreeMap<String, Told>,
    /// Announced requests that somebody else sent.
    strangers: usize,
    notes: Vec<String>,
}

/// Asks everything.
///
/// # Errors
/// When nobody answers.
pub(super) async fn run(wishes: &Wishes, client: &Client) -> Result<Run, CliError> {
    let mut probing = Probing::begin(wishes, client)?;
    let means = Means {
        callers: &wishes.callers,
        safe_only: wishes.args.safe_only,
        override_token: wishes.override_token.is_some(),
    };
    let plan = Plan::of(&wishes.config.rules, means, &probing.word);
    let (has_sidecar, first) = probing.first_contact(&plan).await?;
    let standing = probing.stand(&plan, has_sidecar).await;
    let announced = probing.announcement.is_some();

    let mut rows = vec![surroundings::health(&mut probing, announced).await];
    let mut exchanges = vec![first];
    let mut held_back = Vec::new();
    let mut budget = Budget::of(wishes, announced || !has_sidecar);
    for probe in in_order(&plan, budget.limit.is_some()) {
        if !budget.takes(probe, &standing) {
            if !wishes.args.spread {
                held_back.push(probe);
                continue;
            }
            tokio::time::sleep(wishes.config.rate_limit.window + Duration::from_secs(1)).await;
            budget.begin_anew(probe, &standing);
        }
        if announced && !probing.is_covered(plan.probes.len()).await {
            break;
        }
        let exchange = probing.ask(probe, announced).await;
        if let Ok(answer) = &exchange.answer {
            budget.learn(probe, &standing, &Said::of(answer));
        }
        exchanges.push(exchange);
        if exchanges.iter().filter(|exchange| exchange.has_timed_out()).count() >= HANGING {
            probing.notes.push(format!("{HANGING} requests had no answer in time: no more were sent"));
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    probing.end_announcement().await;
    if budget.is_surprised {
        let said_by = standing.said_by.words();
        probing.notes.push(format!("refusals are carried out there, though {said_by} says: {}", standing.words()));
    }

    let known = Known { standing: &standing, has_sidecar, expect_enforced: wishes.args.expect_enforced };
    let asked = |probe: &Probe| exchanges.iter().find(|exchange| exchange.probe == probe);
    rows.extend(plan.probes.iter().map(|probe| match asked(probe) {
        Some(exchange) => Row::of(probe, &exchange.answer, probing.told.get(&exchange.request_id), known),
        None if held_back.contains(&probe) => Row::unknown(&probe.check, &probe.subject, NOT_SENT),
        None => Row::unknown(&probe.check, &probe.subject, NOT_SENT_ANY_MORE),
    }));
    rows.extend(plan.left_out.iter().map(|left| Row::unknown(&left.check, &left.subject, &left.why)));
    rows.extend(strangers(probing.strangers));
    rows.push(clock_row(&exchanges, &probing.told, wishes.config.signature.window_seconds));
    let mut notes = probing.notes;
    notes.extend(wishes.ring.problems.iter().cloned());
    if !has_sidecar {
        notes.push("no sidecar answers at this URL: whatever is there takes what a sidecar refuses".to_owned());
    }
    Ok(Run { standing, announced, rows, notes })
}

const NOT_SENT: &str = "not sent: too many refused requests would lock this address out; run it where the admin socket \
                        is, or with --spread";
const NOT_SENT_ANY_MORE: &str = "not sent any more";

impl<'w> Probing<'w> {
    fn begin(wishes: &'w Wishes, client: &'w Client) -> Result<Probing<'w>, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("no random bytes: {error}"));
        let text = KeyText::generate().map_err(|error| failed(&error))?;
        let wrong_key = ServiceKey::from_text(text.reveal()).map_err(|error| failed(&error))?;
        let word = made_up_word()?;
        let nobody = ServiceId::parse(&word).ok_or_else(|| failed(&"an odd word"))?;
        let (told, notes) = (BTreeMap::new(), Vec::new());
        Ok(Probing {
            wishes,
            client,
            wrong_key,
            nobody,
            word,
            sent: 0,
            announcement: None,
            told,
            strangers: 0,
            notes,
        })
    }

    /// Is anybody there, and is it a sidecar? What is malformed it refuses in every mode; no announcement can be read from it.
    async fn first_contact<'p>(&mut self, plan: &'p Plan) -> Result<(bool, Exchange<'p>), CliError> {
        let exchange = self.ask(plan.malformed(), false).await;
        match &exchange.answer {
            Ok(answer) => Ok((matches!(Said::of(answer), Said::Refusal { status: 400, .. }), exchange)),
            Err(ClientFault::Broken(_) | ClientFault::Malformed(_)) => {
                // Some servers hang up on what is malformed.
                let target = format!("/{}/none", self.word);
                match self.send("GET", &target, Vec::new(), false).await.1 {
                    Ok(_) => Ok((false, exchange)),
                    Err(fault) => Err(self.nobody_there(&fault)),
                }
            }
            Err(fault @ (ClientFault::Unreachable(..) | ClientFault::Tls(..) | ClientFault::TimedOut(_))) => {
                Err(self.nobody_there(fault))
            }
        }
    }

    fn nobody_there(&self, fault: &ClientFault) -> CliError {
        CliError::Unreachable(format!("{}: {fault}", self.wishes.url))
    }

    /// What is in force, as far as anybody says; and the announcement, where the sidecar behind the URL takes it.
    async fn stand(&mut self, plan: &Plan, has_sidecar: bool) -> Standing {
        let wishes = self.wishes;
        let (mode, percentage, said_by) = match wishes.args.mode {
            Some((mode, percentage)) => (mode, percentage, SaidBy::Argument),
            None => {
                let configured = wishes.config.enforcement;
                (configured.mode, configured.percentage, SaidBy::Configuration)
            }
        };
        let otherwise = Standing { mode, percentage, rules: BTreeMap::new(), said_by };
        if !has_sidecar {
            return otherwise;
        }
        let count = u32::try_from(plan.probes.len()).unwrap_or(u32::MAX).saturating_add(ASIDE);
        let announcement = match Announcement::open(wishes, count).await {
            Ok(Some(announcement)) => announcement,
            Ok(None) => return otherwise,
            Err(why) => {
                self.notes.push(format!("not announced: {why}"));
                return otherwise;
            }
        };
        let standing = announcement.standing();
        self.announcement = Some(announcement);
        if self.is_recognised(plan).await {
            return match (standing, wishes.args.mode) {
                (Some(standing), None) => standing,
                (Some(_) | None, _) => otherwise,
            };
        }
        // What was said is of another sidecar, and the secret is nobody else's.
        self.end_announcement().await;
        self.notes
            .push("not announced: the admin socket is that of another sidecar than the one at this URL".to_owned());
        otherwise
    }

    /// Did the sidecar at the URL take an announced request for one?
    async fn is_recognised(&mut self, plan: &Plan) -> bool {
        let target = match plan.probes.iter().find(|probe| probe.check == Check::Exempt) {
            Some(probe) => probe.path.clone(),
            None => format!("/{}/none", self.word),
        };
        let (request_id, _) = self.send("GET", &target, Vec::new(), true).await;
        self.learn().await;
        self.told.contains_key(&request_id)
    }

    /// Is the next probe announced, too? One announcement covers so many, for minutes; then there is another.
    async fn is_covered(&mut self, planned: usize) -> bool {
        if self.announcement.as_ref().is_some_and(Announcement::covers_another) {
            return true;
        }
        self.end_announcement().await;
        match Announcement::open(self.wishes, u32::try_from(planned).unwrap_or(u32::MAX)).await {
            Ok(Some(announcement)) => self.announcement = Some(announcement),
            Ok(None) => self.notes.push("the admin socket is gone: no more probes were sent".to_owned()),
            Err(why) => self.notes.push(format!("no more probes were sent: {why}")),
        }
        self.announcement.is_some()
    }

    async fn ask<'p>(&mut self, probe: &'p Probe, announced: bool) -> Exchange<'p> {
        let headers = self.credentials(probe, announced);
        let (request_id, answer) = self.send(&probe.method, &probe.path, headers, announced).await;
        Exchange { probe, request_id, answer, at: clock::unix_seconds() }
    }

    /// Sends one request; gives its id too.
    pub(super) async fn send(
        &mut self,
        method: &str,
        target: &str,
        mut headers: Vec<(String, String)>,
        announced: bool,
    ) -> (String, Result<Answer, ClientFault>) {
        self.sent += 1;
        let request_id = format!("{}-{}", self.word, self.sent);
        headers.push(("X-Request-ID".to_owned(), request_id.clone()));
        if announced && let Some(announcement) = &mut self.announcement {
            headers.push(("X-Countersign-Probe".to_owned(), announcement.take().to_owned()));
        }
        let request = Request { method: method.to_owned(), target: target.to_owned(), headers };
        (request_id, self.client.send(&request).await)
    }

    /// What the request presents. Who is blamed for a wrong one is nobody, unless it is announced.
    fn credentials(&self, probe: &Probe, announced: bool) -> Vec<(String, String)> {
        let now = clock::unix_seconds();
        let old = now.saturating_sub(self.wishes.config.signature.window_seconds + OLDER);
        let token = |text: &str| vec![("X-Override-Token".to_owned(), text.to_owned())];
        let sign = |key: &ServiceKey, id: &ServiceId, time: u64| {
            let headers = hmac_v1::sign(key, id, &probe.method, &probe.path, time);
            headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let rightly = |id: &ServiceId, time| match self.wishes.ring.key(id) {
            Some(key) => sign(key, id, time),
            None => Vec::new(),
        };
        let blamed = |id: &Option<ServiceId>| id.clone().filter(|_| announced);
        match &probe.check {
            Check::Exempt | Check::Unsigned | Check::Malformed => Vec::new(),
            Check::Signed(id) | Check::WrongCaller(id) => rightly(id, now),
            Check::WrongSignature(id) => sign(&self.wrong_key, &blamed(id).unwrap_or(self.nobody.clone()), now),
            Check::Stale(id) => match blamed(id) {
                Some(id) => rightly(&id, old),
                None => sign(&self.wrong_key, &self.nobody, old),
            },
            Check::WrongOverride => token(&self.word),
            Check::Override => token(self.wishes.override_token.as_ref().map_or("", |token| token)),
        }
    }

    pub(super) const fn wishes(&self) -> &'w Wishes {
        self.wishes
    }

    /// Takes what the sidecar says of the announced probes so far; gives how many more there were than were sent.
    async fn learn(&mut self) -> usize {
        let Some(announcement) = &self.announcement else { return 0 };
        match announcement.verdicts().await {
            Ok((told, count)) => {
                self.told.extend(told);
                count.saturating_sub(announcement.taken())
            }
            Err(why) => {
                self.notes.push(format!("what the probes were judged is not known: {why}"));
                0
            }
        }
    }

    async fn end_announcement(&mut self) {
        self.strangers += self.learn().await;
        if let Some(announcement) = self.announcement.take() {
            announcement.end().await;
        }
    }
}

/// Announced requests beside the plan: the first, the health check.
const ASIDE: u32 = 4;

/// Somebody who read the secret on its way used it, too: what came with it was not counted, and must not go unseen.
fn strangers(count: usize) -> Option<Row> {
    let detail = format!("{count} requests that this run did not send came with its secret: somebody reads along");
    (count > 0).then(|| Row::plain("announcement", "the probes of this run", Judgement::Failed, detail))
}

/// Do the clocks agree? By what the sidecar says of announced signatures, else by the `Date` of answers.
fn clock_row(exchanges: &[Exchange<'_>], told: &BTreeMap<String, Told>, window: u64) -> Row {
    const CHECK: &str = "clock";
    let limit = window / 3;
    let row = |subject: &str, skew: i64, precision: &str| {
        let (result, words) = match skew.unsigned_abs() {
            off if off < limit.max(1) => (Judgement::Passed, "less than"),
            _ => (Judgement::Failed, "and must be less than"),
        };
        let detail = format!("this machine is {skew:+} s off{precision}, {words} a third of the window ({limit} s)");
        Row::plain(CHECK, subject, result, detail)
    };
    let signed = exchanges.iter().filter(|exchange| matches!(exchange.probe.check, Check::Signed(_)));
    let skews = signed.filter_map(|exchange| told.get(&exchange.request_id)?.skew_seconds);
    if let Some(skew) = skews.max_by_key(|skew| skew.abs()) {
        return row("against the sidecar", skew, "");
    }
    let dates = exchanges.iter().filter_map(|exchange| {
        let date = exchange.answer.as_ref().ok()?.date()?;
        Some(i64::try_from(exchange.at).unwrap_or(i64::MAX).saturating_sub(date))
    });
    match dates.max_by_key(|skew| skew.abs()) {
        Some(skew) => row("against the Date of answers", skew, " or a second more or less"),
        None => Row::plain(CHECK, "against the system", Judgement::Unknown, "no answer says what time it is there"),
    }
}
