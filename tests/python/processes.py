"""What /proc says about the processes of a server."""

import os
import signal
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that were started by `pid`."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has just ended
    return found


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    below = []
    for child in children(pid):
        try:
            below += [child, *descendants(child)]
        except FileNotFoundError:
            continue  # it has just ended
    return below


def workers(pid: int, program: str) -> set[int]:
    """The processes below the server `pid` that run the script `program`."""
    return {child for child in descendants(pid) if program in command_line(child)}


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def lives(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def cpu_seconds(pid: int) -> float:
    """CPU time that the process has used, to the nanosecond, all threads together."""
    return sum(int(text.split()[0]) for text in _of_threads(pid, "schedstat")) / 1e9


def wake_ups(pid: int) -> int:
    """How often its threads have gone to sleep and been woken."""
    lines = [line for text in _of_threads(pid, "status") for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def _of_threads(pid: int, name: str) -> list[str]:
    """The text of this file of each thread."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.append((task / name).read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has just ended
    return found


def cores() -> int:
    """Cores that this process, and so a server it starts, may use."""
    return len(os.sched_getaffinity(0))


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
