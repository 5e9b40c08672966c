"""Who is compared: how each is configured and started. Everyone gets one worker, on the CPU under test."""

import base64
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from processes import Failure, Program, free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHIPPED = ROOT / "config/autobot.toml"
SERVICE = "npu-worker"
# A key for measuring, and nothing else.
KEY = "a" * 64
PATH = "/api/npu/heartbeat"
# What the upstream answers with 64 KiB, where it takes a whole body, and where it tells the signature it got.
LARGE, LARGE_SIZE = "/api/npu/status/large", 64 * 1024
UPLOAD = "/api/npu/results/upload"
ECHO = "/api/npu/status/echo"
MODULES = Path("/usr/lib/nginx/modules")


@dataclass
class Setting:
    """What every start needs to know."""

    binary: Path
    before: Path | None
    nginx: str | None
    haproxy: str | None
    python: Path | None
    # A CPU, or a set of them.
    proxy_cpu: int | set
    load_cpu: int
    directory: Path
    configurations: dict = field(default_factory=dict)


@dataclass
class Running:
    """A started contestant: where it listens, and the programs whose time and memory are its cost."""

    port: int
    programs: list
    admin: int | None = None
    # Where it records, if that is a file.
    audit: Path | None = None
    # It signs by itself: requests are sent to it unsigned.
    signs: bool = False
    # The bench's upstream is behind it, with large answers and a place for large bodies.
    has_bodies: bool = True

    def tree(self):
        return [pid for program in self.programs for pid in program.tree()]

    def serving(self):
        return [pid for program in self.programs for pid in program.serving()]

    def stop(self):
        for program in self.programs:
            program.stop()


def find_tools(binary=None, before=None):
    """Paths of everything that may take part; `None` for what is not here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    venv = Path(os.environ.get("COUNTERSIGN_TEST_VENV", ROOT / "target/test-venv"))
    python = venv / "bin/python"
    return {
        "binary": Path(binary) if binary else target / "release/countersign",
        "before": Path(before) if before else None,
        "nginx": shutil.which("nginx", path=path),
        "haproxy": shutil.which("haproxy", path=path),
        "python": python if python.exists() else None,
        "wrk": shutil.which("wrk", path=path),
    }


def configure(setting, directory, template, name, **values):
    """Fills a template, keeps what came of it for the report, and writes it."""
    text = (HERE / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", str(value))
    protocol = values.get("protocol", "").split()
    setting.configurations[f"{template} with {protocol[0]}" if protocol else template] = text
    path = directory / name
    path.write_text(text)
    return path


def place(setting, name):
    """A directory of its own, open to us alone, for one that runs."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=setting.directory))


def user():
    return "root" if os.geteuid() == 0 else "nobody"


