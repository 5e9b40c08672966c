//! Who is the master now? Asked of every sentinel at once, and of the master itself.
//!
//! The first sentinel that answers may be the one that was cut off and has not heard of a failover, so what it names
//! counts only when that server itself says it is a master. Attack answered: none; this is for the case in which the old
//! master comes back for a moment and takes writes that are thrown away.

use super::StoreError;
use super::link::{Dialled, dial};
use crate::config::ClientTls;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::RedisConnectionInfo;
use std::time::Duration;

/// How servers are greeted.
pub(super) struct Greeting<'g> {
    pub(super) tls: Option<&'g ClientTls>,
    pub(super) login: &'g RedisConnectionInfo,
    pub(super) deadline: Duration,
}

/// The address of the master of this name.
pub(super) async fn master(
    sentinels: &[(String, u16)],
    name: &str,
    greeting: &Greeting<'_>,
) -> Result<(String, u16), StoreError> {
    let mut asked: FuturesUnordered<_> =
        sentinels.iter().map(|sentinel| named_by(sentinel, name, greeting)).collect();
    let mut why = None;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(master) => return Ok(master),
            // The last one may only be down; a reason that a person can mend is worth more.
            Err(error) => {
                why = Some(match why {
                    Some(before) if !matches!(error, StoreError::NotAuthenticated { .. }) => before,
                    _ => error,
                })
            }
        }
    }
    let servers = sentinels.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ");
    let why = why.map_or_else(|| "there is no sentinel".to_owned(), |error| error.to_string());
    Err(StoreError::NoMaster { servers, master: name.to_owned(), why })
}

/// Whom one sentinel names, if that one says so too.
async fn named_by(
    (host, port): &(String, u16),
    name: &str,
    greeting: &Greeting<'_>,
) -> Result<(String, u16), StoreError> {
    let server = format!("{host}:{port}");
    let of = |command| move |error: redis::RedisError| StoreError::of(&error, &server, command, greeting.deadline);
    let mut sentinel = greet_sentinel((host, *port), greeting).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let named: Option<(String, u16)> =
        question.query_async(&mut sentinel.connection).await.map_err(of("SENTINEL GET-MASTER-ADDR-BY-NAME"))?;
    let Some(master) = named else {
        return Err(StoreError::Settings(format!("the sentinel {host}:{port} knows no master {name}")));
    };
    let mut dialled = dial((&master.0, master.1), greeting.tls, greeting.login, greeting.deadline).await?;
    let server = format!("{}:{}", master.0, master.1);
    let role: Vec<redis::Value> = redis::cmd("ROLE")
        .query_async(&mut dialled.connection)
        .await
        .map_err(|error| StoreError::of(&error, &server, "ROLE", greeting.deadline))?;
    match role.into_iter().next().map(redis::from_redis_value::<String>) {
        Some(Ok(role)) if role == "master" => Ok(master),
        _ => Err(StoreError::Unreachable { servers: server, why: "it is not the master yet".to_owned() }),
    }
}

/// Sentinels often have no password where the servers have one: without first, with it where one is asked for.
async fn greet_sentinel(address: (&str, u16), greeting: &Greeting<'_>) -> Result<Dialled, StoreError> {
    let anonymous = RedisConnectionInfo::default().set_protocol(greeting.login.protocol()).set_skip_set_lib_name();
    match dial(address, greeting.tls, &anonymous, greeting.deadline).await {
        Err(StoreError::NotAuthenticated { .. }) => {
            let login = greeting.login.clone().set_db(0);
            dial(address, greeting.tls, &login, greeting.deadline).await
        }
        answer => answer,
    }
}
