//! Real Redis servers on free ports: plain, with passwords, TLS, three sentinels, a cluster of six nodes.

use super::process::Process;
use super::{eventually, free_address, missing};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The TTL that the fleet gives its keys, in seconds.
pub(crate) const FLEET_TTL: u64 = 7_776_000;

/// A running redis-server; killed on drop.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    arguments: Vec<String>,
    /// What `redis-cli` needs to be let in.
    login: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// One without password; `None` where there is no redis-server.
    pub(crate) fn start() -> Option<Redis> {
        Redis::start_with(&[], &[])
    }

    /// One with these arguments; `login`: those of `redis-cli` for its administrator.
    pub(crate) fn start_with(arguments: &[&str], login: &[&str]) -> Option<Redis> {
        let mut redis = Redis::prepared(arguments, login)?;
        redis.start_again();
        Some(redis)
    }

    fn prepared(arguments: &[&str], login: &[&str]) -> Option<Redis> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            missing("redis-server");
            return None;
        }
        Some(Redis {
            address: free_address(),
            directory: tempfile::Builder::new().prefix("countersign-redis-").tempdir().unwrap(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            login: login.iter().map(ToString::to_string).collect(),
            process: None,
        })
    }

    /// One whose arguments name the port.
    pub(crate) fn start_tls(arguments: &[&str], login: &[&str], port: &str) -> Option<Redis> {
        let mut redis = Redis::prepared(arguments, login)?;
        redis.address.set_port(port.parse().unwrap());
        redis.start_again();
        Some(redis)
    }

    /// After [`Redis::stop`], at the same address; empty, as nothing is saved.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(self.directory.path());
        if !self.arguments.iter().any(|argument| argument == "--port") {
            command.args(["--port", &self.address.port().to_string()]);
        }
        command.args(&self.arguments);
        self.process = Some(Process::start(&command));
        eventually(&format!("redis at {} to answer", self.address), || {
            let process = self.process.as_mut()?;
            if let Some(status) = process.ended() {
                panic!("redis-server ended with {status}: {}", process.stdout.text());
            }
            (self.try_cli(&["PING"]).trim() == "PONG").then_some(())
        });
    }

    /// Gone, as after `kill -9`.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// `STOP`: it still holds its connections and takes new ones, and answers nothing. `CONT` ends that.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    /// The URL that the configuration takes.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// One command as its administrator; what it answered.
    #[track_caller]
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let answer = self.try_cli(command);
        for fault in ["ERR", "NOAUTH", "NOPERM", "WRONG", "READONLY", "Could not connect"] {
            assert!(!answer.starts_with(fault), "{command:?}: {answer}");
        }
        answer.trim().to_owned()
    }

    fn try_cli(&self, command: &[&str]) -> String {
        // One that hangs must not hang the test.
        let mut cli = Command::new("timeout");
        cli.args(["3", "redis-cli", "-h", "127.0.0.1", "-p", &self.address.port().to_string()]).args(&self.login);
        let output = cli.args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Writes a key as the fleet does.
    #[track_caller]
    pub(crate) fn put(&self, id: &str, key: &str) {
        self.cli(&["SET", &name(id), key, "EX", &FLEET_TTL.to_string()]);
    }

    #[track_caller]
    pub(crate) fn delete(&self, id: &str) {
        assert_eq!(self.cli(&["DEL", &name(id)]), "1", "there was a key of {id}");
    }

    /// How often each command was asked for since the last `CONFIG RESETSTAT`, by `INFO commandstats`.
    #[track_caller]
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]);
        let wanted = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.trim().strip_prefix(&wanted).map(ToOwned::to_owned));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }
}

/// Where the fleet keeps a key.
pub(crate) fn name(id: &str) -> String {
    format!("service:key:{id}")
}

/// A master, two replicas, three sentinels that watch it as `fleet`.
pub(crate) struct Sentinels {
    pub(crate) servers: Vec<Redis>,
    pub(crate) sentinels: Vec<Redis>,
}

