"""Did it keep records while it was fast? What a sidecar says of its audit log after all the load."""

import http.client

COUNTERS = {
    "written": "countersign_audit_records_written_total",
    "queued": "countersign_audit_queue_records",
    "dropped": "countersign_audit_records_dropped_total",
    "lost": "countersign_audit_records_lost_total",
    "failed writes": "countersign_audit_write_errors_total",
}


def audit_counts(admin):
    """The counters of the audit log, from /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    values = {name: value for name, _, value in (line.partition(" ") for line in lines if not line.startswith("#"))}
    return {what: int(float(values[name])) for what, name in COUNTERS.items()}


def audit_doubts(name, admin, answered):
    """Prints what was recorded; gives what speaks against the figures."""
    counts = audit_counts(admin)
    print(
        f"audit of {name}: {answered:,} requests answered, "
        + ", ".join(f"{count:,} {what}" for what, count in counts.items())
    )
    missing = counts["dropped"] + counts["lost"]
    if missing:
        return [f"{name} did not record {missing:,} requests: its figures are of less work than it should do"]
    if counts["written"] + counts["queued"] < answered:
        return [f"{name} answered more requests than it recorded"]
    return []
