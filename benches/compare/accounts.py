"""What a contestant cost while something ran: CPU time, the most memory it held; and how busy others were meanwhile."""

import os
import threading
import time
from pathlib import Path

from processes import cpu_seconds, machine_seconds, own_seconds, resident_kib, status_kib

MILLION = 1_000_000


class Account:
    """From when it is made until `close`. `watched` gives every process of ours, whose work is no disturbance."""

    def __init__(self, running, watched):
        self.tree = running.tree()
        self.everyone = list(watched())
        self.memory = Memory(running.serving())
        self.before = self.reading()
        self.began = time.monotonic()

    def reading(self):
        # `own_seconds` holds the load too: it is our child, and will have been waited for.
        user, system = cpu_seconds(self.tree)
        return user, system, sum(cpu_seconds(self.everyone)), machine_seconds(), own_seconds()

    def close(self, requests):
        """Its figures, those of a request in microseconds."""
        elapsed = time.monotonic() - self.began
        peak = self.memory.stop()
        user, system, all_of_us, machine, own = (
            now - then for now, then in zip(self.reading(), self.before, strict=True)
        )
        return {
            "cpu": (user + system) * MILLION / requests if requests else 0.0,
            "user": user * MILLION / requests if requests else 0.0,
            "system": system * MILLION / requests if requests else 0.0,
            "busy": (user + system) / elapsed,
            "load_cpu": max(0.0, all_of_us + own - user - system) * MILLION / requests if requests else 0.0,
            # The share of the machine that nobody used.
            "unused": max(0.0, 1 - machine / elapsed / os.cpu_count()),
            "memory": peak / 1024,
            "other": max(0.0, machine - all_of_us - own) / elapsed,
        }


class Memory:
    """The most that processes held while it watched, in KiB: the kernel's own record where that can be begun anew, else
    by looking now and then."""

    def __init__(self, pids):
        self.pids = pids
        self.peak = 0
        self.exact = all(begin_record(pid) for pid in pids)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        if not self.exact:
            self.thread.start()

    def watch(self):
        while not self.ended.wait(0.25):
            self.peak = max(self.peak, resident_kib(self.pids))

    def stop(self):
        if self.exact:
            return sum(status_kib(pid, "VmHWM") for pid in self.pids)
        self.ended.set()
        self.thread.join()
        return max(self.peak, resident_kib(self.pids))


def begin_record(pid):
    """From now on VmHWM is the most that the process holds."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True
