//! While it runs: signals, changed files, the watchdog, and the end.
//!
//! | signal | meaning |
//! |---|---|
//! | HUP | reload, as a changed file does |
//! | USR1 | open the audit file anew, nothing else |
//! | USR2 | emergency rollback: `log` at once, held |
//! | TERM, INT | drain and stop; a second one stops at once |

use super::fleet::Fleet;
use super::grants::GrantTask;
use super::key_follower::KeyFollower;
use super::key_usage::KeyUsageTask;
use super::ramping::WATCH;
use super::start::{AdminServer, App};
use super::{RunError, summary};
use crate::clock;
use crate::systemd;
use crate::telemetry::audit::record::Event;
use crate::tls::expiry::Remark;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

/// How often the parts are looked at. The accept loop turns at least once a second.
const LOOK: Duration = Duration::from_secs(2);

/// So many looks in a row at an accept loop that stands still: then it is dead, and so should the process be.
const STANDSTILL: u32 = 5;

/// How long the audit log may take to write out what it has.
const AUDIT_CLOSE: Duration = Duration::from_secs(5);

/// The signals we answer to.
pub struct Signals {
    hangup: Signal,
    reopen: Signal,
    rollback: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals are ours.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            rollback: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next order of any kind.
    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop("TERM"),
            _ = self.interrupt.recv() => Order::Stop("INT"),
            _ = self.hangup.recv() => Order::Reload,
            _ = self.reopen.recv() => Order::Reopen,
            _ = self.rollback.recv() => Order::Rollback,
        }
    }

    /// The next order to stop; the others no longer count.
    pub async fn next_stop(&mut self) {
        while !matches!(self.next().await, Order::Stop(_)) {}
    }
}

/// What a signal means.
enum Order {
    Stop(&'static str),
    Reload,
    Reopen,
    Rollback,
}

impl App {
    /// Serves until it is told to stop, then drains.
    ///
    /// # Errors
    /// When a part ends that must not, or a second signal cuts the end short.
    pub async fn serve(mut self, mut signals: Signals) -> Result<(), RunError> {
        systemd::ready(&summary::status(&self.shared.snapshot.load()));
        let (mut look, mut watchdog, mut standstill) = (every(LOOK), Watchdog::new(), 0);
        let mut watch = every(WATCH);
        let signal = loop {
            tokio::select! {
                order = signals.next() => match order {
                    Order::Stop(signal) => break signal,
                    // What came of it is in the log.
                    Order::Reload => drop(self.reload("signal")),
                    Order::Reopen => {
                        match self.audit.reopen() {
                            Ok(()) => {
                                tracing::info!("audit file opened anew");
                                self.record(Event::Audit, "signal", "opened anew".to_owned(), Vec::new());
                            }
                            Err(error) => tracing::error!(%error, "audit file cannot be opened anew, the old one stays"),
                        }
                    }
                    Order::Rollback => {
                        self.roll_back_by_signal();
                    }
                },
                Some(changed) = self.changes.recv() => {
                    for path in &changed.paths {
                        tracing::debug!(path = %path.display(), "changed");
                    }
                    drop(self.reload("file"));
                }
                Some(order) = self.orders.recv() => self.obey(order),
                found = KeyFollower::found(&mut self.key_follower) => self.take_up(found),
                _ = watch.tick() => self.watch_rollout(),
                found = Fleet::found(&mut self.fleet) => self.take_up_fleet(found),
                words = GrantTask::heard(&mut self.grant_task) => self.hear_of_grants(words),
                _ = look.tick() => {
                    self.look(&mut standstill)?;
                    self.look_for_marker();
                    self.write_again();
                    self.look_at_certificates();
                    self.sweep_grants();
                }
                // A hang of this loop stops the kicks by itself, one of the accept loop is seen by the looks.
                () = watchdog.due() => if standstill == 0 { systemd::kick_watchdog() },
            }
        };
        tracing::info!(signal, "stopping");
        let drain = self.shared.snapshot.load().config.timeouts.drain;
        tokio::select! {
            () = self.stop(signal, drain) => Ok(()),
            () = signals.next_stop() => Err(RunError::Cut),
        }
    }

