//! [`Announcement`]: the probes of one run, announced to the sidecar through its admin socket, and what it says of them.

use super::Wishes;
use super::judge::Told;
use super::standing::{SaidBy, Standing};
use crate::cli::control::{Sidecar, Unanswered, sudo_user};
use crate::clock;
use crate::config::AdminSocket;
use crate::policy::decision::{Outcome, Refusal};
use crate::policy::enforcement::Mode;
use crate::policy::probes::{USES, VALID};
use crate::rules::percentage::Percentage;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Instant;
use zeroize::Zeroizing;

/// An open announcement.
pub(super) struct Announcement {
    sidecar: Sidecar,
    id: u64,
    secret: Zeroizing<String>,
    uses: u32,
    /// Probes that were sent with it.
    taken: u32,
    since: Instant,
    standing: Option<Standing>,
}

impl Announcement {
    /// Announces that many probes, as far as one announcement goes. `None`: there is no socket here to announce them to.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(super) async fn open(wishes: &Wishes, count: u32) -> Result<Option<Announcement>, String> {
        let socket = match (&wishes.args.socket, &wishes.config.admin.socket) {
            (Some(socket), _) if socket == Path::new("off") => return Ok(None),
            (Some(socket), _) => socket.clone(),
            (None, AdminSocket::Off) => return Ok(None),
            (None, AdminSocket::Said(socket) | AdminSocket::Default(socket)) => socket.clone(),
        };
        let is_said = wishes.args.socket.is_some();
        let sidecar = Sidecar { socket, state_dir: wishes.config.state_dir.clone() };
        let uses = count.min(USES);
        let body = json!({ "uses": uses, "sudo_user": sudo_user() });
        let answered = match sidecar.asked(&Method::POST, "/v1/probes", Some(&body)).await {
            Ok(answered) => answered,
            // On another machine than the sidecar's nobody expects its socket.
            Err(Unanswered::Unreachable { error, .. }) if !is_said && error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(unanswered) => return Err(unanswered.to_string().replace('\n', "; ")),
        };
        let (id, token) = (answered.body["id"].as_u64(), answered.body["token"].as_str());
        let (Some(id), Some(token)) = (id, token) else {
            let why = answered.body["detail"].as_str().unwrap_or("the sidecar knows of no such thing");
            return Err(why.to_owned());
        };
        let secret = Zeroizing::new(token.to_owned());
        let in_force = sidecar.asked(&Method::GET, "/v1/enforcement", None).await;
        let standing = in_force.ok().filter(|answered| answered.status == 200).and_then(|a| standing(&a.body));
        Ok(Some(Announcement { sidecar, id, secret, uses, taken: 0, since: clock::monotonic(), standing }))
    }

    /// What goes into the header of the next probe.
    pub(super) fn take(&mut self) -> &str {
        self.taken += 1;
        &self.secret
    }

    /// Is it good for another probe, however long that takes?
    pub(super) fn covers_another(&self) -> bool {
        self.taken < self.uses && clock::monotonic().duration_since(self.since) < VALID / 2
    }

    /// What is in force, by the sidecar's own word.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing.clone()
    }

    /// How many were sent with it.
    pub(super) const fn taken(&self) -> usize {
        self.taken as usize
    }

    /// What the probes so far were judged, by request id; and how many there were.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) async fn verdicts(&self) -> Result<(BTreeMap<String, Told>, usize), String> {
        let answered = self.sidecar.asked(&Method::GET, &self.path(), None).await;
        let answered = answered.map_err(|unanswered| unanswered.to_string())?;
        let Some(verdicts) = answered.body["verdicts"].as_array() else {
            return Err(answered.body["detail"].as_str().unwrap_or("the sidecar does not say").to_owned());
        };
        Ok((verdicts.iter().filter_map(told).collect(), verdicts.len()))
    }

    /// Ends it; if that does not come about, it ends by itself.
    pub(super) async fn end(self) {
        let _ = self.sidecar.asked(&Method::DELETE, &self.path(), None).await;
    }

    fn path(&self) -> String {
        format!("/v1/probes/{}", self.id)
    }
}

fn standing(body: &Value) -> Option<Standing> {
    let percentage =
        |value: &Value| value.as_u64().and_then(|value| u8::try_from(value).ok()).and_then(Percentage::new);
    let mode = [Mode::Log, Mode::Enforce].into_iter().find(|mode| body["mode"] == mode.code())?;
    let rules = body["rules"].as_object().into_iter().flatten();
    let rules = rules.filter_map(|(name, rule)| Some((name.clone(), percentage(&rule["percentage"])?))).collect();
    Some(Standing { mode, percentage: percentage(&body["percentage"])?, rules, said_by: SaidBy::Sidecar })
}

fn told(verdict: &Value) -> Option<(String, Told)> {
    let outcome = [Outcome::Allow, Outcome::Authenticated, Outcome::Override, Outcome::Refuse, Outcome::WouldRefuse]
        .into_iter()
        .find(|outcome| verdict["outcome"] == outcome.code())?;
    let reason = Refusal::ALL.into_iter().find(|reason| verdict["reason"] == reason.code());
    let told = Told {
        outcome,
        reason,
        class: verdict["class"].as_str()?.to_owned(),
        skew_seconds: verdict["skew_seconds"].as_i64(),
    };
    Some((verdict["request_id"].as_str()?.to_owned(), told))
}
