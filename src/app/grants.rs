//! The override grants of a running sidecar: read at the start, granted, revoked, swept; all on the control thread, which alone
//! swaps snapshots.
//!
//! A change takes effect in memory first, for every request that is judged from then on; then the keeper writes it
//! ([`grant_keeper`](crate::state::grant_keeper)), and it is put on record. What expired or was used up lets nothing pass from that
//! moment; the sweep, every other second, only takes it out and says so.

use super::fleet_grants::{FleetGrants, Voice};
use super::start::App;
use super::summary;
use crate::admin::orders::{Done, GrantWish, OrderRefused};
use crate::clock;
use crate::policy::grants::{FleetWord, Grant, GrantId, GrantTable, GrantTerms, Revoked, Standing, StoredGrant};
use crate::policy::override_token::TokenHash;
use crate::proxy::Shared;
use crate::snapshot::Snapshot;
use crate::state::grant_keeper::GrantKeeper;
use crate::state::grants::{GrantFile, GrantFileFault, to_text};
use crate::systemd;
use crate::telemetry::audit::record::{Event, Fact};
use crate::telemetry::time::Rfc3339;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long the end waits for the last word to be written.
const END: Duration = Duration::from_secs(2);

const USED_UP: &str = "its last use was taken";

/// How long an answer waits for the disk.
const DISK: Duration = Duration::from_secs(10);

/// Where what came of an order goes.
type Answered = oneshot::Sender<Result<Done, OrderRefused>>;

/// What was done, and what there is to tell the fleet of it.
type Told = (Arc<Grant>, Option<FleetWord>);

/// What was kept from before this start.
pub(super) struct KeptGrants {
    pub(super) table: Arc<GrantTable>,
    file: GrantFile,
    fault: Option<GrantFileFault>,
}

impl KeptGrants {
    /// Reads what is in the state directory. What cannot be relied on grants nothing.
    pub(super) fn read(state_dir: &Path) -> KeptGrants {
        let file = GrantFile::of(state_dir);
        let (table, fault) = match file.read((clock::unix_seconds(), clock::monotonic())) {
            Ok(table) => (table, None),
            Err(fault) => (GrantTable::default(), Some(fault)),
        };
        KeptGrants { table: Arc::new(table), file, fault }
    }
}

/// The task that writes grants down.
pub(super) struct GrantTask {
    keeper: Arc<GrantKeeper>,
    task: JoinHandle<()>,
    fault: Option<GrantFileFault>,
    /// Those that were said to be used up, and stay.
    spent: BTreeSet<GrantId>,
    /// Where enforcement is shared.
    fleet: Option<FleetGrants>,
}

impl GrantTask {
    /// Starts to write what the snapshot holds.
    pub(super) fn start(kept: KeptGrants, shared: &Shared) -> GrantTask {
        let KeptGrants { table, file, fault } = kept;
        let known = fault.is_none().then(|| to_text(&table));
        let (keeper, snapshot) = (Arc::clone(&shared.grants), Arc::clone(&shared.snapshot));
        let task = tokio::spawn({
            let keeper = Arc::clone(&keeper);
            async move { keeper.run(file, || Arc::clone(&snapshot.load().grants), known).await }
        });
        GrantTask { keeper, task, fault, spent: BTreeSet::new(), fleet: FleetGrants::begin(shared) }
    }

    /// Writes the last word, and ends.
    pub(super) async fn stop(self) {
        // It has been said that it could not be written.
        let _ = tokio::time::timeout(END, self.keeper.written(self.keeper.ask())).await;
        self.task.abort();
    }

    /// Did it end although nobody stopped it?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished() || self.fleet.as_ref().is_some_and(FleetGrants::is_finished)
    }

    /// What the fleet said next; never anything without one.
    pub(super) async fn heard(task: &mut Option<GrantTask>) -> Vec<FleetWord> {
        match task.as_mut().and_then(|task| task.fleet.as_mut()) {
            Some(fleet) => fleet.heard().await,
            None => std::future::pending().await,
        }
    }

    fn voice(&self) -> Option<Arc<Voice>> {
        self.fleet.as_ref().map(FleetGrants::voice)
    }
}

impl App {
    /// Says at the start what was kept, and that what could not be read grants nothing.
    pub(super) fn tell_of_kept_grants(&mut self) {
        let fault = self.grant_task.as_mut().and_then(|task| task.fault.take());
        if let Some(fault) = fault {
            tracing::error!(%fault, "override grants from before this start are NOT valid: their file cannot be relied on");
            let why = format!("no override grant from before this start is valid: {fault}");
            self.record(Event::Grant, "process", why, vec![("change", "lost".into())]);
        }
        self.sweep_grants();
        let open = self.shared.snapshot.load().grants.iter().len();
        if open > 0 {
            tracing::warn!(open, "override grants from before this start are open");
        }
    }