def start_backend(setting):
    """What everybody forwards to. Real-time, so that it and the load generator do not take turns on their CPU."""
    directory, port = place(setting, "backend"), free_port()
    (directory / "large").write_bytes(b"0123456789abcdef" * (LARGE_SIZE // 16))
    values = {"dir": directory, "port": port, "user": user(), "large": LARGE, "upload": UPLOAD, "echo": ECHO}
    path = configure(setting, directory, "backend.conf", "nginx.conf", **values)
    command = [setting.nginx, "-p", directory, "-c", path, "-e", "stderr"]
    program = Program("backend", command, setting.load_cpu, directory, realtime=True).wait_for_port(port)
    return Running(port, [program])


def start_nginx(setting, backend, template="nginx.conf", protocol="", workers=1):
    directory, port = place(setting, "nginx"), free_port()
    path = configure(
        setting,
        directory,
        template,
        "nginx.conf",
        dir=directory,
        port=port,
        user=user(),
        backend=backend,
        modules=MODULES,
        here=HERE,
        id=SERVICE,
        key=KEY,
        protocol=protocol,
        workers=workers,
    )
    command = [setting.nginx, "-p", directory, "-c", path, "-e", "stderr"]
    return Running(port, [Program("nginx", command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_nginx_lua(setting, backend):
    return start_nginx(setting, backend, "nginx-lua.conf")


def start_haproxy(setting, backend, template="haproxy.cfg", protocol=""):
    directory, port = place(setting, "haproxy"), free_port()
    (directory / "keys.map").write_text(f"{SERVICE} {base64.b64encode(KEY.encode()).decode()}\n")
    values = {"dir": directory, "port": port, "backend": backend, "protocol": protocol}
    path = configure(setting, directory, template, "haproxy.cfg", **values)
    command = [setting.haproxy, "-db", "-f", path]
    return Running(port, [Program("haproxy", command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_haproxy_plain(setting, backend):
    return start_haproxy(setting, backend, "haproxy-plain.cfg")


def start_countersign(setting, backend, audit=None, binary=None, mode="enforce", change=None, others=(), workers=1):
    """With the configuration that is shipped for the fleet; flags say what is other here than there. `change` makes
    another configuration of it; `others` have keys too."""
    directory, port, admin = place(setting, "countersign"), free_port(), free_port()
    for name in ("state", "keys", "audit"):
        (directory / name).mkdir(mode=0o700)
    for service in (SERVICE, *others):
        key = directory / "keys" / f"{service}.env"
        key.touch(mode=0o600)
        key.write_text(f"SERVICE_KEY={KEY if service == SERVICE else secrets.token_hex(32)}\n")
    path = SHIPPED
    if change:
        path = directory / "countersign.toml"
        path.write_text(change(SHIPPED.read_text()))
    flags = {
        "listen": f"127.0.0.1:{port}",
        "upstream": f"http://127.0.0.1:{backend}",
        "mode": mode,
        "workers": workers,
        "state-dir": directory / "state",
        "keys": directory / "keys",
        "audit": audit or directory / "audit/audit.jsonl",
        "admin": f"127.0.0.1:{admin}",
    }
    command = [
        binary or setting.binary,
        "run",
        "--config",
        path,
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    if not change:
        setting.configurations["countersign"] = " ".join(map(str, command)) + "\n" + path.read_text()
    stdout = subprocess.DEVNULL if audit == "stdout" else None
    program = Program("countersign", command, setting.proxy_cpu, directory, stdout=stdout)
    written = None if audit == "stdout" else flags["audit"]
    return Running(port, [program.wait_for_port(port)], admin, audit=written)


def start_countersign_log(setting, backend):
    return start_countersign(setting, backend, mode="log")


def start_countersign_unwritten(setting, backend):
    return start_countersign(setting, backend, audit="stdout")


def start_countersign_before(setting, backend):
    return start_countersign(setting, backend, binary=setting.before)


# What a calling VM has: who it is, and one way out.
OUTBOUND = """\
state_dir = "@DIR@/state"
workers = 1
[service]
id = "@ID@"
key_file = "@DIR@/keys/@ID@.env"
[[outbound]]
listen = "127.0.0.1:@PORT@"
upstream = "http://127.0.0.1:@BACKEND@"
[keys]
dir = "@DIR@/keys"
[audit]
file = "@DIR@/audit/audit.jsonl"
[admin]
listen = "127.0.0.1:@ADMIN@"
"""


def start_countersign_outbound(setting, backend):
    """The signing direction: the same work for the network, and a signature made where the other checks one."""
    directory, port, admin = place(setting, "outbound"), free_port(), free_port()
    for name in ("state", "keys", "audit"):
        (directory / name).mkdir(mode=0o700)
    key = directory / "keys" / f"{SERVICE}.env"
    key.touch(mode=0o600)
    key.write_text(f"SERVICE_KEY={KEY}\n")
    text = OUTBOUND
    for name, value in {"dir": directory, "id": SERVICE, "port": port, "backend": backend, "admin": admin}.items():
        text = text.replace(f"@{name.upper()}@", str(value))
    setting.configurations["countersign-outbound"] = text
    path = directory / "countersign.toml"
    path.write_text(text)
    command = [setting.binary, "run", "--config", path]
    program = Program("countersign-outbound", command, setting.proxy_cpu, directory)
    return Running(port, [program.wait_for_port(port)], admin, signs=True)


def version_of(setting, program):
    """The first line a program says of its version."""
    command = {
        "countersign": [setting.binary, "--version"],
        "nginx": [setting.nginx, "-v"],
        "haproxy": [setting.haproxy, "-v"],
        "python": [
            setting.python,
            "-c",
            "import sys, fastapi, uvicorn; print('Python', sys.version.split()[0], "
            "'FastAPI', fastapi.__version__, 'uvicorn', uvicorn.__version__)",
        ],
    }[program]
    if command[0] is None or not Path(command[0]).exists():
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).strip().splitlines()
    if not lines:
        raise Failure(f"{command[0]} does not say its version")
    return lines[0]
