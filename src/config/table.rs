//! How is one table of the TOML read? [`Table`] hands out its values by key, each checked, and remembers which keys were
//! asked for: what was written and never asked for is an unknown key. So there is one list of keys, the reading code
//! itself, and no second one to forget.
//!
//! Why not serde: it stops at the first mistake. Here every mistake is noted in [`Problems`] and reading goes on with
//! the value absent.

use super::diagnostic::{Diagnostic, Place, SourceFile};
use super::problems::{Problems, Setting, quoted, wrong};
use super::values::{Expected, Reading, nearest};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What every table of one file shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'w> {
    pub(super) file: &'w Arc<SourceFile>,
    pub(super) problems: &'w Problems,
    /// `HOME`, for `~/`.
    pub(super) home: Option<&'w str>,
}

/// One table while it is being read. [`Table::finish`] reports what nobody asked for.
pub(super) struct Table<'w> {
    reader: Reader<'w>,
    /// `enforcement.rate_limit`; empty for the whole file.
    name: String,
    entries: Option<&'w DeTable<'w>>,
    place: Place,
    known: Vec<&'static str>,
}

impl<'w> Reader<'w> {
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::File(Arc::clone(self.file), span)
    }

    pub(super) fn document(self, document: &'w Spanned<DeTable<'w>>) -> Table<'w> {
        let entries = Some(document.get_ref());
        Table { reader: self, name: String::new(), entries, place: self.place(0..0), known: Vec::new() }
    }

    /// What a value is, for a message: as it stands in the file, without what looks like a secret, never more than a line.
    pub(super) fn found(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => quoted(self.file.shown(value.span())),
        }
    }

    /// Reports a value that is not what it should be.
    fn refuse(&self, what: &str, value: &Spanned<DeValue<'_>>, expected: Expected) {
        self.problems.add(wrong(&self.place(value.span()), what, &self.found(value), expected));
    }

    /// A path as written: `~/` is the home directory, and what is relative is relative to the file.
    pub(super) fn path(&self, text: &str) -> Reading<PathBuf> {
        let expected = || Expected::new("the path of a file or directory");
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(expected());
        }
        if let Some(rest) = text.strip_prefix('~') {
            let Some(rest) = rest.strip_prefix('/') else {
                return Err(expected().fix("only `~/` is understood, not another user's home"));
            };
            let Some(home) = self.home.filter(|home| home.starts_with('/')) else {
                return Err(expected().fix("HOME is not set here; write the whole path"));
            };
            return Ok(PathBuf::from(home).join(rest));
        }
        let base = self.file.path.parent().unwrap_or(Path::new(""));
        Ok(without_dots(&base.join(text)))
    }
}

