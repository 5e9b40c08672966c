//! The service manager: what it is told (readiness, reloads, the end, the watchdog) and the sockets it hands over.
//!
//! Without a service manager everything here does nothing. A message that cannot be delivered is logged and never stops
//! traffic: the worst that follows is that the manager restarts a process that works.
//!
//! Inherited sockets are taken through listenfd, whose takers check the descriptor; the names of `LISTEN_FDNAMES`, which
//! it does not read, are read here. A name may stand for several sockets (several `ListenStream=` in one unit).

use crate::proxy::BoundListener;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::time::Duration;

/// Ready to serve, with the line that `systemctl status` shows. Also ends a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it. The time is needed by `Type=notify-reload` and ignored by others.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock for the service manager"),
    }
}

/// The end begins and may take this long.
pub fn stopping(at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status("draining: requests in flight finish, nothing new is taken"),
    ]);
}

/// Another status line.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// How often the watchdog wants to be kicked at the latest; `None` when there is none.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// Still alive.
pub fn kick_watchdog() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

/// The sockets that the service manager handed over, by name.
pub struct Inherited {
    sockets: ListenFd,
    /// One per socket; taken ones are emptied.
    names: Vec<Option<String>>,
}

/// Why a named socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// Nothing was handed over.
    #[error(
        "the service manager handed over no socket, \"systemd:{name}\" was expected; start through the socket unit \
         (`systemctl start countersign.socket`), or write an address: listen = \"127.0.0.1:8001\""
    )]
    None {
        /// The name that was asked for.
        name: String,
    },
    /// Others were handed over.
    #[error(
        "no inherited socket is named {name:?}, there are: {there}; write FileDescriptorName={name} in the socket unit, \
         or use one of these names"
    )]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        there: String,
    },
    /// It is there and cannot be used.
    #[error("the inherited socket {name:?} cannot be used: {problem}; a stream socket that listens was expected")]
    Unusable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: std::io::Error,
    },
}

impl Inherited {
    /// What the environment says was handed over to this process.
    pub fn from_environment() -> Inherited {
        Inherited::new(ListenFd::from_env(), &std::env::var("LISTEN_FDNAMES").unwrap_or_default())
    }

    fn new(sockets: ListenFd, names: &str) -> Inherited {
        // `unknown` is what sd_listen_fds_with_names(3) calls a socket without a name.
        let mut given = names.split(':').filter(|name| !name.is_empty());
        let names = (0..sockets.len()).map(|_| Some(given.next().unwrap_or("unknown").to_owned())).collect();
        Inherited { sockets, names }
    }

    /// Takes every socket of this name.
    ///
    /// # Errors
    /// When there is none of that name, or one cannot be listened on.
    pub fn take(&mut self, name: &str) -> Result<Vec<BoundListener>, InheritedError> {
        let places: Vec<usize> =
            (0..self.names.len()).filter(|&at| self.names[at].as_deref() == Some(name)).collect();
        if places.is_empty() {
            let there: Vec<String> = self.names.iter().flatten().map(|name| format!("{name:?}")).collect();
            return Err(if there.is_empty() {
                InheritedError::None { name: name.to_owned() }
            } else {
                InheritedError::NoSuchName { name: name.to_owned(), there: there.join(", ") }
            });
        }
        places
            .into_iter()
            .map(|at| {
                self.names[at] = None;
                self.take_at(at).map_err(|problem| InheritedError::Unusable { name: name.to_owned(), problem })
            })
            .collect()
    }

    /// The names of sockets that nobody took: they would hold connections that nobody answers.
    pub fn left_over(&self) -> Vec<&str> {
        self.names.iter().flatten().map(String::as_str).collect()
    }

    fn take_at(&mut self, at: usize) -> std::io::Result<BoundListener> {
        let gone = || std::io::Error::other("it was taken before");
        let listener = match self.sockets.take_tcp_listener(at) {
            Ok(listener) => BoundListener::Tcp(listener.ok_or_else(gone)?),
            Err(_) => BoundListener::Unix(self.sockets.take_unix_listener(at)?.ok_or_else(gone)?),
        };
        let listens = match &listener {
            BoundListener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                // Connections inherit it; those that wait already have what the unit says (`NoDelay=`).
                socket2::SockRef::from(listener).set_tcp_nodelay(true)?;
                socket2::SockRef::from(listener).is_listener()?
            }
            BoundListener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                socket2::SockRef::from(listener).is_listener()?
            }
        };
        if listens {
            Ok(listener)
        } else {
            Err(std::io::Error::other("it does not listen (Accept=yes in its unit?)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_a_named_socket_is_explained() {
        let error = Inherited::new(ListenFd::empty(), "").take("inbound").expect_err("there is none");
        assert!(error.to_string().contains("\"systemd:inbound\""), "{error}");
        assert!(error.to_string().contains("countersign.socket"), "{error}");
    }
}