impl Sentinels {
    pub(crate) fn start() -> Option<Sentinels> {
        let master = Redis::start()?;
        let port = master.address.port().to_string();
        let mut servers = vec![master];
        for _ in 0..2 {
            servers.push(Redis::start_with(
                &["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"],
                &[],
            )?);
        }
        let in_sync =
            || (servers[0].cli(&["INFO", "replication"]).matches("state=online").count() == 2).then_some(());
        eventually("both replicas to follow the master", in_sync);
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let address = free_address();
            let directory = tempfile::Builder::new().prefix("countersign-sentinel-").tempdir().unwrap();
            let config = directory.path().join("sentinel.conf");
            let text = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor fleet 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 3000\n",
                address.port(),
                directory.path().display()
            );
            std::fs::write(&config, text).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&config).arg("--sentinel");
            let process = Some(Process::start(&command));
            sentinels.push(Redis { address, directory, arguments: Vec::new(), login: Vec::new(), process });
        }
        let all = Sentinels { servers, sentinels };
        eventually("the sentinels to know each other and the replicas", || {
            all.sentinels
                .iter()
                .all(|sentinel| {
                    let known = sentinel.try_cli(&["INFO", "sentinel"]);
                    known.contains("status=ok") && known.contains("slaves=2") && known.contains("sentinels=3")
                })
                .then_some(())
        });
        Some(all)
    }

    pub(crate) fn url(&self) -> String {
        let list: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        format!("redis+sentinel://{}/fleet/0", list.join(","))
    }

    /// The server that the sentinels name now.
    pub(crate) fn master(&self) -> Option<&Redis> {
        let named = self.sentinels[0].try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "fleet"]);
        let port: u16 = named.lines().nth(1)?.trim().parse().ok()?;
        self.servers.iter().find(|server| server.address.port() == port)
    }
}

/// Three masters with a replica each.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Option<Cluster> {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = free_address().port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
                "--repl-diskless-sync-delay",
                "0",
            ];
            nodes.push(Redis::start_with(&arguments, &[])?);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.address.to_string()));
        let output = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        let cluster = Cluster { nodes };
        eventually("the cluster to be whole", || {
            let whole = |node: &Redis| {
                let masters = node.try_cli(&["CLUSTER", "NODES"]);
                let replication = node.try_cli(&["INFO", "replication"]);
                node.try_cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && (replication.contains("state=online") || replication.contains("master_link_status:up"))
                    && masters.matches("slave").count() == 3
            };
            cluster.nodes.iter().all(whole).then_some(())
        });
        Some(cluster)
    }

    pub(crate) fn url(&self) -> String {
        let list: Vec<_> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        format!("redis+cluster://{}", list.join(","))
    }

    /// One command to whichever node has the key.
    #[track_caller]
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let running = self.nodes.iter().find(|node| node.process.is_some()).unwrap();
        running.cli(&[&["-c"], command].concat())
    }

    /// The same, whatever comes of it.
    pub(crate) fn try_cli(&self, command: &[&str]) -> String {
        let running = self.nodes.iter().find(|node| node.process.is_some()).unwrap();
        running.try_cli(&[&["-c"], command].concat()).trim().to_owned()
    }

    pub(crate) fn put(&self, id: &str, key: &str) {
        self.cli(&["SET", &name(id), key, "EX", &FLEET_TTL.to_string()]);
    }

    /// The node that has the key of this service now.
    pub(crate) fn holder(&mut self, id: &str) -> &mut Redis {
        let slot = self.cli(&["CLUSTER", "KEYSLOT", &name(id)]).parse::<u64>().unwrap();
        let holds = |node: &Redis| {
            let nodes = node.try_cli(&["CLUSTER", "NODES"]);
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default().to_owned();
            own.split(' ').skip(8).any(|range| {
                let (from, to) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
                from.parse::<u64>().is_ok_and(|from| from <= slot) && to.parse::<u64>().is_ok_and(|to| slot <= to)
            })
        };
        self.nodes.iter_mut().find(|node| node.process.is_some() && holds(node)).unwrap()
    }
}

/// Certificates: a CA, a server's for 127.0.0.1 and `redis.internal`, a client's; PEM files in this directory.
pub(crate) fn certificates(directory: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use std::os::unix::fs::PermissionsExt;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    };
    for authority in ["ca", "other-ca"] {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("test {authority}"));
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write(&format!("{authority}.pem"), &ca.pem());
        if authority == "ca" {
            for (name, names) in [("server", vec!["127.0.0.1", "redis.internal"]), ("client", vec!["npu-worker"])] {
                let key = KeyPair::generate().unwrap();
                let names = names.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>();
                let mut params = CertificateParams::new(names).unwrap();
                params.distinguished_name.push(rcgen::DnType::CommonName, name);
                let certificate = params.signed_by(&key, &ca).unwrap();
                write(&format!("{name}.pem"), &certificate.pem());
                write(&format!("{name}.key"), &key.serialize_pem());
            }
        }
    }
}

/// Five times what is promised: a shared machine may be slow, a broken promise is slower.
pub(crate) fn within(promise: Duration, what: &str, mut ask: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !ask() {
        assert!(began.elapsed() < promise * 5, "{what}: promised within {promise:?}, waited five times that");
        std::thread::sleep(Duration::from_millis(5));
    }
}
