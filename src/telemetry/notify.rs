//! [`Notifier`]: tells whom `[ramp].notify` names of rollbacks and alerts: a command, and a POST.
//!
//! 1. Nobody waits for it. Each announcement is a task of its own; what took effect took effect before.
//! 2. The command runs without a shell, in a process group of its own, with the JSON on its standard input and nothing else of
//!    ours; its output is thrown away. After [`PATIENCE`] the whole group is killed.
//! 3. The POST is one HTTP/1.1 request of `application/json`; any 2xx is success. Redirects are not followed. The same patience.
//! 4. What fails is logged and counted, not tried again: the audit log has it, and metrics tell.
//! 5. At most [`AT_ONCE`] run; more are dropped and counted, so that neither a storm of alerts nor a hanging receiver grows.

use crate::config::{Notify, Webhook};
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long a command or a receiver may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Announcements under way.
pub const AT_ONCE: usize = 8;

/// What came of announcements so far.
#[derive(Debug, Default)]
pub struct Notified {
    sent: AtomicU64,
    failed: AtomicU64,
    under_way: AtomicUsize,
}

impl Notified {
    /// How many arrived, and how many did not.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// Sends announcements.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    notified: Arc<Notified>,
}

/// Why one did not arrive.
#[derive(Debug, thiserror::Error)]
enum NotifyFault {
    #[error("it took longer than {} s and was ended", PATIENCE.as_secs())]
    TooSlow,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it ended with {0}")]
    Exit(std::process::ExitStatus),
    #[error("the receiver answered `{0}`")]
    Answer(String),
}

impl Notifier {
    /// What came of them.
    pub fn notified(&self) -> Arc<Notified> {
        Arc::clone(&self.notified)
    }

    /// Tells all of them, later. `message`: one JSON object. Must be called inside a runtime.
    pub fn tell(&self, whom: &Notify, message: &serde_json::Value) {
        let text: Arc<str> = format!("{message}\n").into();
        if !whom.command.is_empty() {
            let (command, text) = (whom.command.clone(), Arc::clone(&text));
            self.start("command", async move { run(&command, &text).await });
        }
        if let Some(webhook) = whom.webhook.clone() {
            self.start("webhook", async move { post(&webhook, &text).await });
        }
    }

    fn start(&self, how: &'static str, telling: impl Future<Output = Result<(), NotifyFault>> + Send + 'static) {
        let notified = Arc::clone(&self.notified);
        if notified.under_way.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
            notified.under_way.fetch_sub(1, Ordering::Relaxed);
            notified.failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(how, limit = AT_ONCE, "an announcement was dropped: too many are under way");
            return;
        }
        tokio::spawn(async move {
            match telling.await {
                Ok(()) => {
                    notified.sent.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(how, "announced");
                }
                Err(fault) => {
                    notified.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(how, %fault, "an announcement did not arrive");
                }
            }
            notified.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn run(command: &[String], text: &str) -> Result<(), NotifyFault> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let ended = tokio::time::timeout(PATIENCE, async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing may still do its work.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        child.wait().await
    });
    match ended.await {
        Ok(status) => {
            let status = status?;
            if status.success() { Ok(()) } else { Err(NotifyFault::Exit(status)) }
        }
        Err(_) => {
            if let Some(group) = group {
                // What it started goes with it; it may be gone already.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait().await;
            Err(NotifyFault::TooSlow)
        }
    }
}

async fn post(webhook: &Webhook, text: &str) -> Result<(), NotifyFault> {
    let exchange = async {
        let mut stream = TcpStream::connect((webhook.to.lookup_host(), webhook.to.port)).await?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: countersign\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            webhook.path,
            webhook.to,
            text.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < LONGEST_LINE {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<Vec<u8>, io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| NotifyFault::TooSlow)??;
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let line = line.trim_end();
    let is_good = line.strip_prefix("HTTP/1.").is_some_and(|rest| rest.get(1..3) == Some(" 2"));
    if is_good {
        Ok(())
    } else {
        Err(NotifyFault::Answer(line.chars().take(80).filter(|c| !c.is_control()).collect()))
    }
}

/// Of a status line.
const LONGEST_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;
    use tokio::net::TcpListener;

    fn by_command(words: &[&str]) -> Notify {
        Notify { command: words.iter().map(|word| (*word).to_owned()).collect(), webhook: None }
    }

    async fn told(whom: &Notify) -> (u64, u64) {
        let notifier = Notifier::default();
        notifier.tell(whom, &serde_json::json!({ "event": "rollback", "text": "a\n$(x) 'y'" }));
        while notifier.notified().under_way.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        notifier.notified().counts()
    }

    #[tokio::test]
    async fn a_command_gets_the_evidence_on_its_standard_input_and_no_shell_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("told");
        let whom = by_command(&["tee", file.to_str().unwrap()]);
        assert_eq!(told(&whom).await, (1, 0));
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["text"], "a\n$(x) 'y'");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_is_not_there_is_counted() {
        assert_eq!(told(&by_command(&["false"])).await, (0, 1));
        assert_eq!(told(&by_command(&["/nowhere/at-all"])).await, (0, 1));
        assert_eq!(told(&by_command(&["true"])).await, (1, 0), "one that reads nothing is fine");
    }

    #[tokio::test]
    async fn only_a_2xx_is_success() {
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", (1, 0)),
            ("HTTP/1.0 200 OK\r\n\r\n", (1, 0)),
            ("HTTP/1.1 500 No\r\n\r\n", (0, 1)),
            ("HTTP/1.1 302 Found\r\n\r\n", (0, 1)),
            ("", (0, 1)),
            ("nonsense\n", (0, 1)),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}\n") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8(request).unwrap()
            });
            let to = Upstream::http("127.0.0.1", port);
            let whom = Notify { command: Vec::new(), webhook: Some(Webhook { to, path: "/hook?x".into() }) };
            assert_eq!(told(&whom).await, expected, "{answer}");
            let request = server.await.unwrap();
            assert!(request.starts_with("POST /hook?x HTTP/1.1\r\n") && request.contains("application/json"));
        }
    }

    #[tokio::test]
    async fn what_hangs_delays_nothing_and_no_more_than_so_many_hang() {
        let notifier = Notifier::default();
        let whom = by_command(&["sleep", "3600"]);
        (0..20).for_each(|_| notifier.tell(&whom, &serde_json::json!({})));
        assert_eq!(notifier.notified().counts(), (0, 20 - AT_ONCE as u64));
    }
}