    /// Takes out what lets nothing pass any more, and sees to it that counts are written now and then.
    pub(super) fn sweep_grants(&mut self) {
        let table = Arc::clone(&self.shared.snapshot.load().grants);
        if table.iter().len() == 0 && table.all_revoked().is_empty() {
            return;
        }
        if let Some((left, over)) = table.swept(clock::unix_seconds(), clock::monotonic()) {
            self.put_grants(left);
            for (grant, standing) in over {
                let (change, why) = match standing {
                    // Swept is what is not open; between the look and now it cannot have opened again.
                    Standing::Expired | Standing::Open => ("expired", "its time is over"),
                    Standing::UsedUp => ("used_up", USED_UP),
                };
                self.tell_of_grant(&grant, change, "process", why);
            }
        }
        for grant in table.spent() {
            let is_news = self.grant_task.as_mut().is_some_and(|task| task.spent.insert(grant.id()));
            if is_news && grant.standing(clock::unix_seconds(), clock::monotonic()) == Standing::UsedUp {
                self.tell_of_grant(grant, "used_up", "process", USED_UP);
            }
        }
        self.shared.grants.ask();
    }

    /// Carries out what somebody with the right to asked for, and answers when it is written.
    pub(super) fn obey_grants(&self, by: &str, wish: GrantWish, answer: Answered) {
        let done = match wish {
            GrantWish::Grant { id, hash, terms } => self.grant(id, hash, terms),
            GrantWish::Revoke { id, why } => self.revoke(id, by, &why),
        };
        let (grant, word) = match done {
            Ok(done) => done,
            Err(refused) => {
                // Who asked may have gone; here and below.
                let _ = answer.send(Err(refused));
                return;
            }
        };
        let keeper = Arc::clone(&self.shared.grants);
        let ticket = keeper.ask();
        let voice = self.grant_task.as_ref().and_then(GrantTask::voice);
        tokio::spawn(async move {
            let durable = match tokio::time::timeout(DISK, keeper.written(ticket)).await {
                Ok(written) => written.map_err(|fault| fault.to_string()),
                Err(_) => Err(format!("the disk did not take it within {} s", DISK.as_secs())),
            };
            let shared = match (word, voice) {
                (Some(word), Some(voice)) => Some(voice.say(grant.id(), &word).await),
                (_, _) => None,
            };
            let _ = answer.send(Ok(Done::Grants { grant, durable, shared }));
        });
    }

    fn grant(&self, id: GrantId, hash: TokenHash, terms: GrantTerms) -> Result<Told, OrderRefused> {
        if terms.fleet && self.grant_task.as_ref().and_then(GrantTask::voice).is_none() {
            return Err(OrderRefused::NotShared);
        }
        let grant = Arc::new(Grant::new(id, hash, terms, 0, (clock::unix_seconds(), clock::monotonic())));
        let table = self.shared.snapshot.load().grants.with(Arc::clone(&grant)).map_err(OrderRefused::Grants)?;
        self.put_grants(table);
        self.tell_of_grant(&grant, "granted", &grant.terms().by, &grant.terms().reason);
        let word = grant.terms().fleet.then(|| FleetWord::Granted(StoredGrant::of(&grant, 0)));
        Ok((grant, word))
    }

    fn revoke(&self, id: GrantId, by: &str, why: &str) -> Result<Told, OrderRefused> {
        let without = self.shared.snapshot.load().grants.without(id);
        let (table, grant) = without.ok_or(OrderRefused::NoSuchGrant(id))?;
        if !grant.terms().fleet {
            self.put_grants(table);
            self.tell_of_grant(&grant, "revoked", by, why);
            return Ok((grant, None));
        }
        let revoked = Revoked::of(&grant, by, why);
        self.put_grants(table.remembering(revoked.clone()));
        self.tell_of_grant(&grant, "revoked", by, why);
        Ok((grant, Some(FleetWord::Revoked(revoked))))
    }

    /// What is granted from now on.
    pub(super) fn put_grants(&self, table: GrantTable) {
        let grants = Arc::new(table);
        let snapshot = Snapshot { grants: Arc::clone(&grants), ..Snapshot::clone(&self.shared.snapshot.load()) };
        self.shared.metrics.set_grants(grants);
        systemd::ready(&summary::status(&snapshot));
        self.shared.snapshot.store(Arc::new(snapshot));
    }

    /// Puts a change of one grant on record and into the log.
    pub(super) fn tell_of_grant(&self, grant: &Grant, change: &'static str, who: &str, why: &str) {
        let terms = grant.terms();
        let (id, scope) = (grant.id().to_string(), terms.scope.to_string());
        let expires = Rfc3339::default().print(terms.expires.saturating_mul(1_000_000)).to_owned();
        tracing::warn!(grant = id, change, who, why, scope, expires, used = grant.used(), "override grant");
        let mut facts: Vec<(&'static str, Fact)> = vec![
            ("change", change.into()),
            ("grant_id", id.into()),
            ("scope", scope.into()),
            ("expires", expires.into()),
            ("used", grant.used().into()),
        ];
        facts.extend(terms.uses.map(|uses| ("uses", uses.get().into())));
        self.record(Event::Grant, who, why.to_owned(), facts);
    }
}
