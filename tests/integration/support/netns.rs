//! Hosts with addresses of their own, on a private switch: network namespaces, made and removed with `ip netns`.
//!
//! Nothing is made in the network this machine is in: the bridge, too, lives in a namespace, so no packet leaves, addresses
//! cannot collide, and removing the namespaces removes everything. Names hold the process id; what a killed run left
//! behind is removed by the next. A program on a host also has its own `/etc`, `/run`, `/var/lib` and `/var/log` (bind mounts
//! in a mount namespace), so that shipped configurations and commands run with the paths they name.
//!
//! Needs root. Without it the tests say so, and with `CI=true` they fail.

use super::missing;
use super::process::Process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What each name of a namespace of ours begins with; the process id follows.
const PREFIX: &str = "countersign-test-";

/// Hosts on one switch; gone when dropped.
pub(crate) struct Network {
    names: Names,
    hosts: Vec<Host>,
    _directory: tempfile::TempDir,
}

/// One host. Its processes end with the [`Process`]es that [`Host::start`] gives.
pub(crate) struct Host {
    namespace: String,
    pub(crate) address: Ipv4Addr,
    root: PathBuf,
}

/// The namespaces made so far: removed on drop, so also when making one fails.
struct Names {
    prefix: String,
    made: Vec<String>,
}

impl Network {
    /// A switch with these hosts. `None` (and a word about it) when this machine does not allow it.
    pub(crate) fn of(addresses: &[Ipv4Addr]) -> Option<Network> {
        if !rustix::process::geteuid().is_root() {
            missing("root, for network namespaces,");
            return None;
        }
        for tool in ["ip", "nsenter", "unshare", "mount"] {
            if !["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists()) {
                missing(tool);
                return None;
            }
        }
        static MADE: AtomicUsize = AtomicUsize::new(0);
        remove_left_behind();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut names = Names { prefix: format!("{PREFIX}{}-{number}-", std::process::id()), made: Vec::new() };
        let directory = tempfile::Builder::new().prefix("countersign-hosts-").tempdir().unwrap();
        let switch = names.make("switch");
        ip(&["-n", &switch, "link", "add", "bridge0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "bridge0", "up"]);
        let hosts = addresses
            .iter()
            .map(|&address| {
                let last = address.octets()[3].to_string();
                let namespace = names.make(&last);
                let port = format!("port{last}");
                ip(&["-n", &namespace, "link", "set", "lo", "up"]);
                ip(&[
                    "-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch,
                ]);
                ip(&["-n", &switch, "link", "set", &port, "master", "bridge0", "up"]);
                ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
                ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
                Host { namespace, address, root: own_root(&directory.path().join(last)) }
            })
            .collect();
        Some(Network { names, hosts, _directory: directory })
    }

    /// The host whose address ends so.
    #[track_caller]
    pub(crate) fn host(&self, last: u8) -> &Host {
        let found = self.hosts.iter().find(|host| host.address.octets()[3] == last);
        found.unwrap_or_else(|| panic!("{} has no host .{last}", self.names.prefix))
    }
}

impl Host {
    /// Where this path of the host is, for the test to write and read. Only `/etc`, `/run`, `/var/lib` and `/var/log` are its
    /// own.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The same command, on this host.
    pub(crate) fn command(&self, command: &Command) -> Command {
        let mut on_host = Command::new("nsenter");
        on_host.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--");
        on_host.args(["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", MOUNT_AND_EXEC]);
        on_host.arg(&self.root).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => on_host.env(name, value),
                None => on_host.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            on_host.current_dir(directory);
        }
        on_host
    }

    /// Starts it there.
    #[track_caller]
    pub(crate) fn start(&self, command: &Command) -> Process {
        Process::start(&self.command(command))
    }

    /// Runs it there to its end, whatever that is.
    #[track_caller]
    pub(crate) fn output(&self, command: &Command) -> Output {
        self.command(command).output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    /// Runs it there; it must succeed. Gives what it printed.
    #[track_caller]
    pub(crate) fn run(&self, command: &Command) -> String {
        let output = self.output(command);
        assert!(
            output.status.success(),
            "{command:?} on {} ended with {}:\n{}{}",
            self.address,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does something of this process in the host's network, on a thread of its own: sockets opened there belong to it.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(Path::new("/run/netns").join(&self.namespace)).unwrap();
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// `$0` is the host's root.
const MOUNT_AND_EXEC: &str =
    r#"for own in etc run var/lib var/log; do mount --bind "$0/$own" "/$own"; done; exec "$@""#;

/// Directories for what a host has of its own; of `/etc` only what programs need to start.
fn own_root(root: &Path) -> PathBuf {
    for own in ["etc", "run", "var/lib", "var/log"] {
        fs::create_dir_all(root.join(own)).unwrap();
    }
    for file in ["passwd", "group", "nsswitch.conf", "ld.so.cache", "localtime"] {
        // Not every machine has each of them.
        let _ = fs::copy(Path::new("/etc").join(file), root.join("etc").join(file));
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    root.to_owned()
}

impl Names {
    fn make(&mut self, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        ip(&["netns", "add", &name]);
        self.made.push(name.clone());
        name
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.made {
            // Whatever is in it ends with its process.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Namespaces of runs that were killed.
fn remove_left_behind() {
    let Ok(present) = fs::read_dir("/run/netns") else { return };
    for name in present.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn hosts_reach_each_other_and_nothing_else_and_leave_nothing_behind() {
    let (one, other) = (Ipv4Addr::new(172, 16, 168, 20), Ipv4Addr::new(172, 16, 168, 66));
    let Some(network) = Network::of(&[one, other]) else { return };
    let listener = network.host(20).inside(|| std::net::TcpListener::bind((one, 8001)).unwrap());
    let peer = network.host(66).inside(|| {
        let stream = std::net::TcpStream::connect((one, 8001)).unwrap();
        assert!(std::net::TcpStream::connect((other, 8001)).is_err(), "that is the other host's listener");
        let outside = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
        let error = std::net::TcpStream::connect_timeout(&outside, super::DEADLINE).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        stream.local_addr().unwrap().ip()
    });
    assert_eq!(listener.accept().unwrap().1.ip(), peer);
    assert_eq!(peer, other);
    fs::write(network.host(20).path("/etc/of-this-host"), "own").unwrap();
    let mut cat = Command::new("cat");
    cat.arg("/etc/of-this-host");
    assert_eq!(network.host(20).run(&cat), "own");
    assert!(!network.host(66).output(&cat).status.success());
    assert!(!Path::new("/etc/of-this-host").exists());
    let made = network.names.made.clone();
    assert!(made.iter().all(|name| Path::new("/run/netns").join(name).exists()));
    drop(network);
    assert!(made.iter().all(|name| !Path::new("/run/netns").join(name).exists()));
}
