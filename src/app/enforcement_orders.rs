//! What does an operator's word do to enforcement? Each order becomes one move ([`App::change`]); the answer waits for the disk, and the
//! control loop does not.

use super::start::App;
use super::steering::{Report, moved_facts, moving};
use crate::admin::orders::{Done, Order, OrderRefused, Reloaded, Wish};
use crate::policy::enforcement::{Mode, Percentage};
use crate::rollout::state::{Hold, Move};
use crate::state::writer::Marker;
use crate::telemetry::audit::record::{Event, Fact};
use std::sync::Arc;

impl App {
    /// Carries out what somebody with the right to asked for, and answers when it is durable.
    pub(super) fn obey(&mut self, order: Order) {
        let Order { by, wish, answer } = order;
        let before = self.steering.state().in_force;
        let moved = match wish {
            Wish::Enforce { mode, percentage, rule, lift, why } => {
                self.enforce(mode, percentage, rule.as_deref(), lift, &moving(&by, &why))
            }
            Wish::RollBack { kind, rule: None, why } => Ok(self.roll_back(kind, &by, &why)),
            Wish::RollBack { rule: Some(name), why, .. } => {
                let config = Arc::clone(&self.shared.snapshot.load().config);
                let next = self.steering.state().roll_back_rule(&name, &config.rules, moving(&by, &why));
                next.map(|next| self.change(next, Event::Rollback, Marker::Keep)).map_err(OrderRefused::Move)
            }
            Wish::Drill { why } => Ok(self.drill(&by, &why)),
            Wish::Lift { why } => {
                let next = self.steering.state().lift(moving(&by, &why));
                next.map(|next| self.change(next, Event::Rollback, Marker::Remove)).map_err(OrderRefused::Move)
            }
            Wish::Grants(wish) => return self.obey_grants(&by, wish, answer),
            Wish::Ramp(wish) => return self.obey_ramp(&by, wish, answer),
            Wish::Reload => {
                let reloaded = self.reload(&by).map_err(OrderRefused::Reload);
                let generation = self.shared.snapshot.load().generation;
                let answered = reloaded.map(|needs_restart| Done::Reloaded(Reloaded { generation, needs_restart }));
                // Who asked may have gone.
                let _ = answer.send(answered);
                return;
            }
        };
        // What this one made of it: another may follow before the disk has taken it.
        let state = self.steering.state();
        tokio::spawn(async move {
            let answered = match moved {
                Ok(report) => {
                    let durable = report.await.unwrap_or_else(|_| Err("the sidecar is stopping".to_owned()));
                    Ok(Done::Moved { state, before, durable })
                }
                Err(refused) => Err(refused),
            };
            let _ = answer.send(answered);
        });
    }

    /// Everything a rollback does, but for the rollback.
    fn drill(&self, by: &str, why: &str) -> Report {
        let state = self.steering.state();
        let mut facts = moved_facts(&self.shared.snapshot.load(), state.in_force, &state);
        facts.push(("kind", "drill".into()));
        tracing::info!(by, why, "a rollback was drilled: nothing changed");
        self.record(Event::Rollback, by, why.to_owned(), facts);
        self.steering.write(&state, Marker::Keep)
    }

    fn enforce(
        &mut self,
        mode: Option<Mode>,
        percentage: Option<Percentage>,
        rule: Option<&str>,
        lift: bool,
        by: &Move,
    ) -> Result<Report, OrderRefused> {
        let state = self.steering.state();
        let lifts = lift && state.is_held();
        let (hold, state) = (
            state.hold.clone(),
            if lifts { state.lift(by.clone()).map_err(OrderRefused::Move)? } else { (*state).clone() },
        );
        let next = match (rule, percentage) {
            (Some(name), Some(percentage)) => {
                let config = Arc::clone(&self.shared.snapshot.load().config);
                state.set_rule(name, percentage, &config.rules, by.clone())
            }
            (Some(_), None) => return Err(OrderRefused::RuleWithoutPercentage),
            (None, _) => state.set(mode, percentage, by.clone()),
        };
        let marker = if lifts { Marker::Remove } else { Marker::Keep };
        let next = next.map_err(OrderRefused::Move)?;
        if lifts {
            self.record_lift(by, hold.as_ref());
        }
        Ok(self.change(next, Event::Mode, marker))
    }

    /// A lift that is part of another move is a change of its own.
    pub(super) fn record_lift(&self, by: &Move, hold: Option<&Hold>) {
        let mut facts = vec![("kind", Fact::from("lift"))];
        if let Some(hold) = hold {
            facts.push(("lifted_kind", hold.kind.code().into()));
            facts.push(("lifted_by", hold.by.by.to_string().into()));
            facts.push(("lifted_why", hold.by.why.to_string().into()));
        }
        self.record(Event::Rollback, &by.by, by.why.to_string(), facts);
    }
}
