//! [`Link`]: one connection to wherever the master is now, or one to each node of a cluster.
//!
//! The crate's own `ConnectionManager` goes on dialling the address it was made with, so it stays with a dead master
//! after a Sentinel failover. So a connection here is made once and used until it fails; the next one asks the sentinels
//! again. A cluster's connection follows its nodes by itself.
//!
//! Everything is within a deadline: the sentinels, the connection, TLS, the greeting, each answer.

use super::tls::{self, TlsFault};
use super::{StoreError, sentinel};
use crate::config::{ClientTls, Redis, RedisPassword, RedisServers};
use crate::keys::secret_file::SecretReader;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, RedisConnectionInfo, RedisError,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

/// Connections that were made. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    to: To,
    /// The configured servers, for messages.
    servers: Arc<str>,
    deadline: Duration,
}

#[derive(Clone)]
enum To {
    One(
        MultiplexedConnection,
        #[expect(dead_code, reason = "ends the connection's task with the last clone")] Arc<Driver>,
    ),
    Cluster(ClusterConnection),
}

/// The task that moves a connection's bytes; it ends with the last user.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where pushed messages go.
pub(super) type Pushes = UnboundedSender<PushInfo>;

impl Link {
    /// A new connection, asking anew who the master is.
    pub(super) async fn make(
        settings: &Redis,
        deadline: Duration,
        pushes: Option<Pushes>,
    ) -> Result<Link, StoreError> {
        let servers: Arc<str> = describe(settings).into();
        let making = async {
            let login = login(settings)?;
            let to = match &settings.servers {
                RedisServers::Single(address) => {
                    one(address, settings.tls.as_ref(), &login, deadline, pushes).await?
                }
                RedisServers::Sentinel { master, sentinels } => {
                    let greeting = sentinel::Greeting { tls: settings.tls.as_ref(), login: &login, deadline };
                    let master = sentinel::master(sentinels, master, &greeting).await?;
                    one(&master, settings.tls.as_ref(), &login, deadline, pushes).await?
                }
                RedisServers::Cluster(nodes) => cluster(nodes, settings, &login, deadline, pushes).await?,
            };
            Ok(Link { to, servers: Arc::clone(&servers), deadline })
        };
        // Sentinels, connection, greeting: each has its own deadline; this bounds their sum.
        match tokio::time::timeout(deadline * 3, making).await {
            Ok(made) => made,
            Err(_) => Err(StoreError::TimedOut {
                servers: servers.to_string(),
                command: "the connection",
                milliseconds: (deadline * 3).as_millis(),
            }),
        }
    }

    /// One command. `name` is what messages call it.
    pub(super) async fn query<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, StoreError> {
        let asked = async {
            match self.to.clone() {
                To::One(mut connection, _) => command.query_async(&mut connection).await,
                To::Cluster(mut connection) => command.query_async(&mut connection).await,
            }
        };
        self.bounded(name, asked).await
    }

    /// Several commands of one slot, in one step.
    pub(super) async fn transaction<T: FromRedisValue>(
        &self,
        name: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let asked = async {
            match self.to.clone() {
                To::One(mut connection, _) => pipeline.query_async(&mut connection).await,
                To::Cluster(mut connection) => pipeline.query_async(&mut connection).await,
            }
        };
        self.bounded(name, asked).await
    }

    /// Every name that matches, on every master; some twice, perhaps.
    pub(super) async fn scan(&self, pattern: &str, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut names = Vec::new();
        match &self.to {
            To::One(connection, _) => self.scan_node(connection, None, pattern, most, &mut names).await?,
            To::Cluster(connection) => {
                for node in self.masters().await? {
                    self.scan_node(connection, Some(node), pattern, most, &mut names).await?;
                }
            }
        }
        Ok(names)
    }

