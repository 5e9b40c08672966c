//! Where the proxy listens and where requests go from there, as written → checked.
//!
//! Each listener is checked by itself first (`inbound`, `outbound`; `upstreams` has what both say alike), then what they say
//! about each other (`together`).

mod inbound;
mod outbound;
mod together;
mod upstreams;

pub(super) use inbound::inbound;
pub(super) use outbound::{Surroundings as OutboundSurroundings, outbound};
pub(super) use together::check;

use super::diagnostic::{Diagnostic, Place};
use super::file::FileAdmin;
use super::problems::{Problems, Setting};
use super::{Admin, AdminSocket, Listen, Upstream, defaults};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A listener, checked by itself.
pub(super) struct Checked<T> {
    /// Nothing, where it is not whole: that was reported.
    made: Option<Arc<T>>,
    ways: Ways,
}

/// What of a listener concerns the others, as far as it is known: where it listens, and where its requests may go.
pub(super) struct Ways {
    listen: Option<Setting<Listen>>,
    towards: Vec<Setting<Upstream>>,
}

impl<T> Checked<T> {
    pub(super) fn ways(&self) -> &Ways {
        &self.ways
    }

    pub(super) fn into_made(self) -> Option<Arc<T>> {
        self.made
    }
}

/// `[admin]`, checked by itself.
pub(super) struct CheckedAdmin {
    pub(super) listen: Option<Setting<SocketAddr>>,
    allowed_hosts: Vec<String>,
    /// `None`: nobody said; `Some(None)`: off.
    socket: Option<Option<PathBuf>>,
}

impl CheckedAdmin {
    pub(super) fn checked(self, state_dir: &Path) -> Admin {
        let socket = match self.socket {
            Some(Some(path)) => AdminSocket::Said(std::path::absolute(&path).unwrap_or(path)),
            Some(None) => AdminSocket::Off,
            // A sidecar with a state directory of its own has its socket there: several can run side by side.
            None if state_dir == Path::new(defaults::STATE_DIR) => {
                AdminSocket::Default(defaults::ADMIN_SOCKET.into())
            }
            None => AdminSocket::Default(state_dir.join("admin.sock")),
        };
        Admin { listen: self.listen.map(|listen| listen.value), allowed_hosts: self.allowed_hosts, socket }
    }
}

/// `[admin]`: beyond this machine only when somebody said so, twice.
pub(super) fn admin(written: FileAdmin, problems: &Problems) -> CheckedAdmin {
    let listen = match written.listen {
        Some(Setting { value, place }) => value.map(|value| Setting { value, place }),
        None => Some(Setting { value: defaults::ADMIN, place: Place::Nowhere }),
    };
    let remote = written.allow_remote.is_some_and(|allow| allow.value);
    if let Some(listen) = listen.as_ref().filter(|listen| !listen.value.ip().to_canonical().is_loopback() && !remote)
    {
        let message = format!("`admin.listen` is {}, which other machines can reach", listen.value);
        let problem = Diagnostic::error(&listen.place, message)
            .expected("a loopback address, or `allow_remote = true` beside it")
            .fix("metrics name every service: open them only to the network of the scraper");
        problems.add(problem);
    }
    let socket = written.socket.map(|socket| socket.value);
    CheckedAdmin { listen, allowed_hosts: written.allowed_hosts, socket }
}
