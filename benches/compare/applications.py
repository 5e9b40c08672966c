"""FastAPI as a contestant: without a check, with the fleet's middleware, and behind a sidecar."""

import tomllib

from contestants import HERE, KEY, SERVICE, SHIPPED, Running, place, start_countersign
from processes import Program, free_port


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
    return Running(port, [program.wait_for_port(port, 60)], has_bodies=False)


def start_fastapi(setting, _backend):
    return start_uvicorn(setting, "plain")


def start_fastapi_guarded(setting, _backend):
    return start_uvicorn(setting, "guarded")


def start_chain(setting, _backend):
    application = start_uvicorn(setting, "plain")
    sidecar = start_countersign(setting, application.port)
    return Running(sidecar.port, sidecar.programs + application.programs, sidecar.admin, has_bodies=False)
