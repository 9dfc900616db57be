"""What the agent costs: processor time and memory."""

import os
import statistics
import time
from pathlib import Path

from agent import REPOSITORY

UNIT = REPOSITORY / "systemd" / "downlinkd.service"


def service_environment():
    """What the service's unit sets: its memory depends on that."""
    lines = UNIT.read_text().splitlines()
    settings = [line.split("=", 1)[1].split() for line in lines if line.startswith("Environment=")]
    return dict(setting.split("=", 1) for words in settings for setting in words)


def processor_seconds(pid):
    """User and system time of all threads, also of those that have ended."""
    # The clock that clock_getcpuclockid(3) gives, which Python has not.
    return time.clock_gettime(~pid << 3 | 2)


def resident_kb(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def quarters(samples):
    """The median of each quarter of a series."""
    size = len(samples) // 4
    return [statistics.median(samples[size * n : size * (n + 1)]) for n in range(4)]
