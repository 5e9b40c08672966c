//! Opening what the configuration says to listen on; a listener that cannot be opened says where, who is there, and what
//! to do.
//!
//! Ports are bound without `SO_REUSEPORT`: with it a second instance would start unnoticed and take every other
//! connection. A unix socket file left behind by a crash is removed, but only when nothing answers on it.

use super::holder;
use crate::config::{Config, Listen, Side};
use crate::proxy::BoundListener;
use crate::systemd::{Inherited, InheritedError};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections the kernel holds for us while the acceptor is busy; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something else listens there.
    #[error("cannot listen on {address} ({key}): {holder} already listens there; stop it, or change `{key}`")]
    InUse {
        /// Where.
        address: String,
        /// The configuration's key.
        key: &'static str,
        /// Who, as far as can be seen.
        holder: String,
    },
    /// The system refuses.
    #[error("cannot listen on {address} ({key}): {error}{hint}")]
    Refused {
        /// Where.
        address: String,
        /// The configuration's key.
        key: &'static str,
        /// Why.
        error: io::Error,
        /// What to do, where that can be said.
        hint: &'static str,
    },
    /// The service manager did not hand it over.
    #[error("{0}")]
    Inherited(#[from] InheritedError),
}

/// Everything that is listened on.
#[derive(Debug, Default)]
pub struct Opened {
    /// The listeners, each with what it serves.
    pub sockets: Vec<(BoundListener, Side)>,
    /// Socket files that we made and remove at the end.
    pub socket_files: Vec<SocketFile>,
}

/// A unix socket's file, recognised by its inode: by the end it may be a successor's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Opens every listener of the forwarding path.
///
/// # Errors
/// Every listener that cannot be opened; what was opened before is closed again.
pub fn open(config: &Config, mut inherited: Inherited) -> Result<Opened, Vec<ListenError>> {
    let mut opened = Opened::default();
    let mut errors = Vec::new();
    for side in config.sides() {
        let key = match side {
            Side::Inbound(_) => "[inbound].listen",
            Side::Outbound(_) => "[[outbound]].listen",
        };
        let result = match config.listen(side) {
            Listen::Tcp(address) => tcp(*address, key).map(|bound| vec![BoundListener::Tcp(bound)]),
            Listen::Unix(path) => unix(path, key, socket_mode(config, side)).map(|(bound, file)| {
                opened.socket_files.push(file);
                vec![BoundListener::Unix(bound)]
            }),
            Listen::Systemd(name) => inherited.take(name).map_err(ListenError::from),
        };
        match result {
            Ok(bound) => opened.sockets.extend(bound.into_iter().map(|bound| (bound, side))),
            Err(error) => errors.push(error),
        }
    }
    let left_over = inherited.left_over();
    if !left_over.is_empty() {
        tracing::warn!(names = left_over.join(" "), "inherited sockets that no listener takes");
    }
    if errors.is_empty() { Ok(opened) } else { Err(errors) }
}

/// The address of a TCP listener.
pub fn address(socket: &BoundListener) -> Option<SocketAddr> {
    match socket {
        BoundListener::Tcp(listener) => listener.local_addr().ok(),
        BoundListener::Unix(_) => None,
    }
}

/// Listens on a TCP address; `key` is what the configuration calls it.
///
/// # Errors
/// When it is taken, not this machine's, or not allowed.
pub fn tcp(address: SocketAddr, key: &'static str) -> Result<TcpListener, ListenError> {
    bind_tcp(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder::of(address).unwrap_or_else(|| "another process".to_owned());
            ListenError::InUse { address: address.to_string(), key, holder }
        }
        kind => ListenError::Refused { address: address.to_string(), key, error, hint: hint(kind) },
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Lets a restart bind while connections of the last run are in TIME_WAIT; never lets two listen.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Before the first connection is queued: each inherits it, and needs no call of its own.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Owner and group may connect, nobody else; or everybody, where the peers are told apart by their uids.
fn socket_mode(config: &Config, side: Side) -> u32 {
    match side {
        Side::Outbound(place) if config.outbound[place].allow_uids.is_some() => 0o666,
        Side::Inbound(_) | Side::Outbound(_) => 0o660,
    }
}

fn unix(path: &Path, key: &'static str, mode: u32) -> Result<(UnixListener, SocketFile), ListenError> {
    let address = || format!("unix:{}", path.display());
    let refused = |error: io::Error, hint| ListenError::Refused { address: address(), key, error, hint };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            let error = io::ErrorKind::AlreadyExists.into();
            return Err(refused(error, "; a file that is no socket is there, and it is not ours to remove"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => {
                let holder = "another process".to_owned();
                return Err(ListenError::InUse { address: address(), key, holder });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|error| refused(error, "; nothing answers there, remove it"))?;
            }
            Err(error) => return Err(refused(error, "")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error, "")),
    }
    let open = || -> io::Result<(UnixListener, SocketFile)> {
        let listener = UnixListener::bind(path)?;
        // Until here the umask rules, which gives others less.
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        let made = std::fs::symlink_metadata(path)?;
        Ok((listener, SocketFile { path: path.to_owned(), inode: (made.dev(), made.ino()) }))
    };
    open().map_err(|error| {
        let hint = hint(error.kind());
        refused(error, hint)
    })
}

const fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE or a socket unit (\"systemd:NAME\"), socket files a directory \
             that this user may write to"
        }
        io::ErrorKind::NotFound => "; the directory must be there",
        _ => "",
    }
}

impl SocketFile {
    /// Removes the file, unless it is another's by now.
    pub fn remove(&self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_address_key_and_holder() {
        let first = tcp("127.0.0.1:0".parse().unwrap(), "[inbound].listen").unwrap();
        let address = first.local_addr().unwrap();
        let error = tcp(address, "[admin].listen").unwrap_err().to_string();
        for part in [&address.to_string(), "[admin].listen", &format!("process {}", std::process::id())] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn small_writes_leave_at_once_on_what_is_accepted_however_early_it_came() {
        let listener = tcp("127.0.0.1:0".parse().unwrap(), "[inbound].listen").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(socket2::SockRef::from(&listener.accept().unwrap().0).tcp_nodelay().unwrap());
    }

    #[test]
    fn an_address_of_another_machine_is_explained() {
        let error = tcp("192.0.2.1:8001".parse().unwrap(), "[inbound].listen").unwrap_err().to_string();
        assert!(error.contains("no interface of this machine"), "{error}");
    }

    #[test]
    fn a_socket_file_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("inbound.sock");
        let (first, file) = unix(&path, "[inbound].listen", 0o660).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(unix(&path, "[inbound].listen", 0o660), Err(ListenError::InUse { .. })));
        drop(first);
        let (_second, second_file) = unix(&path, "[inbound].listen", 0o660).unwrap();
        if file.inode != second_file.inode {
            file.remove();
            assert!(path.exists(), "a successor's socket file was removed");
        }
        second_file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("inbound.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = unix(&path, "[inbound].listen", 0o660).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
