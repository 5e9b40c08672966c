//! [`Writer`]: the thread that serialises and writes.
//!
//! 1. While records come, it looks every [`POLL`]: one swap per worker, one sort, one write for all of them. A worker
//!    asks it to come early only when its buffer grows large.
//! 2. After [`QUIET_ROUNDS`] looks in vain it parks until a record wakes it, so an idle process does not tick.
//! 3. Within a batch records stand in the order of their time, whatever worker they came from.
//! 4. A write that fails is made again every [`RETRY`], for as long as it takes; the queue fills meanwhile, and what
//!    then happens to requests is `audit.on_full`. Only the end gives up, at its deadline, and counts what is lost.
//!
//! What `kill -9` can take is what was filled since the last look: at most one batch.

use super::batch::{Batch, Filled};
use super::queue::QueueDrain;
use super::record::Event;
use super::record::LineWriter;
use super::sink::{Line, Sink};
use crate::clock;
use crate::config::{Audit, AuditSink};
use crate::policy::decision::Outcome;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the handle asks of the thread.
pub(super) enum Command {
    /// Open the file anew.
    Reopen(mpsc::Sender<io::Result<()>>),
    /// Take other settings.
    Reconfigure(Box<Audit>, mpsc::Sender<io::Result<()>>),
    /// Write what there is until then, and end.
    Close(Instant, mpsc::Sender<()>),
}

/// The state of the thread.
pub(super) struct Writer {
    queue: QueueDrain,
    sink: Sink,
    config: Audit,
    commands: mpsc::Receiver<Command>,
    lines: LineWriter,
    /// What was taken and not yet serialised: one batch per worker, and the order to go through them from the end.
    batches: Vec<Batch>,
    order: Vec<Place>,
    /// What was serialised and not yet written.
    text: Vec<u8>,
    text_lines: Vec<Line>,
    /// The sink failed last time.
    failing: Option<Failing>,
    closing: Option<(Instant, mpsc::Sender<()>)>,
}

struct Place {
    unix_micros: u64,
    batch: usize,
    item: usize,
}

struct Failing {
    since: Instant,
    retry_at: Instant,
}

impl Writer {
    /// A writer that has not begun.
    pub(super) fn new(
        queue: QueueDrain,
        sink: Sink,
        config: Audit,
        boot: &str,
        commands: mpsc::Receiver<Command>,
    ) -> Writer {
        let batches = (0..queue.buffers()).map(|_| Batch::default()).collect();
        Writer {
            queue,
            sink,
            config,
            commands,
            lines: LineWriter::new(boot),
            batches,
            order: Vec::new(),
            text: Vec::new(),
            text_lines: Vec::new(),
            failing: None,
            closing: None,
        }
    }

    /// Works until told to end.
    pub(super) fn run(mut self) {
        self.queue.writer_is(std::thread::current());
        let mut quiet = 0;
        loop {
            self.obey();
            let wrote = self.turn();
            quiet = if wrote { 0 } else { quiet + 1 };
            if self.is_over() {
                break;
            }
            match &self.failing {
                Some(failing) => {
                    std::thread::park_timeout(failing.retry_at.saturating_duration_since(clock::monotonic()))
                }
                None if quiet < QUIET_ROUNDS => std::thread::park_timeout(POLL),
                None => quiet = self.sleep(quiet),
            }
        }
        self.end();
    }

