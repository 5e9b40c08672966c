//! A sidecar in this process: one listener that guards, one that signs, one worker.

use crate::traffic::{CALLER, KEY, Requests, upstream};
use countersign::app::App;
use countersign::config::check::{self, Overrides, Purpose};
use countersign::config::env::Environment;
use countersign::config::reload::Source;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

/// Runs until the process ends.
pub(crate) struct Sidecar {
    guarding: SocketAddr,
    signing: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Sidecar {
    pub(crate) fn start() -> Sidecar {
        let directory = tempfile::tempdir().expect("a directory");
        let source = source(directory.path());
        let (started, addresses) = mpsc::channel();
        // The control runtime, as in the program.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let loaded =
                    check::load(source.file.as_deref(), &source.environment, &source.overrides, Purpose::Run)
                        .unwrap_or_else(|problems| panic!("{problems}"));
                let app = App::start(source, loaded, None).await.unwrap_or_else(|error| panic!("{error}"));
                started.send(app.addresses().collect::<Vec<_>>()).expect("the test waits");
                std::future::pending::<()>().await;
                drop(app);
            });
        });
        let addresses = addresses.recv().expect("the sidecar starts");
        let [guarding, signing] = addresses[..] else { panic!("two listeners, not {addresses:?}") };
        Sidecar { guarding, signing, _directory: directory }
    }

    pub(crate) fn address(&self, requests: Requests) -> SocketAddr {
        match requests {
            Requests::Outbound => self.signing,
            Requests::Signed | Requests::Upload | Requests::Exempt | Requests::Refused | Requests::Escaped => {
                self.guarding
            }
        }
    }
}

fn source(directory: &Path) -> Source {
    for name in ["state", "keys"] {
        fs::DirBuilder::new().mode(0o700).create(directory.join(name)).expect("a directory");
    }
    let key = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(directory.join(format!("keys/{CALLER}.env")))
        .expect("a file");
    std::io::Write::write_all(&mut &key, format!("SERVICE_KEY={KEY}\n").as_bytes()).expect("a file");
    let upstream = upstream();
    let shown = directory.display();
    let text = format!(
        r#"
        workers = 1
        state_dir = "{shown}/state"
        [service]
        id = "{CALLER}"
        [keys]
        dir = "{shown}/keys"
        [audit]
        file = "{shown}/audit.jsonl"
        [admin]
        listen = "127.0.0.1:0"
        [inbound]
        listen = "127.0.0.1:0"
        upstream = "http://{upstream}"
        [enforcement]
        mode = "enforce"
        rate_limit = {{ failures = 1000000 }}
        [[outbound]]
        listen = "127.0.0.1:0"
        upstream = "http://{upstream}"
        [[rule]]
        paths = ["/api/npu/results"]
        access = "service"
        callers = ["{CALLER}"]
        [[rule]]
        paths = ["/api/chat"]
        access = "exempt"
        "#
    );
    let file = directory.join("countersign.toml");
    fs::write(&file, text).expect("a file");
    Source { file: Some(file), environment: Environment::default(), overrides: Overrides::default() }
}