impl<'w> Table<'w> {
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    pub(super) fn problems(&self) -> &'w Problems {
        self.reader.problems
    }

    pub(super) fn reader(&self) -> Reader<'w> {
        self.reader
    }

    /// `table.key`, as it is called in messages.
    pub(super) fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of a key, read by `read`; what it expected is reported with what was found.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Reading<T>,
    ) -> Option<Setting<T>> {
        let value = self.ask(key)?;
        let place = self.reader.place(value.span());
        match read(value.get_ref()) {
            Ok(value) => Some(Setting { value, place }),
            Err(expected) => {
                self.reader.refuse(&self.full(key), value, expected);
                None
            }
        }
    }

    /// A list, each element read by `read`; `None` where the key is absent or no list.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        each: &str,
        read: impl Fn(&DeValue<'_>) -> Reading<T>,
    ) -> Option<Setting<Vec<Setting<T>>>> {
        let value = self.ask(key)?;
        let place = self.reader.place(value.span());
        let full = self.full(key);
        let Some(array) = value.get_ref().as_array() else {
            let mut expected = Expected::new(format!("a list of {each}"));
            if value.get_ref().is_str() {
                expected = expected.fix("put it in brackets: [\"…\"]");
            }
            self.reader.refuse(&full, value, expected);
            return None;
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array.iter() {
            let place = self.reader.place(item.span());
            match read(item.get_ref()) {
                Ok(value) => items.push(Setting { value, place }),
                Err(expected) => {
                    self.reader.refuse(&format!("an entry of `{full}`"), item, expected);
                }
            }
        }
        Some(Setting { value: items, place })
    }

    /// One value or a list of them, each read by `read`.
    pub(super) fn one_or_list<T>(
        &mut self,
        key: &'static str,
        each: &str,
        read: impl Fn(&DeValue<'_>) -> Reading<T>,
    ) -> Option<Setting<Vec<Setting<T>>>> {
        if self.ask(key)?.get_ref().is_array() {
            return self.list(key, each, read);
        }
        let one = self.value(key, read)?;
        Some(Setting { place: one.place.clone(), value: vec![one] })
    }

    /// The list, unless it is there and says nothing: that is reported.
    pub(super) fn filled<T>(
        &self,
        key: &'static str,
        list: Option<Setting<Vec<Setting<T>>>>,
        fix: &str,
    ) -> Option<Setting<Vec<Setting<T>>>> {
        let list = list?;
        let value = self.entries.and_then(|entries| entries.get(key));
        if value.and_then(|value| value.get_ref().as_array()).is_some_and(|array| array.is_empty()) {
            let message = format!("`{}` is an empty list", self.full(key));
            self.problems().add(Diagnostic::error(&list.place, message).expected("at least one entry").fix(fix));
        }
        // Where only wrong entries stand there, that was told.
        (!list.value.is_empty()).then_some(list)
    }

    /// A table below this one; absent, it reads as empty.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'w> {
        let name = self.full(key);
        let reader = self.reader;
        let absent = |place| Table { reader, name: name.clone(), entries: None, place, known: Vec::new() };
        let Some(value) = self.ask(key) else { return absent(self.place.clone()) };
        let place = self.reader.place(value.span());
        match value.get_ref().as_table() {
            Some(entries) => Table { entries: Some(entries), ..absent(place) },
            None => {
                let what = match value.get_ref().as_array() {
                    Some(_) if is_header(self.reader.file, &value.span()) => {
                        format!("one table: [{name}], not [[{name}]]")
                    }
                    _ => format!("a table: [{name}]"),
                };
                self.reader.refuse(&name, value, Expected::new(what));
                absent(place)
            }
        }
    }

    /// The tables `[[key]]`; `or_one` takes a single `[key]` as well.
    pub(super) fn tables(&mut self, key: &'static str, or_one: bool) -> Vec<Table<'w>> {
        let name = self.full(key);
        let Some(value) = self.ask(key) else { return Vec::new() };
        let reader = self.reader;
        let make =
            |entries, place| Table { reader, name: name.clone(), entries: Some(entries), place, known: Vec::new() };
        let expected = || Expected::new(format!("tables: [[{name}]]"));
        let place = reader.place(value.span());
        match value.get_ref() {
            DeValue::Table(entries) if or_one => vec![make(entries, place)],
            DeValue::Array(array) => {
                let mut tables = Vec::with_capacity(array.len());
                for item in array.iter() {
                    let place = reader.place(item.span());
                    match item.get_ref().as_table() {
                        Some(entries) => tables.push(make(entries, place)),
                        None => reader.refuse(&name, item, expected()),
                    }
                }
                tables
            }
            other => {
                let mut expected = expected();
                if other.is_table() {
                    expected = expected.fix(format!("write [[{name}]] with two brackets: there may be many"));
                }
                reader.refuse(&name, value, expected);
                Vec::new()
            }
        }
    }

    /// The entries of a table whose keys are names that the operator chose, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(Setting<String>, &'w Spanned<DeValue<'w>>)> {
        let mut entries: Vec<_> = self.entries.into_iter().flat_map(|entries| entries.iter()).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let place = |span| self.reader.place(span);
        entries
            .into_iter()
            .map(|(key, value)| (Setting { value: key.get_ref().to_string(), place: place(key.span()) }, value))
            .collect()
    }

    /// The same where every entry is a table.
    pub(super) fn named_tables(&self) -> Vec<(Setting<String>, Table<'w>)> {
        let mut tables = Vec::new();
        for (key, value) in self.entries() {
            let Some(entries) = value.get_ref().as_table() else {
                self.wrong_entry(&key.value, value, Expected::new(format!("a table: [{}]", self.full(&key.value))));
                continue;
            };
            let name = self.full(&key.value);
            let place = self.reader.place(value.span());
            tables.push((key, Table { reader: self.reader, name, entries: Some(entries), place, known: Vec::new() }));
        }
        tables
    }

    /// Reports a wrong value under a key that the operator chose.
    pub(super) fn wrong_entry(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: Expected) {
        self.reader.refuse(&self.full(key), value, expected);
    }

    /// Reports a wrong key that the operator chose.
    pub(super) fn wrong_key(&self, key: &Setting<String>, expected: Expected) {
        let what = format!("a key of [{}]", self.name);
        self.reader.problems.add(wrong(&key.place, &what, &quoted(&key.value), expected));
    }

    /// Reports the absence of something that must be said, unless it was only mistyped: that is reported as such.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        if self.is_written(key) {
            return;
        }
        let message = format!("`{}` is missing", self.full(key));
        self.reader.problems.add(Diagnostic::error(&self.place, message).expected(expected).absence());
    }

    /// Is the key there, perhaps mistyped or with a wrong value?
    pub(super) fn is_written(&self, key: &str) -> bool {
        let Some(entries) = self.entries else { return false };
        entries.contains_key(key) || entries.keys().any(|name| nearest(name.get_ref(), [key]).is_some())
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(entries) = self.entries else { return };
        for (key, value) in entries {
            if self.known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let kind = if value.get_ref().is_table() && is_header(self.reader.file, &value.span()) {
                "table"
            } else {
                "key"
            };
            let message = format!("unknown {kind} {}", quoted(&self.full(key.get_ref())));
            let mut problem = Diagnostic::error(&self.reader.place(key.span()), message);
            match nearest(key.get_ref(), self.known.iter().copied()) {
                Some(near) => problem = problem.fix(format!("did you mean `{near}`?")),
                None => {
                    let known: Vec<String> = self.known.iter().map(|known| format!("`{known}`")).collect();
                    problem = problem.expected(format!("one of {}", known.join(", ")));
                }
            }
            self.reader.problems.add(problem);
        }
    }

    /// The same for an included file, which may hold only rules and services.
    pub(super) fn finish_included(self) {
        let Some(entries) = self.entries else { return };
        for (key, _) in entries {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let message = format!("{} does not belong into an included file", quoted(key.get_ref()));
                self.reader.problems.add(
                    Diagnostic::error(&self.reader.place(key.span()), message)
                        .expected("only [[rule]] and [services.ID]")
                        .fix("move it to the main file, before the first table"),
                );
            }
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'w Spanned<DeValue<'w>>> {
        self.reader.problems.note_asked(|| self.full(key));
        // A key may be asked about twice: what kind of value, then which.
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.and_then(|entries| entries.get(key))
    }
}

/// `/etc/x/../keys` as `/etc/keys`, for messages; not through a symlink, where it would be another place.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(plain.components().next_back(), Some(Component::Normal(_))) && !plain.is_symlink() =>
            {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Does the value come from a `[header]`, not from a value behind `=`?
fn is_header(file: &SourceFile, span: &Range<usize>) -> bool {
    let before = file.text.get(..span.start).unwrap_or_default();
    before.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
}
