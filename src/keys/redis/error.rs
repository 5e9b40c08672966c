//! [`StoreError`]: why Redis did not do what it was asked. As text: what was found and what to do; never a secret.
//!
//! A server's own message is not passed on: some echo the arguments of a command, and a key is one of them. What is
//! passed on is the code in front of it (`NOPERM`, `OOM`), which is a word of the server's.

use super::names::Entry;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke.
    #[error("redis at {servers} cannot be reached: {why}; check [keys].redis and that the server runs")]
    Unreachable {
        /// Who was asked.
        servers: String,
        /// What came of it.
        why: String,
    },
    /// No answer in time.
    #[error("redis at {servers} did not answer {command} within {milliseconds} ms")]
    TimedOut {
        /// Who was asked.
        servers: String,
        /// What was asked.
        command: &'static str,
        /// How long it was waited for.
        milliseconds: u128,
    },
    /// It started a moment ago and still reads its data.
    #[error("redis at {servers} is loading its data; it serves when that is done")]
    Loading {
        /// Who was asked.
        servers: String,
    },
    /// It is a replica, or refuses writes for another reason.
    #[error("redis at {servers} takes no writes ({code}): it is a replica, or cannot save; write to the master")]
    ReadOnly {
        /// Who was asked.
        servers: String,
        /// The server's word.
        code: String,
    },
    /// User or password are wrong, or missing.
    #[error(
        "redis at {servers} does not let us in ({code}): check the user in [keys].redis and its password \
         (redis_password_file, REDIS_PASSWORD)"
    )]
    NotAuthenticated {
        /// Who was asked.
        servers: String,
        /// The server's word.
        code: String,
    },
    /// The user may not do this.
    #[error(
        "redis at {servers} does not permit {command} to this user; README, \"Keys in Redis\", has the ACL line that does"
    )]
    NotPermitted {
        /// Who was asked.
        servers: String,
        /// What was asked.
        command: &'static str,
    },
    /// The sentinels know of no master that answers.
    #[error("no sentinel of {servers} names a master {master} that answers: {why}")]
    NoMaster {
        /// Who was asked.
        servers: String,
        /// The name of the master.
        master: String,
        /// What came of it.
        why: String,
    },
    /// What the configuration names cannot be used.
    #[error("{0}")]
    Settings(String),
    /// What one entry holds is none of ours.
    #[error("{entry} in redis {fault}")]
    Entry {
        /// Which.
        entry: Entry,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// Anything else.
    #[error("redis at {servers} answered {command} with an error ({code})")]
    Refused {
        /// Who was asked.
        servers: String,
        /// What was asked.
        command: &'static str,
        /// The server's word.
        code: String,
    },
}

/// What is wrong with what an entry holds. As text: goes on from the entry's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A list where a text should be, and so on.
    #[error("is of another type than expected; remove it (DEL) and write the key again")]
    WrongType,
    /// No key is so long.
    #[error("holds more than {} bytes, which no key does; write the key again", super::LARGEST_VALUE)]
    TooLarge,
    /// The text is no key; why.
    #[error("is no key: {0}")]
    NotAKey(crate::signature::key::KeyTextError),
    /// The bytes are no text.
    #[error("is not text")]
    NotText,
    /// A number is none.
    #[error("has a {0} that is not a number of seconds")]
    NotANumber(&'static str),
}

impl StoreError {
    /// Is it the way to Redis that failed, rather than what was asked for? Then the next source may be asked, and what is
    /// cached goes on serving.
    pub fn is_outage(&self) -> bool {
        match self {
            StoreError::Unreachable { .. }
            | StoreError::TimedOut { .. }
            | StoreError::Loading { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::NotAuthenticated { .. }
            | StoreError::NotPermitted { .. }
            | StoreError::NoMaster { .. }
            | StoreError::Settings(_)
            | StoreError::Refused { .. } => true,
            StoreError::Entry { .. } => false,
        }
    }

    /// Has Redis no room left? It still takes single reads and deletions.
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, StoreError::Refused { code, .. } if code == "OOM")
    }

    /// Is it that nothing may be written here, now or ever?
    pub fn forbids_writing(&self) -> bool {
        match self {
            StoreError::ReadOnly { .. } | StoreError::NotPermitted { .. } => true,
            StoreError::Unreachable { .. }
            | StoreError::TimedOut { .. }
            | StoreError::Loading { .. }
            | StoreError::NotAuthenticated { .. }
            | StoreError::NoMaster { .. }
            | StoreError::Settings(_)
            | StoreError::Entry { .. }
            | StoreError::Refused { .. } => false,
        }
    }

    /// Should the connection be given up, and another one be made?
    pub(super) fn is_broken(&self) -> bool {
        match self {
            StoreError::Unreachable { .. }
            | StoreError::TimedOut { .. }
            | StoreError::Loading { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::NotAuthenticated { .. }
            | StoreError::NoMaster { .. } => true,
            StoreError::NotPermitted { .. }
            | StoreError::Settings(_)
            | StoreError::Entry { .. }
            | StoreError::Refused { .. } => false,
        }
    }

    /// What the crate says, in our words.
    pub(super) fn of(
        error: &RedisError,
        servers: &str,
        command: &'static str,
        deadline: std::time::Duration,
    ) -> StoreError {
        let servers = servers.to_owned();
        if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort)
            && let Some(first) = error.clone().into_server_errors().and_then(|all| {
                let is_cause = |error: &redis::ServerError| error.kind() != Some(ServerErrorKind::ExecAbort);
                all.iter().map(|(_, error)| error).find(|error| is_cause(error)).cloned()
            })
        {
            // A transaction is refused because of one of its commands: that one's reason is the reason.
            return StoreError::of(&RedisError::from(first), &servers, command, deadline);
        }
        let code = || error.code().unwrap_or("ERR").to_owned();
        match error.kind() {
            ErrorKind::Io if error.is_timeout() => {
                StoreError::TimedOut { servers, command, milliseconds: deadline.as_millis() }
            }
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound | ErrorKind::Client => {
                StoreError::Unreachable { servers, why: error.to_string() }
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                StoreError::Unreachable { servers, why: "its answer is not redis's protocol".to_owned() }
            }
            ErrorKind::RESP3NotSupported => {
                StoreError::Settings(format!("redis at {servers} is older than version 6, which is needed"))
            }
            ErrorKind::AuthenticationFailed => StoreError::NotAuthenticated { servers, code: code() },
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::BusyLoading => StoreError::Loading { servers },
                ServerErrorKind::ReadOnly => StoreError::ReadOnly { servers, code: code() },
                ServerErrorKind::NoPerm => StoreError::NotPermitted { servers, command },
                ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain => {
                    StoreError::Unreachable { servers, why: format!("no master answers for the key ({})", code()) }
                }
                _ => StoreError::Refused { servers, command, code: code() },
            },
            _ => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => StoreError::NotAuthenticated { servers, code: code() },
                Some("MISCONF" | "NOREPLICAS") => StoreError::ReadOnly { servers, code: code() },
                _ => StoreError::Refused { servers, command, code: code() },
            },
        }
    }
}
