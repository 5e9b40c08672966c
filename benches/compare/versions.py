"""What took part, as it says itself."""

import subprocess
import tomllib

from contestants import version_of
from peers import PINGORA, find_envoy, find_pingora


def versions(setting):
    found = [version_of(setting, program) for program in ("countersign", "nginx", "haproxy", "python")]
    return [version for version in [*found, envoy(), pingora()] if version]


def envoy():
    if not find_envoy():
        return None
    done = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True, timeout=60)
    return "Envoy " + done.stdout.partition("version:")[2].strip()


def pingora():
    """The one it was built from."""
    if not find_pingora():
        return None
    packages = tomllib.loads((PINGORA / "Cargo.lock").read_text())["package"]
    return "Pingora " + next(package["version"] for package in packages if package["name"] == "pingora")
