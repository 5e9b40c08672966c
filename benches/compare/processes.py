"""What runs, and what it costs: processes pinned to a CPU, their time and memory from /proc, the machine's own load."""

import atexit
import itertools
import os
import random
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
running = []


class Failure(Exception):
    """Something that is no fault of ours, told in one sentence."""


def raise_descriptor_limit():
    """As many descriptors as we may have; the programs we start inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# Below those that the kernel gives to outgoing connections: the load takes thousands of them. The order is another in each
# run, for runs beside each other.
PORTS = range(15_000, 32_000)
next_ports = itertools.cycle(random.sample(PORTS, len(PORTS)))


def free_port():
    """A port nobody listens on, and not one that this run was given lately: who was, may not listen yet."""
    for port in itertools.islice(next_ports, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failure(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def set_of(cpu):
    return cpu if isinstance(cpu, set) else {cpu}


class Program:
    """A program in a process group of its own, on one CPU (or some); its output goes to a file. Ends with us."""

    def __init__(self, name, command, cpu, directory, realtime=False, environment=None, stdout=None):
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        self.realtime = False

        def prepare():
            os.sched_setaffinity(0, set_of(cpu))
            if realtime:
                try:
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
                except PermissionError:
                    pass

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                env=clean_environment() | (environment or {}),
                start_new_session=True,
                preexec_fn=prepare,
            )
        running.append(self)

    def wait_for_port(self, port, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise Failure(f"{self.name} does not listen after {seconds} s: {self.last_words()}")
        self.realtime = os.sched_getscheduler(self.process.pid) == os.SCHED_FIFO
        return self

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-5:]) or "it said nothing"

    def tree(self):
        """The process and all below it."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = stat_fields(int(entry))
                if fields:
                    children.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(children.get(pid, []))
        return found

    def serving(self):
        """The processes that serve: those without children. nginx's master only starts its workers."""
        parents = {int(fields[1]) for pid in self.tree() if (fields := stat_fields(pid))}
        return [pid for pid in self.tree() if pid not in parents]

    def move_to(self, cpu):
        for pid in self.tree():
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), set_of(cpu))

    def stop(self):
        if self in running:
            running.remove(self)
        if self.process.poll() is None:
            for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
                try:
                    os.killpg(self.process.pid, number)
                    self.process.wait(patience)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    break


@atexit.register
def stop_all():
    for program in list(running):
        program.stop()


def clean_environment():
    """Ours, without the variables that steer a sidecar."""
    steering = ("SERVICE_", "AUTH_", "BACKEND_", "REDIS_", "COUNTERSIGN_", "NOTIFY_", "LISTEN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}


def stat_fields(pid):
    """/proc/PID/stat from the state on, or nothing when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(pids):
    """(user, system) seconds that these processes have used so far."""
    user = system = 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields:
            user += int(fields[11])
            system += int(fields[12])
    return user / TICKS, system / TICKS


def machine_seconds():
    """Seconds of CPU the whole machine has used, and what its host has taken away."""
    fields = [int(field) / TICKS for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return user + nice + system + irq + softirq + steal


def own_seconds():
    """Our own seconds, with those of children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def resident_kib(pids):
    return sum(status_kib(pid, "VmRSS") for pid in pids)


def status_kib(pid, name):
    """A field of /proc/PID/status in KiB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
