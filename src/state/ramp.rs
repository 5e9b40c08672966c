//! [`RampFiles`]: what a rollout remembers between starts, beside the state of enforcement: how far the ramp is, and what was usual.
//!
//! | file | what it says | when it cannot be read |
//! |---|---|---|
//! | `ramp.json` | the ramp that runs, how the last one ended, and until when judgement is suspended | there is no ramp: what is in force stays in force |
//! | `baseline.json` | what was usual in log mode | there is none, and a ramp wants one |
//!
//! Neither can switch anything on or off: what is in force stands in `enforcement.json` alone. They are written on a thread of their own, each
//! whole or not at all, so that a disk that hangs delays no judgement; a text that is overtaken by the next is left out.

use super::file::replace;
use crate::rollout::baseline::Baseline;
use crate::rollout::evidence::Evidence;
use crate::rollout::ramp::Progress;
use crate::rollout::stage::{Stage, Target};
use crate::rules::percentage::Percentage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The ramp's file, in the state directory.
pub const RAMP_FILE: &str = "ramp.json";
/// The baseline's file, in the state directory.
pub const BASELINE_FILE: &str = "baseline.json";
/// Far more than either has.
const LARGEST: u64 = 16 << 20;
const VERSION: u64 = 1;

/// `ramp.json`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The ramp that runs, and the stages it was started with.
    pub running: Option<(Progress, Vec<Stage>)>,
    /// How the last one ended.
    pub ended: Option<Ended>,
    /// Is judgement suspended?
    pub maintenance: Option<Maintenance>,
}

/// Until when judgement is suspended. By the wall clock, since no other survives a restart; so that a clock that steps makes it no
/// longer than it had left, that is written, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Unix seconds.
    pub until: u64,
    /// How many seconds it had left when this was written.
    pub left: u64,
}

impl Maintenance {
    /// Ends so much later than now.
    pub fn lasting(left: Duration, unix_seconds: u64) -> Maintenance {
        Maintenance { until: unix_seconds.saturating_add(left.as_secs()), left: left.as_secs() }
    }

    /// How long it still lasts; `None`: it is over.
    pub fn left(self, unix_seconds: u64) -> Option<Duration> {
        let left = self.until.saturating_sub(unix_seconds).min(self.left);
        (left > 0).then(|| Duration::from_secs(left))
    }
}

/// How a ramp ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// `finished`, `rolled_back`, `aborted`, `overtaken`.
    pub how: String,
    /// Unix seconds.
    pub at: u64,
    /// Who.
    pub by: String,
    /// For people.
    pub why: String,
    /// Of a rollback by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<Evidence>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    stages: Vec<StoredStage>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ended: Option<Ended>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    maintenance: Option<Maintenance>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredStage {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    percentage: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    lasts_ms: Option<u64>,
}

/// The text of `ramp.json`.
pub fn to_text(kept: &Kept) -> String {
    let stage = |stage: &Stage| {
        let (percentage, group) = match &stage.target {
            Target::Percentage(percentage) => (Some(percentage.value()), None),
            Target::Group(name) => (None, Some(name.to_string())),
        };
        let lasts_ms = stage.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        StoredStage { percentage, group, lasts_ms }
    };
    let stages = kept.running.as_ref().map_or(&[][..], |(_, stages)| stages);
    let stored = Stored {
        version: VERSION,
        progress: kept.running.as_ref().map(|(progress, _)| progress.clone()),
        stages: stages.iter().map(stage).collect(),
        ended: kept.ended.clone(),
        maintenance: kept.maintenance,
    };
    // Numbers and text: nothing that JSON cannot hold.
    format!("{}\n", serde_json::to_string_pretty(&stored).unwrap_or_default())
}

/// What `ramp.json` says.
///
/// # Errors
/// When this version does not understand it whole.
pub fn parse(text: &str) -> Result<Kept, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("version {}", stored.version));
    }
    let stage = |stage: StoredStage| {
        let target = match (stage.percentage.map(Percentage::new), stage.group) {
            (Some(Some(percentage)), None) => Target::Percentage(percentage),
            (None, Some(name)) => Target::Group(name.into()),
            _ => return Err("a stage is neither a percentage nor a group".to_owned()),
        };
        Ok(Stage { target, lasts: stage.lasts_ms.map(Duration::from_millis) })
    };
    let stages = stored.stages.into_iter().map(stage).collect::<Result<Vec<Stage>, String>>()?;
    let running = match stored.progress {
        Some(progress) if progress.stage < stages.len() => Some((progress, stages)),
        Some(_) => return Err("the ramp is in a stage that is not there".to_owned()),
        None => None,
    };
    Ok(Kept { running, ended: stored.ended, maintenance: stored.maintenance })
}

/// Both files, and the thread that writes them. Dropping it lets it finish what it has.
#[derive(Debug)]
pub struct RampFiles {
    directory: PathBuf,
    writes: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    name: &'static str,
    text: String,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

impl RampFiles {
    /// In this directory.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(directory: &Path) -> io::Result<RampFiles> {
        let (writes, received) = mpsc::channel::<Job>();
        let place = directory.to_owned();
        let thread =
            std::thread::Builder::new().name("ramp files".to_owned()).spawn(move || write_all(&place, &received))?;
        Ok(RampFiles { directory: directory.to_owned(), writes: Some(writes), thread: Some(thread) })
    }

    /// The ramp that was running; and what is wrong, where that cannot be known.
    pub fn ramp(&self) -> (Kept, Option<String>) {
        self.read(RAMP_FILE, parse)
    }

    /// What was usual; and what is wrong, where that cannot be known.
    pub fn baseline(&self) -> (Baseline, Option<String>) {
        self.read(BASELINE_FILE, |text| serde_json::from_str(text).map_err(|error| error.to_string()))
    }

