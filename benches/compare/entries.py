"""Who can take part: the contestants by name, and why one may be missing here."""

from dataclasses import dataclass

from applications import start_chain, start_fastapi, start_fastapi_guarded
from checks import faults, faults_of_bodies, faults_of_recording, faults_of_signing
from contestants import (
    MODULES,
    Running,
    start_countersign,
    start_countersign_before,
    start_countersign_log,
    start_countersign_outbound,
    start_countersign_unwritten,
    start_haproxy,
    start_haproxy_plain,
    start_nginx,
    start_nginx_lua,
)
from peers import (
    start_envoy,
    start_envoy_lua,
    start_pingora,
    start_pingora_hmac,
    without_envoy,
    without_pingora,
)


@dataclass(frozen=True)
class Contestant:
    name: str
    what: str
    # (setting, port of the upstream) to what is running.
    start: object
    # It refuses what is not signed; otherwise everything passes.
    verifies: bool = False
    is_default: bool = True
    # Why it cannot run here, or nothing.
    missing: object = lambda setting: None

    def faults(self, started):
        """What it does wrong, as sentences."""
        found = faults(started.port, self.verifies)
        if started.has_bodies:
            found += faults_of_bodies(started.port)
        if started.signs:
            found += faults_of_signing(started.port)
        if started.audit and not self.verifies and not started.signs:
            found += faults_of_recording(started)
        return found


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
    Contestant("direct", "the upstream itself", start_direct),
    Contestant("nginx", "plain proxy", start_nginx, missing=without_nginx),
    Contestant("nginx-lua-hmac", "verifies in Lua", start_nginx_lua, True, missing=without_lua),
    Contestant("haproxy", "plain proxy", start_haproxy_plain, missing=without_haproxy),
    Contestant("haproxy-hmac", "verifies natively", start_haproxy, True, missing=without_haproxy),
    Contestant("envoy", "plain proxy", start_envoy, is_default=False, missing=without_envoy),
    Contestant("envoy-lua-hmac", "verifies in Lua", start_envoy_lua, True, missing=without_envoy),
    Contestant("pingora", "plain proxy", start_pingora, is_default=False, missing=without_pingora),
    Contestant("pingora-hmac", "verifies in Rust", start_pingora_hmac, True, missing=without_pingora),
    Contestant("countersign", "as shipped, enforced, audit to a file", start_countersign, True, missing=without_binary),
    Contestant(
        "countersign-devnull", "audit that nobody keeps", start_countersign_unwritten, True, missing=without_binary
    ),
    Contestant("countersign-log", "mode log, audit to a file", start_countersign_log, missing=without_binary),
    Contestant("countersign-outbound", "signs, audit to a file", start_countersign_outbound, missing=without_binary),
    Contestant(
        "countersign-before", "another binary", start_countersign_before, True, is_default=False, missing=without_before
    ),
    Contestant("fastapi", "no check", start_fastapi, is_default=False, missing=without_python),
    Contestant(
        "fastapi-middleware",
        "the fleet's present way",
        start_fastapi_guarded,
        True,
        is_default=False,
        missing=without_python,
    ),
    Contestant(
        "countersign+fastapi",
        "sidecar before fastapi",
        start_chain,
        True,
        is_default=False,
        missing=without_chain,
    ),
]