    async fn scan_node(
        &self,
        connection: &(impl Route + Clone),
        node: Option<(String, u16)>,
        pattern: &str,
        most: usize,
        names: &mut Vec<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut cursor = 0u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            let mut connection = connection.clone();
            let (next, found): (u64, Vec<Vec<u8>>) =
                self.bounded("SCAN", connection.route(command, node.clone())).await?;
            names.extend(found);
            if names.len() > most {
                return Err(StoreError::Settings(format!(
                    "redis at {} has more than {most} entries {pattern}: another database was meant, or something fills it",
                    self.servers
                )));
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The masters of a cluster, as any node names them.
    async fn masters(&self) -> Result<Vec<(String, u16)>, StoreError> {
        // Each: start, end, master [host, port, ...], replicas ...
        let slots: Vec<Vec<redis::Value>> = self.query("CLUSTER SLOTS", redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut masters = Vec::new();
        for range in slots {
            let Some(redis::Value::Array(master)) = range.into_iter().nth(2) else { continue };
            let mut fields = master.into_iter();
            let host = fields.next().and_then(|host| redis::from_redis_value::<String>(host).ok());
            let port = fields.next().and_then(|port| redis::from_redis_value::<u16>(port).ok());
            if let (Some(host), Some(port)) = (host, port)
                && !masters.contains(&(host.clone(), port))
            {
                masters.push((host, port));
            }
        }
        Ok(masters)
    }

    /// Published messages of this channel come to the pushes from now on.
    pub(super) async fn subscribe(&self, channel: &'static str) -> Result<(), StoreError> {
        let asked = async {
            match self.to.clone() {
                To::One(mut connection, _) => connection.subscribe(channel).await,
                To::Cluster(mut connection) => connection.subscribe(channel).await,
            }
        };
        self.bounded("SUBSCRIBE", asked).await
    }

    /// Is it a cluster? What holds for one connection does not reach all of its nodes.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.to, To::Cluster(_))
    }

    async fn bounded<T>(
        &self,
        command: &'static str,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(answer) => answer.map_err(|error| StoreError::of(&error, &self.servers, command, self.deadline)),
            Err(_) => Err(StoreError::TimedOut {
                servers: self.servers.to_string(),
                command,
                milliseconds: self.deadline.as_millis(),
            }),
        }
    }
}

/// A command to one node of several, or to the only one.
trait Route {
    async fn route<T: FromRedisValue>(&mut self, command: Cmd, node: Option<(String, u16)>) -> Result<T, RedisError>;
}

impl Route for MultiplexedConnection {
    async fn route<T: FromRedisValue>(&mut self, command: Cmd, _: Option<(String, u16)>) -> Result<T, RedisError> {
        command.query_async(self).await
    }
}

impl Route for ClusterConnection {
    async fn route<T: FromRedisValue>(&mut self, command: Cmd, node: Option<(String, u16)>) -> Result<T, RedisError> {
        let Some((host, port)) = node else { return command.query_async(self).await };
        let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
        Ok(redis::from_redis_value(self.route_command(command, routing).await?)?)
    }
}

/// The configured servers in words, without user and password.
pub(super) fn describe(settings: &Redis) -> String {
    let list = |addresses: &[(String, u16)]| {
        addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ")
    };
    match &settings.servers {
        RedisServers::Single((host, port)) => format!("{host}:{port}"),
        RedisServers::Sentinel { sentinels, .. } => list(sentinels),
        RedisServers::Cluster(nodes) => list(nodes),
    }
}

/// Who we are to Redis. The password's file is read for each connection: a new one is taken up by itself.
fn login(settings: &Redis) -> Result<RedisConnectionInfo, StoreError> {
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        // Under a narrow ACL it would be one more thing to permit.
        .set_skip_set_lib_name()
        .set_db(settings.database);
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(password) = password(settings)? {
        login = login.set_password(&**password);
    }
    Ok(login)
}

fn password(settings: &Redis) -> Result<Option<Zeroizing<String>>, StoreError> {
    match &settings.password {
        None => Ok(None),
        Some(RedisPassword::Environment(text)) => Ok(Some((**text).clone())),
        Some(RedisPassword::File(path)) => {
            let text = SecretReader::of_process()
                .read(path)
                .map_err(|fault| StoreError::Settings(format!("{} (redis_password_file) {fault}", path.display())))?;
            Ok(Some(Zeroizing::new(text.trim_ascii_end().to_owned())))
        }
    }
}

async fn one(
    (host, port): &(String, u16),
    tls: Option<&ClientTls>,
    login: &RedisConnectionInfo,
    deadline: Duration,
    pushes: Option<Pushes>,
) -> Result<To, StoreError> {
    let (connection, driver) = greet((host, *port), tls, login, deadline, pushes).await?;
    Ok(To::One(connection, Arc::new(driver)))
}

/// Connects to one server and says who we are.
pub(super) async fn dial(
    address: (&str, u16),
    tls: Option<&ClientTls>,
    login: &RedisConnectionInfo,
    deadline: Duration,
) -> Result<Dialled, StoreError> {
    let (connection, driver) = greet(address, tls, login, deadline, None).await?;
    Ok(Dialled { connection, _driver: driver })
}

/// A connection for a question or two.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    _driver: Driver,
}