    /// Writes how far the ramp is; resolves when that is durable.
    pub fn write_ramp(&self, kept: &Kept) -> oneshot::Receiver<Result<(), String>> {
        let (done, durable) = oneshot::channel();
        self.write(Job { name: RAMP_FILE, text: to_text(kept), done: Some(done) });
        durable
    }

    /// Writes what is usual.
    pub fn write_baseline(&self, baseline: &Baseline) {
        let text = serde_json::to_string(baseline).unwrap_or_default();
        self.write(Job { name: BASELINE_FILE, text: format!("{text}\n"), done: None });
    }

    fn write(&self, job: Job) {
        if let Some(writes) = &self.writes {
            // Where the thread is gone, `done` is dropped with the job.
            let _ = writes.send(job);
        }
    }

    fn read<T: Default>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> (T, Option<String>) {
        let path = self.directory.join(name);
        let mut text = String::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        let problem = match read {
            Ok(_) => match parse(&text) {
                Ok(value) => return (value, None),
                Err(why) => format!("{} cannot be understood: {why}", path.display()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (T::default(), None),
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        };
        (T::default(), Some(problem))
    }
}

impl Drop for RampFiles {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            // It ends with its channel; a panic in it has been told of.
            let _ = thread.join();
        }
    }
}

fn write_all(directory: &Path, received: &mpsc::Receiver<Job>) {
    while let Ok(job) = received.recv() {
        let mut waiting = vec![job];
        waiting.extend(received.try_iter());
        let mut last: BTreeMap<&str, String> = BTreeMap::new();
        let mut asked = Vec::new();
        for Job { name, text, done } in waiting {
            last.insert(name, text);
            asked.extend(done.map(|done| (name, done)));
        }
        let results: BTreeMap<&str, Result<(), String>> = last
            .iter()
            .map(|(name, text)| {
                let written = replace(directory, name, text)
                    .map_err(|error| format!("cannot write {}: {error}", directory.join(name).display()));
                if let Err(problem) = &written {
                    tracing::error!(problem, "what the rollout remembers would not survive this process");
                }
                (*name, written)
            })
            .collect();
        for (name, done) in asked {
            // Nobody may be waiting for it.
            let _ = done.send(results.get(name).cloned().unwrap_or(Ok(())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::stage::{By, default_stages};

    fn kept() -> Kept {
        let progress = Progress {
            by: By::Percentage,
            stage: 2,
            served_ms: 1_234,
            paused: true,
            without_baseline: false,
            started: 1,
            stage_started: 2,
            who: "uid:0".into(),
        };
        let ended = Ended { how: "aborted".into(), at: 5, by: "uid:0".into(), why: "x".into(), evidence: None };
        let maintenance = Some(Maintenance { until: 9, left: 3 });
        Kept { running: Some((progress, default_stages())), ended: Some(ended), maintenance }
    }

    #[test]
    fn a_ramp_comes_back_as_it_was_written_and_half_of_it_does_not() {
        let text = to_text(&kept());
        assert_eq!(parse(&text), Ok(kept()));
        let groups = Kept {
            running: kept().running.map(|(progress, _)| {
                (Progress { stage: 0, ..progress }, vec![Stage { target: Target::Group("a b".into()), lasts: None }])
            }),
            ended: None,
            maintenance: None,
        };
        assert_eq!(parse(&to_text(&groups)), Ok(groups));
        assert_eq!(parse(&to_text(&Kept::default())), Ok(Kept::default()));
        for end in 0..text.trim_end().len() {
            assert!(parse(&text[..end]).is_err(), "{end}");
        }
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"stage\": 2", "\"stage\": 9"),
            ("\"percentage\": 10", "\"percentage\": 101"),
            ("\"who\"", "\"whom\""),
        ] {
            assert!(parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn maintenance_ends_when_it_was_to_end_and_a_clock_that_steps_makes_it_no_longer() {
        let written = Maintenance::lasting(Duration::from_secs(600), 1_000);
        let left = |now| written.left(now).map(|left| left.as_secs());
        assert_eq!([1_000, 1_100, 1_599, 1_600, 9_999].map(left), [Some(600), Some(500), Some(1), None, None]);
        assert_eq!(left(10), Some(600), "the clock went back");
        let none = parse("{\"version\": 1}").unwrap();
        assert_eq!(none.maintenance, None, "a file of before");
    }

    #[test]
    fn what_was_written_is_there_at_the_next_start_and_a_broken_file_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let files = RampFiles::start(directory.path()).unwrap();
        assert_eq!((files.ramp(), files.baseline()), ((Kept::default(), None), (Baseline::default(), None)));
        let mut baseline = Baseline::default();
        baseline.note(5, [("a", crate::rollout::health::Counts { authenticated: 3, errors: 1, failing: 0 })], 7);
        files.write_baseline(&Baseline::default());
        files.write_baseline(&baseline);
        assert_eq!(files.write_ramp(&kept()).blocking_recv().unwrap(), Ok(()));
        drop(files);
        let files = RampFiles::start(directory.path()).unwrap();
        assert_eq!((files.ramp(), files.baseline()), ((kept(), None), (baseline, None)));
        std::fs::write(directory.path().join(RAMP_FILE), "{").unwrap();
        let (found, problem) = files.ramp();
        assert_eq!(found, Kept::default());
        assert!(problem.unwrap().contains("ramp.json cannot be understood"));
    }

    #[test]
    fn a_directory_that_takes_nothing_says_so() {
        let files = RampFiles::start(Path::new("/proc/nowhere")).unwrap();
        let written = files.write_ramp(&kept()).blocking_recv().unwrap();
        assert!(written.unwrap_err().contains("cannot write /proc/nowhere/ramp.json"));
    }
}