    /// Parks until woken, or until the file is due for rotation. Returns how many quiet rounds to go on from.
    fn sleep(&mut self, quiet: u32) -> u32 {
        for batch in &mut self.batches {
            batch.shrink();
        }
        self.order.shrink_to(64);
        self.text.shrink_to(8 * 1024);
        self.text_lines.shrink_to(64);
        if !self.queue.fall_asleep() {
            return 0;
        }
        match self.sink.due(clock::unix_micros()) {
            // the wall clock may be set: it is looked at again after an hour at most
            Some(due) => std::thread::park_timeout(Duration::from_micros(due).min(LONGEST_SLEEP)),
            None => std::thread::park(),
        }
        if self.queue.awake() { 0 } else { quiet }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Reopen(done) => {
                    let reopened = self.sink.reopen(clock::unix_micros());
                    self.retry_now();
                    let _ = done.send(reopened);
                }
                Command::Reconfigure(config, done) => {
                    let _ = done.send(self.reconfigure(*config));
                }
                Command::Close(deadline, done) => {
                    self.closing = Some((deadline, done));
                    self.retry_now();
                }
            }
        }
    }

    fn reconfigure(&mut self, config: Audit) -> io::Result<()> {
        match (&mut self.sink, &config.sink) {
            (Sink::File(file), AuditSink::File(path)) if file.name() == path => file.reconfigure(&config),
            _ if self.config.sink == config.sink => {}
            _ => {
                let mut old = std::mem::replace(&mut self.sink, Sink::open(&config, clock::unix_micros())?);
                if let Err(error) = old.finish() {
                    tracing::error!(%error, "the old audit file cannot be synced");
                }
                self.retry_now();
            }
        }
        self.config = config;
        Ok(())
    }

    fn retry_now(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.retry_at = clock::monotonic();
        }
    }

    /// Writes what was filled, as far as it will go; whether there was anything.
    fn turn(&mut self) -> bool {
        if self.failing.as_ref().is_some_and(|failing| clock::monotonic() < failing.retry_at) {
            return false;
        }
        if self.text_lines.is_empty() && self.order.is_empty() && !self.take() {
            self.sink.tick(clock::unix_micros());
            return false;
        }
        loop {
            if self.text_lines.is_empty() {
                self.serialise();
            }
            if !self.write() || self.order.is_empty() {
                return true;
            }
        }
    }

    /// Takes what was filled and puts it in order.
    fn take(&mut self) -> bool {
        for batch in &mut self.batches {
            batch.clear();
        }
        if !self.queue.take(&mut self.batches) {
            return false;
        }
        let skipped = self.queue.newly_dropped();
        self.lines.skip(skipped);
        for (batch, filled) in self.batches.iter().enumerate() {
            self.order.extend((0..filled.len()).map(|item| Place {
                unix_micros: filled.unix_micros_of(item),
                batch,
                item,
            }));
        }
        // from the last to the first, so that places can be taken off the end; stable, so that one worker's records of
        // one microsecond stay in order once turned around
        self.order.reverse();
        self.order.sort_by_key(|place| std::cmp::Reverse(place.unix_micros));
        true
    }

    /// Serialises the next records, about [`CHUNK`] bytes of them.
    fn serialise(&mut self) {
        while self.text.len() < CHUNK {
            let Some(place) = self.order.pop() else { break };
            let batch = &self.batches[place.batch];
            let units = batch.units_of(place.item);
            let begin = self.text.len();
            let mut last = false;
            let (word, reason, notable, told) = match batch.item(place.item) {
                Filled::Decision(record) => {
                    self.lines.decision(&mut self.text, &record);
                    let notable = match record.outcome {
                        Outcome::Allow | Outcome::Authenticated => false,
                        Outcome::Override | Outcome::Refuse | Outcome::WouldRefuse => true,
                    };
                    let told = matches!(record.outcome, Outcome::Refuse | Outcome::WouldRefuse);
                    (record.outcome.code(), record.reason, notable, told)
                }
                Filled::Change(change) => {
                    self.lines.change(&mut self.text, change);
                    last = change.event == Event::Stop;
                    (change.event.code(), None, true, true)
                }
            };
            let tap = self.queue.tap();
            if told && tap.is_heard() {
                tap.offer(&self.text[begin..]);
            }
            if last {
                tap.close();
            }
            self.text_lines.push(Line { end: self.text.len(), word, reason, notable, units });
        }
    }

    /// Writes what is serialised; whether all of it went.
    fn write(&mut self) -> bool {
        let written = self.sink.write(&self.text, &self.text_lines, clock::unix_micros());
        self.queue.count_written((written.lines - written.refused) as u64);
        self.queue.count_lost(written.refused as u64);
        let gone = self.text_lines.drain(..written.lines);
        let (mut end, mut units) = (0, 0);
        for line in gone {
            end = line.end;
            units += line.units;
        }
        self.text.drain(..end);
        for line in &mut self.text_lines {
            line.end -= end;
        }
        self.queue.give_back(units);
        if written.refused > 0 {
            tracing::error!(records = written.refused, "audit records are too long for the sink; lost");
        }
        match written.error {
            None => self.recovered(),
            Some(error) => self.failed(&error),
        }
        self.text_lines.is_empty()
    }

    fn failed(&mut self, error: &io::Error) {
        self.queue.count_write_error();
        let now = clock::monotonic();
        let retry_at = now + if self.closing.is_some() { RETRY_AT_END } else { RETRY };
        match &mut self.failing {
            Some(failing) => failing.retry_at = retry_at,
            None => {
                tracing::error!(%error, "audit records cannot be written; tried again until they can");
                self.failing = Some(Failing { since: now, retry_at });
            }
        }
    }

    fn recovered(&mut self) {
        if let Some(failing) = self.failing.take() {
            let seconds = clock::monotonic().saturating_duration_since(failing.since).as_secs();
            tracing::info!(seconds, "audit records are written again");
        }
    }

    /// Told to end, and all is written or the deadline is over?
    fn is_over(&mut self) -> bool {
        let Some((deadline, _)) = self.closing else { return false };
        if self.failing.is_none() {
            // from here on nothing comes in, so one more look is the last
            self.queue.close();
            self.turn();
        }
        self.failing.is_none() || clock::monotonic() >= deadline
    }

    fn end(mut self) {
        self.queue.close();
        let mut lost = self.text_lines.len() + self.order.len();
        self.order.clear();
        self.take();
        lost += self.order.len();
        if lost > 0 {
            self.queue.count_lost(lost as u64);
            tracing::error!(records = lost, "audit records are lost: the sink failed until the end");
        }
        if let Err(error) = self.sink.finish() {
            tracing::error!(%error, "audit file cannot be synced");
        }
        if let Some((_, done)) = self.closing.take() {
            let _ = done.send(());
        }
    }
}

/// How often the writer looks while records come.
const POLL: Duration = Duration::from_millis(50);
/// Looks in vain before it parks.
const QUIET_ROUNDS: u32 = 10;
/// The wall clock is looked at this often at least while a file waits for its age.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
/// How long after a failed write it is made again.
const RETRY: Duration = Duration::from_secs(1);
/// The same when the end waits for it.
const RETRY_AT_END: Duration = Duration::from_millis(100);
/// Bytes serialised and written at once.
const CHUNK: usize = 64 * 1024;
