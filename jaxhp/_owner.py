"""Who runs a trial: host, process, and when that process started, so that a recycled process id is not mistaken for its predecessor.

A host is its name and a **place**, a digest of the boot id and the namespace of process ids: containers and machines that were given one
name do not look for each other's processes among their own. Where the system tells of no place, or an older version wrote none, the name
alone counts.
"""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path


@lru_cache(maxsize=4)
def _owner(pid: int) -> str:
    place = _place(pid)
    return f"{socket.gethostname()}{place and f'/{place}'}:{pid}:{_state(pid)[1]}"


def owner() -> str:
    """This process."""
    return _owner(os.getpid())


def local(name: str) -> bool:
    """Whether an owner is a process of this host, which is then seen here."""
    host, _, place = name.rsplit(":", 2)[0].partition("/")
    return host == socket.gethostname() and place in ("", _place(os.getpid()))


def gone(name: str) -> bool:
    """Whether an owner is known to have died: a process of this host that no longer runs, whether its parent knows (a zombie) or not.

    Of other hosts nothing is known.
    """
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
    state, now = _state(int(pid))
    return state in ("Z", "X") or bool(now and started and now != started)


@lru_cache(maxsize=4)
def _place(pid: int) -> str:
    """Which machine and namespace this process, whose id is `pid`, sees the processes of; "" where the system does not tell."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return blake2b(f"{boot}{namespace}".encode(), digest_size=6).hexdigest()


def _state(pid: int) -> tuple[str, str]:
    """State, and start time in clock ticks since boot (Linux, fields 3 and 22 of /proc/PID/stat); "" where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", ""
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]
