"""Redis for a measurement: a real server with the fleet's keys, and sidecars that take theirs from it."""

import re
import shutil
import subprocess

from contestants import KEY, SERVICE, Running, place
from processes import Failure, Program, clean_environment, free_port

OTHERS = ("main-backend", "frontend", "ai-stack", "redis-stack", "browser-service")

COMMON = """\
state_dir = "@DIR@/state"
workers = 1
[service]
id = "@ID@"
[keys]
redis = "redis://127.0.0.1:@REDIS@/0"
overlap = "1h"
[audit]
file = "@DIR@/audit/audit.jsonl"
[admin]
listen = "127.0.0.1:@ADMIN@"
"""
GUARD = """\
[inbound]
listen = "127.0.0.1:@PORT@"
upstream = "http://127.0.0.1:@BACKEND@"
[enforcement]
mode = "enforce"
percentage = 100
[[rule]]
name = "npu"
paths = ["/api/npu/results", "/api/npu/heartbeat", "/api/npu/status", "/api/npu/internal"]
access = "service"
callers = ["@ID@"]
"""
SIGNER = """\
[[outbound]]
listen = "127.0.0.1:@PORT@"
upstream = "http://127.0.0.1:@BACKEND@"
"""


class Redis:
    """A server on a port of its own that keeps nothing on disk."""

    def __init__(self, setting, cpu):
        self.server, self.client = shutil.which("redis-server"), shutil.which("redis-cli")
        if not self.server or not self.client:
            raise Failure("redis-server is missing (apt: redis-server)")
        self.port = free_port()
        directory = place(setting, "redis")
        command = [self.server, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        self.program = Program("redis", command, cpu, directory).wait_for_port(self.port)
        for service in (SERVICE, *OTHERS):
            key = KEY if service == SERVICE else service[0].encode().hex() * 32
            self.ask("SET", f"service:key:{service}", key, "EX", "7776000")

    def ask(self, *command):
        done = subprocess.run(
            [self.client, "-p", str(self.port), *command], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    def commands(self):
        """Calls so far, by command; our own questions are left out."""
        calls = re.findall(r"cmdstat_(\S+?):calls=(\d+)", self.ask("INFO", "commandstats"))
        return {name: int(count) for name, count in calls if name != "info"}


def start_sidecar(setting, redis, backend, direction, cpu):
    """One that guards or signs, with keys from Redis; gives it and its configuration."""
    directory, port, admin = place(setting, "sidecar"), free_port(), free_port()
    for name in ("state", "audit"):
        (directory / name).mkdir(mode=0o700)
    text = COMMON + direction
    values = {"dir": directory, "id": SERVICE, "redis": redis.port, "admin": admin, "port": port, "backend": backend}
    for name, value in values.items():
        text = text.replace(f"@{name.upper()}@", str(value))
    path = directory / "countersign.toml"
    path.write_text(text)
    program = Program(f"sidecar-{port}", [setting.binary, "run", "--config", path], cpu, directory)
    return Running(port, [program.wait_for_port(port)], admin, signs=direction == SIGNER), path


def keys(setting, path, *arguments):
    """`countersign keys ...`; gives what it printed."""
    command = [setting.binary, "keys", *arguments, "--config", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=clean_environment())
    if done.returncode != 0:
        raise Failure(f"countersign keys {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
