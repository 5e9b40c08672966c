"""`hmac-v1`, written from the contract: what a Python service does before each call."""

import hashlib
import hmac
import time
import urllib.parse


def headers(key: str, service: str, method: str, url: str, timestamp: int | None = None) -> dict[str, str]:
    """The three headers for a call. The path is signed decoded, without the query."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    text = f"{service}:{method}:{path}:{stamp}"
    mac = hmac.new(key.encode("ascii"), text.encode("utf-8"), hashlib.sha256).hexdigest()
    return {"X-Service-ID": service, "X-Service-Timestamp": stamp, "X-Service-Signature": mac}
