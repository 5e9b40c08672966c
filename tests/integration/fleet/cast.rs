//! The cast: six VMs with their addresses, Redis on .23, four sidecars with the shipped configurations, the services behind
//! them, and a stranger on the same wire.

use super::super::support::netns::{Host, Network};
use super::super::support::process::Process;
use super::super::support::python::{interpreter, scripts};
use super::super::support::raw::{Answer, Client};
use super::super::support::sidecar::countersign;
use super::super::support::{eventually, missing};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every VM of the fleet, and the stranger.
pub(super) const HOSTS: [u8; 7] = [20, 21, 22, 23, 24, 25, STRANGER];
/// The neighbour that is no part of the fleet.
pub(super) const STRANGER: u8 = 66;
/// Who has a key.
pub(super) const SERVICES: [&str; 6] =
    ["main-backend", "frontend", "npu-worker", "redis-stack", "ai-stack", "browser-service"];
/// The group sidecars run as: by it a redirecting VM tells their connections from everybody else's.
pub(super) const SIDECAR_GROUP: u32 = 990;
/// Obviously no real password.
pub(super) const REDIS_PASSWORD: &str = "not-a-real-password";

/// A VM with a sidecar: its service, the port it is known by, the port behind the sidecar.
pub(super) struct Vm {
    pub(super) last: u8,
    pub(super) id: &'static str,
    pub(super) port: u16,
    pub(super) behind: u16,
}

pub(super) static VMS: [Vm; 4] = [
    Vm { last: 20, id: "main-backend", port: 8001, behind: 18001 },
    Vm { last: 22, id: "npu-worker", port: 8081, behind: 18081 },
    Vm { last: 24, id: "ai-stack", port: 8080, behind: 18080 },
    Vm { last: 25, id: "browser-service", port: 3000, behind: 13000 },
];

/// What Redis is on .23.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Servers {
    /// One, as the shipped configurations name it.
    One,
    /// A master and a replica, and three sentinels who watch them. One line of the configurations is another.
    Watched,
}

/// The running fleet. Processes end before the network goes.
pub(super) struct Fleet {
    pub(super) vms: &'static [Vm],
    servers: Servers,
    sidecars: Vec<Process>,
    _services: Vec<Process>,
    _watchers: Vec<Process>,
    /// The one that is the master at first.
    pub(super) redis: Option<Process>,
    network: Network,
    python: PathBuf,
}

/// Where the replica and the sentinels listen.
pub(super) const REPLICA: u16 = 6380;
const SENTINELS: [u16; 3] = [26379, 26380, 26381];

/// The address of a host.
pub(super) const fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 168, last)
}

/// An address of a host.
pub(super) fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((ip(last), port))
}