async fn greet(
    (host, port): (&str, u16),
    tls: Option<&ClientTls>,
    login: &RedisConnectionInfo,
    deadline: Duration,
    pushes: Option<Pushes>,
) -> Result<(MultiplexedConnection, Driver), StoreError> {
    let server = format!("{host}:{port}");
    let broken = |error: std::io::Error| StoreError::Unreachable { servers: server.clone(), why: error.to_string() };
    let late = |_| StoreError::TimedOut {
        servers: server.clone(),
        command: "the connection",
        milliseconds: deadline.as_millis(),
    };
    let greeting = async {
        let stream = TcpStream::connect((host, port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(deadline));
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let of = |error: RedisError| StoreError::of(&error, &server, "HELLO", deadline);
        match tls {
            None => {
                let (connection, task) =
                    MultiplexedConnection::new_with_config(login, stream, config).await.map_err(of)?;
                Ok((connection, Driver(tokio::spawn(task).abort_handle())))
            }
            Some(tls) => {
                let stream = tls::connect(tls, host, stream).await.map_err(|fault| match fault {
                    TlsFault::Settings(error) => error,
                    TlsFault::Handshake(error) => {
                        StoreError::Unreachable { servers: server.clone(), why: format!("TLS: {error}") }
                    }
                })?;
                let (connection, task) =
                    MultiplexedConnection::new_with_config(login, stream, config).await.map_err(of)?;
                Ok((connection, Driver(tokio::spawn(task).abort_handle())))
            }
        }
    };
    tokio::time::timeout(deadline, greeting).await.map_err(late)?
}

async fn cluster(
    nodes: &[(String, u16)],
    settings: &Redis,
    login: &RedisConnectionInfo,
    deadline: Duration,
    pushes: Option<Pushes>,
) -> Result<To, StoreError> {
    let servers = describe(settings);
    let of = |error: RedisError| StoreError::of(&error, &servers, "the connection", deadline);
    let mut infos = Vec::new();
    for (host, port) in nodes {
        let (host, port) = (host.clone(), *port);
        let address = match &settings.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        infos.push(address.into_connection_info().map_err(of)?.set_redis_settings(login.clone()));
    }
    let mut builder = ClusterClientBuilder::new(infos)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(deadline)
        .response_timeout(deadline)
        .retries(2);
    if let Some(tls) = &settings.tls {
        builder = builder.certs(tls::certificates(tls)?);
    }
    if let Some(pushes) = pushes {
        builder = builder.push_sender(pushes);
    }
    let client = builder.build().map_err(of)?;
    Ok(To::Cluster(client.get_async_connection().await.map_err(of)?))
}
