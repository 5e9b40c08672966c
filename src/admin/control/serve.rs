//! [`open`] and [`serve`]: the unix socket, who may connect, and for how long.

use super::ControlState;
use super::answer::{Answer, refusal};
use super::routes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// A socket that is ours, with its file.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

/// Makes the socket: 0600, in a directory that is made 0700 where it is missing. A file that a crash left behind is replaced,
/// one that somebody listens on is not.
///
/// # Errors
/// When it cannot be made there; the text says why.
pub fn open(path: &Path) -> io::Result<ControlSocket> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::other("a file that is no socket is there, and it is not ours to remove"));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::other("another process listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Between the two calls the umask rules; whoever connects is asked for by the kernel all the same.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    let made = std::fs::symlink_metadata(path)?;
    Ok(ControlSocket { listener, path: path.to_owned(), inode: (made.dev(), made.ino()) })
}

impl Drop for ControlSocket {
    /// Removes the file, unless it is another's by now.
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Serves until `shutdown` resolves, then lets answers in flight finish for a moment.
pub async fn serve(socket: ControlSocket, state: Arc<ControlState>, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connection(stream, Arc::clone(&state)));
                }
                Ok(_) => tracing::warn!(limit = MAX_CONNECTIONS, "the admin socket is full"),
                Err(error) => {
                    tracing::warn!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(socket);
    let finished = async { while connections.join_next().await.is_some() {} };
    // What is not finished by then is cut when the set is dropped.
    let _ = tokio::time::timeout(FINISH, finished).await;
}

async fn connection(stream: UnixStream, state: Arc<ControlState>) {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => return tracing::warn!(%error, "the kernel does not say who asks on the admin socket"),
    };
    let may = uid == 0 || uid == rustix::process::geteuid().as_raw();
    if !may {
        tracing::warn!(uid, "somebody without the right to asks on the admin socket");
    }
    let endless = Arc::new(AtomicBool::new(false));
    let is_endless = Arc::clone(&endless);
    let service = service_fn(move |request: Request<_>| {
        let (state, endless) = (Arc::clone(&state), Arc::clone(&endless));
        async move {
            let answer = if may { routes::answer(&state, uid, request).await } else { forbidden() };
            // Such an answer closes the connection behind it.
            endless.store(answer.body().is_endless(), Ordering::Relaxed);
            Ok::<Answer, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        match tokio::time::timeout(LIFETIME, connection.as_mut()).await {
            Err(_) if is_endless.load(Ordering::Relaxed) => {}
            Ok(Ok(())) | Err(_) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection of the admin socket ended"),
        }
    }
}

fn forbidden() -> Answer {
    refusal(StatusCode::FORBIDDEN, "not_permitted", "Only root and the user of the sidecar may ask here.")
}

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte of a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a connection, whatever it does; but as long as it likes may it listen to events.
const LIFETIME: Duration = Duration::from_secs(120);
/// For what is in flight at the end.
const FINISH: Duration = Duration::from_secs(1);
/// After a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_HEADERS: usize = 64;
/// A path to be explained can be long.
const MAX_HEAD: usize = 64 * 1024;