    /// Lets requests in flight finish for at most `drain`, then ends everything.
    pub async fn stop(mut self, who: &'static str, drain: Duration) {
        self.keep_baseline();
        self.readiness.draining();
        systemd::stopping(drain + AUDIT_CLOSE + LOOK);
        let mut watchdog = Watchdog::new();
        let drained = {
            let drained = self.proxy.drain(drain);
            tokio::pin!(drained);
            loop {
                tokio::select! {
                    drained = &mut drained => break drained,
                    // What the watchdog wants to know is whether the process hangs, and it does not.
                    () = watchdog.due() => systemd::kick_watchdog(),
                }
            }
        };
        if drained.cut > 0 {
            tracing::warn!(connections = drained.cut, "the drain deadline came, connections were cut");
        }
        self.record(Event::Stop, who, "stopped".to_owned(), vec![("cut", (drained.cut as u64).into())]);
        for AdminServer { task, stop } in self.admin.take().into_iter().chain(self.control.take()) {
            // The task may be gone already, and how it ended no longer matters.
            let _ = stop.send(());
            let _ = tokio::time::timeout(LOOK, task).await;
        }
        for file in &self.socket_files {
            file.remove();
        }
        if let Some(key_usage) = self.key_usage.take() {
            key_usage.stop().await;
        }
        if let Some(grants) = self.grant_task.take() {
            grants.stop().await;
        }
        if let Some(fleet) = self.fleet.take() {
            fleet.stop().await;
        }
        if let Some(follower) = self.key_follower.take() {
            follower.stop().await;
        }
        let lost = self.audit.close(AUDIT_CLOSE);
        if lost > 0 {
            tracing::error!(records = lost, "audit records were lost: the sink did not take them in time");
        }
        tracing::info!("stopped");
    }

    /// Says which of our own certificates ends soon, once at each step.
    pub(super) fn look_at_certificates(&mut self) {
        for remark in self.certificates.look(self.shared.snapshot.load().tls.own(), clock::unix_seconds()) {
            match remark {
                Remark::EndsSoon { .. } => tracing::warn!(file = %remark.path().display(), "{remark}: renew it"),
                Remark::Ended { .. } | Remark::NotYet { .. } => {
                    tracing::error!(file = %remark.path().display(), "{remark}");
                }
            }
        }
    }

    /// What was just loaded was told of with the warnings of the configuration.
    pub(super) fn know_certificates(&mut self) {
        let _ = self.certificates.look(self.shared.snapshot.load().tls.own(), clock::unix_seconds());
    }

    /// Are all parts alive? `standstill` counts looks in a row at an accept loop that did not turn.
    fn look(&self, standstill: &mut u32) -> Result<(), RunError> {
        if self.admin.as_ref().is_some_and(|admin| admin.task.is_finished()) {
            return Err(RunError::Critical("the admin listener"));
        }
        if self.control.as_ref().is_some_and(|control| control.task.is_finished()) {
            return Err(RunError::Critical("the control API"));
        }
        if !self.audit.is_running() {
            return Err(RunError::Critical("the audit writer"));
        }
        if self.key_follower.as_ref().is_some_and(KeyFollower::is_finished) {
            return Err(RunError::Critical("the task that follows redis"));
        }
        if self.fleet.as_ref().is_some_and(Fleet::is_finished) {
            return Err(RunError::Critical("the task that follows the fleet"));
        }
        if self.key_usage.as_ref().is_some_and(KeyUsageTask::is_finished) {
            return Err(RunError::Critical("the task that tells of used keys"));
        }
        if self.grant_task.as_ref().is_some_and(GrantTask::is_finished) {
            return Err(RunError::Critical("the task that keeps override grants"));
        }
        if self.checks.iter().any(|check| check.task.is_finished()) {
            return Err(RunError::Critical("an upstream's health check"));
        }
        if !self.proxy.workers_run() {
            return Err(RunError::Critical("a worker"));
        }
        if self.proxy.accepting() {
            *standstill = 0;
            return Ok(());
        }
        *standstill += 1;
        tracing::error!(times = *standstill, "the accept loop stands still");
        if *standstill < STANDSTILL { Ok(()) } else { Err(RunError::Critical("the accept loop")) }
    }
}

/// When the watchdog wants a kick; never without one.
struct Watchdog(Option<Interval>);

impl Watchdog {
    fn new() -> Watchdog {
        // Twice in each interval, as sd_watchdog_enabled(3) advises.
        Watchdog(systemd::watchdog().map(|interval| every((interval / 2).max(Duration::from_millis(10)))))
    }

    async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Not at once: the parts have only just been made.
    interval.reset();
    interval
}
