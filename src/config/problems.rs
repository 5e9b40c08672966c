//! What has a load found so far? [`Problems`] collects, [`Setting`] remembers where a value was written, and the sentences
//! that several readers use stand here once.

use super::diagnostic::{Diagnostic, Place, Severity};
use super::mask;
use super::values::Expected;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Setting<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: change(self.value), place: self.place }
    }
}

/// What a load has found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Diagnostic>>,
    /// Could a part of the configuration not be read? Then nobody can say what is missing.
    partial: Cell<bool>,
    /// Every key that was asked for, as `table.key`: the list of known keys, for the test of the reference file.
    asked: RefCell<BTreeSet<String>>,
}

impl Problems {
    pub(super) fn add(&self, problem: Diagnostic) {
        self.list.borrow_mut().push(problem);
    }

    /// A part of the configuration could not be read: nothing is called missing any more.
    pub(super) fn lose_a_part(&self) {
        self.partial.set(true);
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
        let refused = list.iter().any(is_error);
        // Once something is wrong, what may be missing besides is a guess.
        list.retain(|problem| !problem.is_absence || !(self.partial.get() || refused && !is_error(problem)));
        list
    }

    /// How many so far.
    pub(super) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// Drops what was noted after `from` and `is_noise`.
    pub(super) fn drop_since(&self, from: usize, is_noise: impl Fn(&Diagnostic) -> bool) {
        let mut list = self.list.borrow_mut();
        let from = from.min(list.len());
        let mut kept = list.split_off(from);
        kept.retain(|problem| !is_noise(problem));
        list.append(&mut kept);
    }

    /// A key was asked for. Only a test wants to know.
    pub(super) fn note_asked(&self, key: impl FnOnce() -> String) {
        if cfg!(test) {
            self.asked.borrow_mut().insert(key());
        }
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// "`key` is FOUND", with what was expected.
pub(super) fn wrong(place: &Place, what: &str, found: &str, expected: Expected) -> Diagnostic {
    let mut message = if what.contains(' ') { format!("{what} is {found}") } else { format!("`{what}` is {found}") };
    if let Some(why) = expected.why {
        message.push_str(": ");
        message.push_str(&why);
    }
    let problem = Diagnostic::error(place, message).expected(expected.what);
    match expected.fix {
        Some(fix) => problem.fix(fix),
        None => problem,
    }
}

/// A text in back-ticks, shortened, without control characters and what looks like a secret.
pub(super) fn quoted(text: &str) -> String {
    let masked = mask::masked(text);
    let mut shown = String::new();
    for c in masked.chars().take(80) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if masked.chars().count() > 80 {
        shown.push('…');
    }
    format!("`{shown}`")
}
