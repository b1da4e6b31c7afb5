"""Who runs a trial: host, process, and when that process started, so that a recycled process id is not mistaken for its predecessor."""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=4)
def _owner(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def owner() -> str:
    """This process."""
    return _owner(os.getpid())


def local(name: str) -> bool:
    """Whether an owner is a process of this host."""
    return name.rsplit(":", 2)[0] == socket.gethostname()


def gone(name: str) -> bool:
    """Whether an owner is known to have died: a process of this host that no longer runs. Of other hosts nothing is known."""
    if not local(name):
        return False
    _, _, rest = name.partition(":")
    pid, _, started = rest.partition(":")
    if not re.fullmatch("[1-9][0-9]{0,8}", pid):  # a log may say anything
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    now = _started(int(pid))
    return bool(now and started and now != started)


def _started(pid: int) -> str:
    """Start time in clock ticks since boot (Linux, field 22 of /proc/PID/stat); "" where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
