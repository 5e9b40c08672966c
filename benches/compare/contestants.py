"""Who is compared: how each is configured and started. Everyone gets one worker, on the CPU under test."""

import base64
import os
import shutil
import subprocess
import tomllib
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
MODULES = Path("/usr/lib/nginx/modules")


@dataclass
class Setting:
    """What every start needs to know."""

    binary: Path
    before: Path | None
    nginx: str | None
    haproxy: str | None
    python: Path | None
    proxy_cpu: int
    load_cpu: int
    directory: Path
    configurations: dict = field(default_factory=dict)


@dataclass
class Running:
    """A started contestant: where it listens, and the programs whose time and memory are its cost."""

    port: int
    programs: list
    admin: int | None = None
    # It signs by itself: requests are sent to it unsigned.
    signs: bool = False

    def tree(self):
        return [pid for program in self.programs for pid in program.tree()]

    def serving(self):
        return [pid for program in self.programs for pid in program.serving()]

    def stop(self):
        for program in self.programs:
            program.stop()


@dataclass(frozen=True)
class Contestant:
    name: str
    what: str
    verifies: bool
    start: object
    is_default: bool = True
    # Why it cannot run here, or nothing.
    missing: object = lambda setting: None


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
    setting.configurations[template] = text
    path = directory / name
    path.write_text(text)
    return path


def place(setting, name):
    directory = setting.directory / f"{name}-{free_port()}"
    directory.mkdir(mode=0o700)
    return directory


def user():
    return "root" if os.geteuid() == 0 else "nobody"


def start_backend(setting):
    """What everybody forwards to. Real-time, so that it and the load generator do not take turns on their CPU."""
    directory, port = place(setting, "backend"), free_port()
    path = configure(setting, directory, "backend.conf", "nginx.conf", dir=directory, port=port, user=user())
    command = [setting.nginx, "-p", directory, "-c", path, "-e", "stderr"]
    program = Program("backend", command, setting.load_cpu, directory, realtime=True).wait_for_port(port)
    return Running(port, [program])


def start_nginx(setting, backend, template="nginx.conf"):
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
    )
    command = [setting.nginx, "-p", directory, "-c", path, "-e", "stderr"]
    return Running(port, [Program("nginx", command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_nginx_lua(setting, backend):
    return start_nginx(setting, backend, "nginx-lua.conf")


def start_haproxy(setting, backend, template="haproxy.cfg"):
    directory, port = place(setting, "haproxy"), free_port()
    (directory / "keys.map").write_text(f"{SERVICE} {base64.b64encode(KEY.encode()).decode()}\n")
    path = configure(setting, directory, template, "haproxy.cfg", dir=directory, port=port, backend=backend)
    command = [setting.haproxy, "-db", "-f", path]
    return Running(port, [Program("haproxy", command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_haproxy_plain(setting, backend):
    return start_haproxy(setting, backend, "haproxy-plain.cfg")


def start_countersign(setting, backend, audit=None, binary=None):
    """With the configuration that is shipped for the fleet; flags say what is other here than there."""
    directory, port, admin = place(setting, "countersign"), free_port(), free_port()
    for name in ("state", "keys", "audit"):
        (directory / name).mkdir(mode=0o700)
    key = directory / "keys" / f"{SERVICE}.env"
    key.touch(mode=0o600)
    key.write_text(f"SERVICE_KEY={KEY}\n")
    flags = {
        "listen": f"127.0.0.1:{port}",
        "upstream": f"http://127.0.0.1:{backend}",
        "mode": "enforce",
        "workers": 1,
        "state-dir": directory / "state",
        "keys": directory / "keys",
        "audit": audit or directory / "audit/audit.jsonl",
        "admin": f"127.0.0.1:{admin}",
    }
    command = [
        binary or setting.binary,
        "run",
        "--config",
        SHIPPED,
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    setting.configurations["countersign"] = " ".join(map(str, command)) + "\n" + SHIPPED.read_text()
    stdout = subprocess.DEVNULL if audit == "stdout" else None
    program = Program("countersign", command, setting.proxy_cpu, directory, stdout=stdout)
    return Running(port, [program.wait_for_port(port)], admin)


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


def start_uvicorn(setting, application):
    directory, port = place(setting, "uvicorn"), free_port()
    rules = tomllib.loads(SHIPPED.read_text())["rule"]
    lists = {
        access: [path for rule in rules if rule["access"] == access for path in rule["paths"]]
        for access in ("exempt", "service")
    }
    environment = {
        "BENCH_ID": SERVICE,
        "BENCH_KEY": KEY,
        "BENCH_EXEMPT": " ".join(lists["exempt"]),
        "BENCH_SERVICE": " ".join(lists["service"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        setting.python,
        "-m",
        "uvicorn",
        f"fastapi_app:{application}",
        "--app-dir",
        HERE,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
        "--lifespan",
        "off",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    program = Program(f"uvicorn-{application}", command, setting.proxy_cpu, directory, environment=environment)
    return Running(port, [program.wait_for_port(port, 60)])


def start_fastapi(setting, _backend):
    return start_uvicorn(setting, "plain")


def start_fastapi_guarded(setting, _backend):
    return start_uvicorn(setting, "guarded")


def start_chain(setting, _backend):
    application = start_uvicorn(setting, "plain")
    sidecar = start_countersign(setting, application.port)
    return Running(sidecar.port, sidecar.programs + application.programs, sidecar.admin)


def start_direct(_setting, backend):
    return Running(backend, [])


def without_nginx(setting):
    return None if setting.nginx else "nginx is not installed (apt: nginx)"


def without_lua(setting):
    if without_nginx(setting):
        return without_nginx(setting)
    found = (MODULES / "ngx_http_lua_module.so").exists()
    return None if found else "nginx's Lua is not installed (apt: libnginx-mod-http-lua)"


def without_haproxy(setting):
    return None if setting.haproxy else "HAProxy is not installed (apt: haproxy)"


def without_python(setting):
    return None if setting.python else "there is no virtual environment with FastAPI (tests/run makes target/test-venv)"


def without_binary(setting):
    return None if setting.binary.exists() else f"{setting.binary} is not built (cargo build --release)"


def without_before(setting):
    return None if setting.before and setting.before.exists() else "name another binary with --before"


def without_chain(setting):
    return without_binary(setting) or without_python(setting)


CONTESTANTS = [
    Contestant("direct", "the upstream itself", False, start_direct),
    Contestant("nginx", "plain proxy", False, start_nginx, missing=without_nginx),
    Contestant("nginx-lua-hmac", "verifies in Lua", True, start_nginx_lua, missing=without_lua),
    Contestant("haproxy", "plain proxy", False, start_haproxy_plain, False, missing=without_haproxy),
    Contestant("haproxy-hmac", "verifies natively", True, start_haproxy, missing=without_haproxy),
    Contestant("countersign", "as shipped", True, start_countersign, missing=without_binary),
    Contestant(
        "countersign-before", "another binary of it", True, start_countersign_before, False, missing=without_before
    ),
    Contestant(
        "countersign-outbound", "signs", False, start_countersign_outbound, False, missing=without_binary
    ),
    Contestant(
        "countersign-devnull",
        "audit to stdout, nobody keeps it",
        True,
        start_countersign_unwritten,
        False,
        missing=without_binary,
    ),
    Contestant("fastapi", "no check", False, start_fastapi, missing=without_python),
    Contestant("fastapi-middleware", "the fleet's present way", True, start_fastapi_guarded, missing=without_python),
    Contestant("countersign+fastapi", "sidecar before fastapi", True, start_chain, missing=without_chain),
]


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
