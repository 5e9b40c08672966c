//! What do the flags of `run` say? They come as they were typed and are checked with everything else, so that all
//! mistakes come at once. A flag beats the environment, which beats the file.
//!
//! `--listen` and `--upstream` name the one guarded backend: with a file, the one it has; two and more are told apart only
//! in the file. `--protect` and `--exempt` add rules, they never take one away.

use super::addresses;
use super::diagnostic::{Diagnostic, Place};
use super::env::lay;
use super::file::{self, FileConfig, FileInbound, FileRule, WORKERS};
use super::problems::{Problems, Setting, quoted, wrong};
use super::values::{self, Reading};
use crate::rules::classify::Access;
use std::path::PathBuf;

/// The flags of `run`, as they were typed.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--upstream URL`
    pub upstream: Option<String>,
    /// `--listen ADDR`
    pub listen: Option<String>,
    /// `--protect PATH`, any number: a rule each, `access = "service"`.
    pub protect: Vec<String>,
    /// `--exempt PATH`, any number: a rule each, `access = "exempt"`.
    pub exempt: Vec<String>,
    /// `--mode log|enforce`
    pub mode: Option<String>,
    /// `--percentage N`
    pub percentage: Option<String>,
    /// `--state-dir DIR`
    pub state_dir: Option<PathBuf>,
    /// `--keys DIR`
    pub keys_dir: Option<PathBuf>,
    /// `--audit FILE|stdout|journald`
    pub audit: Option<String>,
    /// `--admin ADDR|off`
    pub admin: Option<String>,
    /// `--workers N`
    pub workers: Option<String>,
    /// `--log-level LEVEL`
    pub log_level: Option<String>,
    /// `--log-format text|json`
    pub log_format: Option<String>,
}

/// Lays the flags over file and environment.
pub(super) fn overlay(flags: &Overrides, file: &mut FileConfig, problems: &Problems) {
    let said = Said { problems };
    inbound(flags, file, &said);
    for (paths, flag, access) in
        [(&flags.protect, "--protect", Access::Service), (&flags.exempt, "--exempt", Access::Exempt)]
    {
        for path in paths {
            if let Some(pattern) = said.read(flag, path, file::pattern) {
                let access = Setting { value: access, place: Place::Flag(flag) };
                file.rules.push(FileRule { access: Some(access), paths: vec![pattern], ..FileRule::default() });
            }
        }
    }
    lay(&mut file.enforcement.mode, said.maybe("--mode", &flags.mode, |text| values::word(text, &file::MODES)));
    lay(&mut file.enforcement.percentage, said.maybe("--percentage", &flags.percentage, values::percentage));
    lay(&mut file.state_dir, said.path("--state-dir", &flags.state_dir));
    lay(&mut file.keys.dir, said.path("--keys", &flags.keys_dir));
    lay(&mut file.audit_sink, said.maybe("--audit", &flags.audit, file::audit_flag));
    lay(&mut file.admin.listen, said.maybe("--admin", &flags.admin, file::admin_listen));
    let workers = said.maybe("--workers", &flags.workers, |text| values::count(text, &WORKERS));
    lay(&mut file.workers, workers.map(|count| count.map(|count| usize::try_from(count).unwrap_or(usize::MAX))));
    lay(&mut file.log_level, said.maybe("--log-level", &flags.log_level, |text| values::word(text, &file::LEVELS)));
    lay(
        &mut file.log_format,
        said.maybe("--log-format", &flags.log_format, |text| values::word(text, &file::FORMATS)),
    );
}

fn inbound(flags: &Overrides, file: &mut FileConfig, said: &Said<'_>) {
    let listen = said.maybe("--listen", &flags.listen, addresses::listen);
    let upstream = said.maybe("--upstream", &flags.upstream, addresses::upstream);
    let (says_listen, says_upstream) = (flags.listen.is_some(), flags.upstream.is_some());
    if !says_listen && !says_upstream {
        return;
    }
    if file.inbound.len() > 1 {
        let flag = if says_listen { "--listen" } else { "--upstream" };
        let message = format!("`{flag}` cannot say which of {} [[inbound]] it means", file.inbound.len());
        said.problems.add(
            Diagnostic::error(&Place::Flag(flag), message)
                .related(&file.inbound[0].place, "the first one")
                .fix("change it in the file"),
        );
        return;
    }
    if file.inbound.is_empty() {
        let place = Place::Flag(if says_upstream { "--upstream" } else { "--listen" });
        file.inbound.push(FileInbound::at(place));
    }
    for inbound in &mut file.inbound {
        inbound.says_listen |= says_listen;
        inbound.upstreams.is_said |= says_upstream;
    }
    if let Some(inbound) = file.inbound.first_mut() {
        lay(&mut inbound.listen, listen);
        let one = |upstream: Setting<_>| Setting { place: upstream.place.clone(), value: vec![upstream] };
        lay(&mut inbound.upstreams.list, upstream.map(one));
    }
}

struct Said<'p> {
    problems: &'p Problems,
}

impl Said<'_> {
    fn read<T>(&self, flag: &'static str, text: &str, read: impl FnOnce(&str) -> Reading<T>) -> Option<Setting<T>> {
        let place = Place::Flag(flag);
        match read(text) {
            Ok(value) => Some(Setting { value, place }),
            Err(expected) => {
                self.problems.add(wrong(&place, flag, &quoted(text), expected));
                None
            }
        }
    }

    fn maybe<T>(
        &self,
        flag: &'static str,
        text: &Option<String>,
        read: impl FnOnce(&str) -> Reading<T>,
    ) -> Option<Setting<T>> {
        self.read(flag, text.as_deref()?, read)
    }

    fn path(&self, flag: &'static str, path: &Option<PathBuf>) -> Option<Setting<PathBuf>> {
        let path = path.clone()?;
        if path.as_os_str().is_empty() {
            let message = format!("`{flag}` is empty");
            self.problems.add(Diagnostic::error(&Place::Flag(flag), message).expected("the path of a directory"));
            return None;
        }
        Some(Setting { value: path, place: Place::Flag(flag) })
    }
}
