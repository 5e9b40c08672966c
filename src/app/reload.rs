//! A new configuration takes effect, whole or not at all.
//!
//! 1. Load and check the files and every key they name, and open a new audit sink where one is wanted. Any problem ends
//!    here: nothing has changed, but that a key whose file is gone is no longer taken.
//! 2. Swap one snapshot. A request in flight is judged by the one it took; no request sees parts of two.
//! 3. Tell those who only follow: log level, failure limit, health checks, admin hosts, metrics, the watch.

use super::start::{App, HealthCheck, certificates, service_ids};
use super::{key_follower, keys, summary};
use crate::clock;
use crate::config::reload::{self, Reloaded};
use crate::config::{Config, OwnKey};
use crate::keys::dir;
use crate::snapshot::Snapshot;
use crate::systemd;
use crate::telemetry::audit::record::Event;
use std::sync::Arc;

impl App {
    /// Loads again, because `who` (`signal`, `file`, `uid:0`) wants it. Gives the keys that were edited and need a restart.
    ///
    /// # Errors
    /// What is wrong with a configuration that does not stand. It changes nothing.
    pub fn reload(&mut self, who: &str) -> Result<Vec<&'static str>, String> {
        systemd::reloading();
        let replaced = self.replace(who);
        self.shared.metrics.reloaded(replaced.is_ok(), clock::unix_seconds());
        if let Err(problem) = &replaced {
            tracing::error!(who, problem, "reload refused, the running configuration stays");
            self.record(Event::ReloadFailed, who, problem.clone(), Vec::new());
            self.readiness.reloaded(false);
            self.drop_gone_keys(who);
        }
        systemd::ready(&summary::status(&self.shared.snapshot.load()));
        replaced
    }

    /// Nothing of a reload took effect; but a key whose file is gone was taken away, and whatever else is broken must not keep it valid.
    fn drop_gone_keys(&self, who: &str) {
        let running = self.shared.snapshot.load_full();
        let config = &running.config;
        let Some(left) = dir::without_gone(&config.keys, config.service.as_ref(), &running.keys) else { return };
        let changes = keys::changes(&running.keys, &left);
        let snapshot = Snapshot { keys: Arc::new(left), ..Snapshot::clone(&running) };
        self.shared.metrics.set_services(service_ids(config, &snapshot.keys));
        tracing::warn!(
            services_with_keys = snapshot.keys.len(),
            "keys whose files are gone are no longer taken, although the reload was refused"
        );
        self.shared.snapshot.store(Arc::new(snapshot));
        for (why, facts) in changes {
            self.record(Event::Key, who, why.to_owned(), facts);
        }
    }

    fn replace(&mut self, who: &str) -> Result<Vec<&'static str>, String> {
        let running = self.shared.snapshot.load_full();
        let Reloaded { mut loaded, needs_restart } =
            reload::reload(&self.source, &running.config).map_err(|problems| {
                // A file that is new in it is watched too: mending that one must be seen.
                self.watcher.watch(problems.watched().clone());
                problems.one_line()
            })?;
        // Whatever comes of the rest: these are the files that an edit would mend.
        self.watcher.watch(loaded.watched);
        let sealed = key_follower::sealed_copy(&loaded.config).map_err(|error| error.to_string())?;
        let table = match loaded.keys {
            // What its follower found stays; a follower that is new finds its keys in a moment.
            _ if key_follower::verifies(&loaded.config) => Arc::clone(&running.keys),
            Some(table) => Arc::new(table),
            None => Arc::new(keys::load(&loaded.config).map_err(|error| error.to_string())?),
        };
        let own_in_redis = loaded.config.service.as_ref().is_some_and(|service| service.key == OwnKey::Redis);
        let signer = match keys::signer(&loaded.config) {
            _ if own_in_redis => running.signer.clone(),
            Ok(signer) => signer.map(Arc::new),
            Err(error) => {
                // What leaves goes on being signed with the key that was good.
                tracing::error!(%error, "the service's own key cannot be read, the last good one stays in use");
                running.signer.clone()
            }
        };
        if loaded.config.audit != running.config.audit {
            self.audit.reconfigure(&loaded.config.audit).map_err(|error| error.to_string())?;
        }

        loaded.tls.keep(&running.tls, &loaded.config);

        // From here on nothing can fail.
        let changed_keys = keys::changes(&running.keys, &table);
        let edited = self.edit(&loaded.config, who);
        let state = self.steering.state();
        let snapshot = Arc::new(Snapshot {
            rule_percentages: state.own_percentages(&loaded.config.rules).into(),
            config: Arc::new(loaded.config),
            keys: table,
            signer,
            tls: Arc::new(loaded.tls),
            grants: Arc::clone(&running.grants),
            enforcement: state.in_force,
            generation: running.generation + 1,
        });
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.follow(&running.config, &snapshot);
        self.follow_redis(&snapshot.config, sealed);
        self.reload_fleet(&snapshot.config);
        self.readiness.reloaded(true);

        summary::log_warnings(&loaded.warnings);
        tracing::info!(
            who,
            generation = snapshot.generation,
            mode = summary::mode(snapshot.enforcement.mode),
            percentage = snapshot.enforcement.percentage.value(),
            rules = snapshot.config.rules.rules().len(),
            services_with_keys = snapshot.keys.ids().count(),
            "reloaded"
        );
        for key in &needs_restart {
            tracing::warn!(key, "changed in the configuration and needs a restart to take effect");
        }
        let mut facts = summary::facts(&snapshot);
        if !needs_restart.is_empty() {
            facts.push(("needs_restart", needs_restart.join(" ").into()));
        }
        self.record(Event::Reload, who, "the configuration took effect".to_owned(), facts);
        if edited {
            let why = format!(
                "edited: was {} at {}",
                summary::mode(running.enforcement.mode),
                running.enforcement.percentage
            );
            self.record(Event::Mode, who, why, super::steering::moved_facts(&snapshot, running.enforcement, &state));
        }
        for (why, facts) in changed_keys {
            self.record(Event::Key, who, why.to_owned(), facts);
        }
        Ok(needs_restart)
    }

    /// Those that hold a copy of something, or run by it.
    fn follow(&mut self, before: &Config, now: &Snapshot) {
        let config = &now.config;
        if let Some(log) = &self.log {
            log.set_level(config.log.level);
        }
        let limit = config.rate_limit;
        if limit != before.rate_limit {
            self.shared.failure_limit.reconfigure(limit.failures, limit.window, limit.addresses);
        }
        self.admin_state.allowed_hosts.store(Arc::new(config.admin.allowed_hosts.clone()));
        self.shared.metrics.set_services(service_ids(config, &now.keys));
        self.shared.metrics.set_in_force(now.enforcement, now.generation);
        self.shared.metrics.set_certificates(certificates(&now.tls));
        self.know_certificates();
        for check in &mut self.checks {
            let health = config.health(check.side);
            if health != check.how.as_ref() {
                *check = HealthCheck::start(
                    check.side,
                    Arc::clone(&check.upstream),
                    health.cloned(),
                    &self.shared.snapshot,
                );
            }
        }
    }
}
