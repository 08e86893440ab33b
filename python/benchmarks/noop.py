"""Jobs a second through two Python processes that do nothing, submitted from Python and awaited: what all around a job costs.

    python python/benchmarks/noop.py [--jobs 40000] [--processes 2] [--rounds 5] [--data DIR]

Needs the package, and the program gangline on the search path or in GANGLINE_BINARY. The clock runs from the first submit
to the last result. Beside the median it prints the CPU that a job takes in each of the three programs, which is what bounds
it when they share the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gangline import Client
from gangline.testing import Server
from gangline.testing import find_binary

TASK = """\
import gangline


@gangline.task()
def nothing(payload):
    return None
"""


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def command_line(pid: int) -> list[str]:
    """Program and arguments of a process; empty if it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def pids(*words: str) -> list[int]:
    """The processes whose command lines have all these words."""
    running = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in running if set(words) <= set(command_line(pid))]


def run(client: Client, jobs: int) -> float:
    """Submits the jobs, awaits all results, and returns how long that took in seconds."""
    began = time.perf_counter()
    handles = list(client.submit_many(({"number": number} for number in range(jobs)), queue="default"))
    for handle in handles:
        handle.result(timeout=300)
    return time.perf_counter() - began


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description="Jobs a second through Python processes that do nothing.")
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path.cwd(), help="the data are in a folder below this one [.]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gangline-noop-", dir=options.data) as folder:
        # A name of its own, by which its processes are found.
        module = f"noop_{os.getpid()}"
        Path(folder, f"{module}.py").write_text(TASK)
        command = [sys.executable, "-m", "gangline.worker", module]
        server = Server(folder).pool(command, directory=folder, processes=options.processes)
        with server.start(), server.client() as client:
            run(client, 50 * options.processes)
            told = subprocess.run(
                [find_binary(), "info", "--json", "--server", server.address], capture_output=True, check=True
            )
            info = json.loads(told.stdout)
            parts = {
                "client": [os.getpid()],
                "server": pids("serve", str(server.data)),
                "workers": pids("gangline.worker", module),
            }
            before = {part: sum(map(cpu_seconds, found)) for part, found in parts.items()}
            rates = [options.jobs / run(client, options.jobs) for _ in range(options.rounds)]
            after = {part: sum(map(cpu_seconds, found)) for part, found in parts.items()}
    print(
        f"gangline {info['version']}, durability {info['durability']} on {info['data_filesystem']}; "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end"
    )
    print(f"{statistics.median(rates):,.0f} jobs/s, from {min(rates):,.0f} to {max(rates):,.0f} in {options.rounds} rounds")
    total = options.jobs * options.rounds
    print("CPU a job: " + ", ".join(f"{part} {1e6 * (after[part] - before[part]) / total:.1f} µs" for part in parts))


if __name__ == "__main__":
    main()