/// On the host itself.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Fleet {
    /// Starts everything and waits until it is ready; `None` where this machine cannot.
    pub(super) fn start(vms: &'static [Vm], servers: Servers) -> Option<Fleet> {
        let python = interpreter()?;
        for program in ["/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/bin/redis-sentinel", "/usr/sbin/nft"] {
            if !Path::new(program).exists() {
                missing(program);
                return None;
            }
        }
        let network = Network::of(&HOSTS.map(ip))?;
        let mut fleet = Fleet {
            vms,
            servers,
            sidecars: Vec::new(),
            _services: Vec::new(),
            _watchers: Vec::new(),
            redis: None,
            network,
            python,
        };
        fleet.start_redis();
        if servers == Servers::Watched {
            fleet.watch_redis();
        }
        fleet._services = vms.iter().map(|vm| fleet.service(vm)).collect();
        for vm in vms {
            fleet.prepare(vm);
        }
        fleet.run(20, &[&["keys", "generate"][..], &SERVICES].concat());
        for vm in vms {
            assert_eq!(fleet.json(vm.last, &["check"])["ok"], true);
        }
        fleet.sidecars = vms.iter().map(|vm| fleet.host(vm.last).start(&fleet.sidecar())).collect();
        (0..vms.len()).for_each(|place| fleet.wait_until_ready(place));
        Some(fleet)
    }

    fn wait_until_ready(&mut self, place: usize) {
        let (last, host) = (self.vms[place].last, self.network.host(self.vms[place].last));
        let sidecar = &mut self.sidecars[place];
        eventually(&format!("the sidecar of .{last} to be ready"), || {
            if let Some(status) = sidecar.ended() {
                panic!("the sidecar of .{last} ended with {status}:\n{}", sidecar.stderr.text());
            }
            let answer = host.inside(|| request(local(9180), "GET /readyz", "", ""))?;
            (answer.status == 200).then_some(())
        });
    }

    /// Kills a VM's sidecar as no crash could be harder, and starts it anew, with these variables beside the usual ones.
    pub(super) fn restart(&mut self, last: u8, variables: &[(&str, &str)]) {
        let place = self.vms.iter().position(|vm| vm.last == last).unwrap();
        self.sidecars[place].signal("KILL");
        self.sidecars[place].wait();
        let mut command = self.sidecar();
        command.envs(variables.iter().copied());
        self.sidecars[place] = self.host(last).start(&command);
        self.wait_until_ready(place);
    }

    pub(super) fn host(&self, last: u8) -> &Host {
        self.network.host(last)
    }

    /// (Re)starts Redis with what it had on disk.
    pub(super) fn start_redis(&mut self) {
        self.redis = Some(self.server(6379, &[]));
        eventually("Redis to answer", || (self.redis(&["PING"]) == "PONG").then_some(()));
    }

    fn server(&self, port: u16, further: &[&str]) -> Process {
        let (host, data) = (self.host(23), format!("/var/lib/redis-{port}"));
        fs::create_dir_all(host.path(&data)).unwrap();
        let mut command = Command::new("/usr/bin/redis-server");
        command.args(["--bind", &ip(23).to_string(), "--port", &port.to_string(), "--dir", &data]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--requirepass", REDIS_PASSWORD, "--masterauth", REDIS_PASSWORD]).args(further);
        host.start(&command)
    }

    /// A replica, and sentinels who make it the master a second after the master is gone.
    fn watch_redis(&mut self) {
        let master = ip(23).to_string();
        let mut watchers = vec![self.server(REPLICA, &["--replicaof", &master, "6379"])];
        let host = self.host(23);
        for port in SENTINELS {
            let file = format!("/etc/sentinel-{port}.conf");
            let settings = format!(
                "port {port}\nbind {master}\nrequirepass {REDIS_PASSWORD}\ndir /var/lib\n\
                 sentinel monitor fleet {master} 6379 2\nsentinel auth-pass fleet {REDIS_PASSWORD}\n\
                 sentinel sentinel-pass {REDIS_PASSWORD}\n\
                 sentinel down-after-milliseconds fleet 1000\nsentinel failover-timeout fleet 2000\n"
            );
            fs::write(host.path(&file), settings).unwrap();
            let mut command = Command::new("/usr/bin/redis-sentinel");
            command.arg(&file);
            watchers.push(host.start(&command));
        }
        self._watchers = watchers;
        for port in SENTINELS {
            eventually("the sentinels to know each other and the replica", || {
                let known = self.redis_at(port, &["SENTINEL", "MASTER", "fleet"]);
                let values: Vec<_> = known.lines().collect();
                let is = |name, value| values.windows(2).any(|pair| pair == [name, value]);
                (is("num-other-sentinels", "2") && is("num-slaves", "1")).then_some(())
            });
        }
    }

    /// What Redis answers to each of these commands, a line each; all in one go, because starting a program takes its time.
    pub(super) fn redis_each(&self, commands: &[String]) -> Vec<String> {
        let mut command = Command::new("sh");
        command.env("REDISCLI_AUTH", REDIS_PASSWORD).args(["-c", "printf '%s\\n' \"$@\" | redis-cli -h \"$0\""]);
        command.arg(ip(23).to_string()).args(commands);
        self.host(23).run(&command).lines().map(str::to_owned).collect()
    }

    /// What Redis answers to a command, asked on its own host; empty while it cannot be reached.
    pub(super) fn redis(&self, arguments: &[&str]) -> String {
        self.redis_at(6379, arguments)
    }

    /// The same for the one at this port.
    pub(super) fn redis_at(&self, port: u16, arguments: &[&str]) -> String {
        let mut command = Command::new("/usr/bin/redis-cli");
        command.env("REDISCLI_AUTH", REDIS_PASSWORD).args(["-h", &ip(23).to_string(), "-p", &port.to_string()]);
        command.args(arguments);
        String::from_utf8_lossy(&self.host(23).output(&command).stdout).trim().to_owned()
    }

    /// The unchanged service of a VM, behind its sidecar.
    fn service(&self, vm: &Vm) -> Process {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "uvicorn", "fleet:app", "--no-access-log", "--lifespan", "off", "--host", "127.0.0.1"])
            .args(["--port", &vm.behind.to_string()])
            .arg("--app-dir")
            .arg(scripts().join("apps"));
        self.host(vm.last).start(&command)
    }

    /// Puts the shipped configuration where it belongs, and the directories it names.
    fn prepare(&self, vm: &Vm) {
        let host = self.host(vm.last);
        for (path, mode) in [
            ("/etc/countersign", 0o755),
            ("/etc/countersign/keys", 0o700),
            ("/etc/countersign/rules.d", 0o755),
            ("/var/lib/countersign", 0o700),
            ("/var/log/countersign", 0o700),
            ("/run/countersign", 0o700),
        ] {
            fs::DirBuilder::new().mode(mode).create(host.path(path)).unwrap();
        }
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fleet");
        let mut text = fs::read_to_string(shipped.join(format!("vm{}-{}.toml", vm.last, vm.id))).unwrap();
        if self.servers == Servers::Watched {
            let sentinels = SENTINELS.map(|port| at(23, port).to_string()).join(",");
            let one = format!("\nredis = \"redis://{}:6379/0\"", ip(23));
            assert_eq!(text.matches(&one).count(), 1, "{text}");
            text = text.replace(&one, &format!("\nredis = \"redis+sentinel://{sentinels}/fleet/0\""));
        }
        fs::write(host.path("/etc/countersign/countersign.toml"), text).unwrap();
        // As the README beside them says: rules of VM 20 are for VM 20.
        for entry in fs::read_dir(shipped.join("rules.d")).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            if vm.last == 20 || name != "main-backend.toml" {
                fs::copy(path, host.path("/etc/countersign/rules.d").join(name)).unwrap();
            }
        }
    }

    /// A command of the program under test, with what the fleet's `.env` files say: enforce, and the password of Redis.
    pub(super) fn countersign(&self, arguments: &[&str]) -> Command {
        let mut command = countersign();
        command.env("SERVICE_AUTH_ENFORCEMENT_MODE", "true").env("REDIS_PASSWORD", REDIS_PASSWORD).args(arguments);
        command
    }

    /// What runs beside a service: in a group of its own.
    fn sidecar(&self) -> Command {
        let run = self.countersign(&["run"]);
        let mut command = Command::new("setpriv");
        command.args(["--regid", &SIDECAR_GROUP.to_string(), "--clear-groups", "--"]);
        command.arg(run.get_program()).args(run.get_args());
        for (name, value) in run.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs it on a VM, to its end; it must succeed.
    #[track_caller]
    pub(super) fn run(&self, last: u8, arguments: &[&str]) -> String {
        self.host(last).run(&self.countersign(arguments))
    }

    /// The same with `--json`.
    #[track_caller]
    pub(super) fn json(&self, last: u8, arguments: &[&str]) -> Value {
        let text = self.run(last, &[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Starts one of the unmodified programs of `tests/python/fleet` on a VM, with these variables.
    pub(super) fn program(&self, last: u8, name: &str, variables: &[(&str, &str)]) -> Program {
        let mut command = Command::new(&self.python);
        command.arg(scripts().join("fleet").join(format!("{name}.py")));
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        // Names files of this machine's /etc, which the VM has not.
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").env_remove("REQUESTS_CA_BUNDLE");
        for (name, value) in variables {
            command.env(name, value);
        }
        Program { name: name.to_owned(), process: self.host(last).start(&command) }
    }

    /// What ran in the service of a VM: asked behind the sidecar.
    pub(super) fn seen(&self, vm: &Vm) -> Vec<Value> {
        let host = self.host(vm.last);
        let answer = host.inside(|| request(local(vm.behind), "GET /__seen", "", "")).unwrap();
        answer.json().as_array().unwrap().clone()
    }

    /// A metric of a VM's sidecar: the sum of its series, by its own word.
    pub(super) fn metric(&self, last: u8, name: &str) -> Option<f64> {
        self.metric_of(last, name, "")
    }

    /// The same of the series with this label.
    pub(super) fn metric_of(&self, last: u8, name: &str, label: &str) -> Option<f64> {
        let text = self.host(last).inside(|| request(local(9180), "GET /metrics", "", ""))?.text();
        let is = |line: &&str| line.split([' ', '{']).next() == Some(name) && line.contains(label);
        let mut series = text.lines().filter(is).peekable();
        series.peek()?;
        Some(series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum())
    }

    /// Every audit record so far of a VM's sidecar that holds this text: parsing all of them takes its time.
    pub(super) fn audit(&self, last: u8, text: &str) -> Vec<Value> {
        let file = self.host(last).path("/var/log/countersign/audit.jsonl");
        let lines = fs::read_to_string(file).unwrap_or_default();
        lines.lines().filter(|line| line.contains(text)).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// One of the fleet's programs, at its work.
pub(super) struct Program {
    pub(super) name: String,
    process: Process,
}

impl Program {
    /// What it told last: calls so far, and what failed.
    fn told(&self) -> Option<Value> {
        serde_json::from_str(self.process.stdout.text().lines().last()?).ok()
    }

    pub(super) fn calls(&self) -> u64 {
        self.told().map_or(0, |told| told["calls"].as_u64().unwrap())
    }

    /// Waits until it has made this many more calls.
    #[track_caller]
    pub(super) fn goes_on(&mut self, calls: u64) {
        let from = self.calls();
        eventually(&format!("{} to make {calls} calls", self.name), || {
            if let Some(status) = self.process.ended() {
                panic!("{} ended with {status}: {}", self.name, self.process.stderr.text());
            }
            (self.calls() >= from + calls).then_some(())
        });
    }

    /// Every call so far was answered 200.
    #[track_caller]
    pub(super) fn assert_nothing_failed(&self) {
        let told = self.told().unwrap_or_default();
        assert_eq!(told["failed"], 0, "{}: {told}", self.name);
    }

    /// Asks it to end, and waits; gives the number of its calls, of which none may have failed.
    #[track_caller]
    pub(super) fn finish(mut self) -> u64 {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert!(status.success(), "{} ended with {status}: {}", self.name, self.process.stderr.text());
        eventually("its last word", || self.told().filter(|told| told["over"] == true));
        self.assert_nothing_failed();
        self.calls()
    }
}

/// A request on a connection of its own, from the network this thread is in; `None`: nothing answers there.
pub(super) fn request(address: SocketAddr, line: &str, fields: &str, body: &str) -> Option<Answer> {
    let mut client = Client::try_connect(address)?;
    let (method, target) = line.split_once(' ').unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}{length}\r\n{body}"
    ));
    client.try_answer(method).ok()
}
