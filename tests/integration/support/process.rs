//! Child processes that cannot outlive the tests.
//!
//! Instances shared by several tests live in statics, which nobody drops. So every child is started through `setpriv`
//! (util-linux) with the parent-death signal set; that signal goes out when the *thread* that started the child ends,
//! hence one thread that starts them all and lives as long as the process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A running child, killed on drop, whose output is collected.
pub(crate) struct Process {
    child: Child,
    pub(crate) name: String,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// What a child printed so far, lossily as text.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Printed>>);

#[derive(Default)]
struct Printed {
    text: String,
    /// Nothing more will come: whoever could write has ended.
    whole: bool,
}

impl Output {
    pub(crate) fn text(&self) -> String {
        self.printed().text.clone()
    }

    fn is_whole(&self) -> bool {
        self.printed().whole
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, from: impl Read + Send + 'static) {
        let into = self.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                into.printed().text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
            into.printed().whole = true;
        });
    }
}

impl Process {
    /// Starts a command; its standard input is closed.
    #[track_caller]
    pub(crate) fn start(command: &Command) -> Process {
        let name = format!("{command:?}");
        let mut child = spawn(command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (stdout, stderr) = (Output::default(), Output::default());
        stdout.collect(child.stdout.take().unwrap());
        stderr.collect(child.stderr.take().unwrap());
        Process { child, name, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`HUP`, `TERM`, `USR1`...).
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(done.success(), "kill -{name} {}", self.pid());
    }

    /// The most memory it ever had at once, in bytes: a growth that was given back is seen too.
    #[track_caller]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
        line.trim().parse::<u64>().unwrap() * 1024
    }

    /// Has it ended?
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, and for all that it said.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = super::eventually(&format!("{} to end", self.name), || self.child.try_wait().unwrap());
        super::eventually(&format!("the last word of {}", self.name), || {
            (self.stdout.is_whole() && self.stderr.is_whole()).then_some(status)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let shown = self.stderr.text();
            let from = shown.len().saturating_sub(4000);
            let from = (from..=shown.len()).find(|&at| shown.is_char_boundary(at)).unwrap_or_default();
            eprintln!("--- what {} said:\n{}", self.name, &shown[from..]);
        }
    }
}

type Request = (Command, Sender<std::io::Result<Child>>);

fn spawn(command: &Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (send, receive) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in receive {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(send)
    });
    let mut guarded = Command::new("setpriv");
    guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        guarded.current_dir(directory);
    }
    guarded.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (answer, wait) = channel();
    let sent = starter.lock().unwrap_or_else(PoisonError::into_inner).send((guarded, answer));
    sent.map_err(|_| std::io::Error::other("the starter of processes is gone"))?;
    wait.recv().map_err(|_| std::io::Error::other("the starter of processes is gone"))?
}
