"""Jobs a second of one CPU-bound function: in the seed's pattern, on Gangline, and in a bare pool of processes.

    python examples/seed/measure.py [--processes 1 2] [--jobs 200] [--rounds 5]

Needs grpcio-tools, and the program gangline on the search path or in GANGLINE_BINARY. Each round runs the three one after the
other, so that what else goes on on the machine hits all of them; the table has the medians of the rounds, and of their
ratios. The clock runs from the first item to the last result, with processes that are warm.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# About 20 ms of work on a core of 2025.
NUMBERS_A_JOB = 4_000
Run = Callable[[list[dict[str, int]]], None]


def items(count: int) -> list[dict[str, int]]:
    return [{"first": 1 + number * NUMBERS_A_JOB, "count": NUMBERS_A_JOB} for number in range(count)]


@contextlib.contextmanager
def bare(processes: int, stubs: Path) -> Iterator[Run]:
    """A pool of `multiprocessing` and nothing else."""
    from work import longest_chain

    del stubs
    with multiprocessing.get_context("spawn").Pool(processes) as pool:

        def run(work: list[dict[str, int]]) -> None:
            calls = [pool.apply_async(longest_chain, kwds=item) for item in work]
            for call in calls:
                call.get()

        yield run


@contextlib.contextmanager
def before(processes: int, stubs: Path) -> Iterator[OverTheWire]:
    """The seed's pattern: so many workers, and the process that serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, str(HERE / "before" / "main.py"), address, str(processes + 1)]
    environment = {**os.environ, "PYTHONPATH": str(stubs)}
    with subprocess.Popen(command, env=environment, start_new_session=True) as started:
        try:
            yield OverTheWire(address)
        finally:
            os.killpg(started.pid, signal.SIGKILL)


@contextlib.contextmanager
def gangline(processes: int, stubs: Path) -> Iterator[OverTheWire]:
    """A server of its own with so many processes of worker.py."""
    del stubs
    with tempfile.TemporaryDirectory(prefix="gangline-seed-", dir=place()) as folder:
        config = Path(folder, "gangline.toml")
        # As `serve --python worker --processes N` would, but the package may also be that of this checkout.
        pool = f"""
            [[pools]]
            queues = ["default"]
            mode = "serve"
            command = {json.dumps([sys.executable, "-m", "gangline.worker", "worker"])}
            directory = {json.dumps(str(HERE))}
            environment = {{ PYTHONPATH = {json.dumps(str(ROOT / "python" / "src"))} }}
            processes = {processes}
        """
        config.write_text(pool)
        command = [binary(), "serve", "--data", f"{folder}/data", "--listen", "127.0.0.1:0", "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line.startswith("listening on "):
                raise SystemExit("gangline does not start: run it by hand to see why")
            try:
                yield OverTheWire(line.removeprefix("listening on ").strip())
            finally:
                server.terminate()


def told_by_the_server() -> dict[str, str]:
    """What a server on the place of the data says about itself."""
    with gangline(1, Path()) as run:
        told = subprocess.run(
            [binary(), "info", "--json", "--server", run.address], capture_output=True, text=True, check=True
        )
        return json.loads(told.stdout)


class OverTheWire:
    """The items through the seed's own service, with the same client for both servers."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, work: list[dict[str, int]]) -> None:
        import grpc
        from client import results

        with grpc.insecure_channel(self.address) as channel:
            for _ in results(channel, [json.dumps(item).encode() for item in work]):
                pass


WAYS = {"seed": before, "gangline": gangline, "bare": bare}


class Measured(NamedTuple):
    """One run of one way."""

    jobs_per_second: float
    cpu_ms_per_job: float
    """Of this process and all below it: those that compute, and everything around them."""


def measure(way: str, processes: int, jobs: int, stubs: Path) -> Measured:
    """Runs the jobs with processes that are warm."""
    with WAYS[way](processes, stubs) as run:
        run(items(4 * processes))
        began, used = time.perf_counter(), cpu_seconds()
        run(items(jobs * processes))
        took, used = time.perf_counter() - began, cpu_seconds() - used
        return Measured(jobs * processes / took, 1e3 * used / (jobs * processes))


def cpu_seconds() -> float:
    """CPU time of this process and of those below it that live."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    family, found = {os.getpid()}, 0
    while len(family) > found:
        found = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return sum(ticks[pid] for pid in family) / os.sysconf("SC_CLK_TCK")


def table(every: list[int], jobs: int, rounds: int, stubs: Path) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    yield "| processes | | the seed's pattern | Gangline | bare pool | Gangline to the seed's | Gangline to bare |"
    yield "|---|---|---|---|---|---|---|"
    first = 0.0
    for processes in every:
        measured: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, runs in measured.items():
                runs.append(measure(way, processes, jobs, stubs))
        rate = {way: statistics.median(run.jobs_per_second for run in runs) for way, runs in measured.items()}
        cpu = {way: statistics.median(run.cpu_ms_per_job for run in runs) for way, runs in measured.items()}
        first = first or rate["gangline"]

        def ratio(to: str, measured: dict[str, list[Measured]] = measured) -> str:
            pairs = zip(measured["gangline"], measured[to], strict=True)
            return f"{statistics.median(ours.jobs_per_second / theirs.jobs_per_second for ours, theirs in pairs):.1%}"

        speed_up = rate["gangline"] / first
        yield (
            f"| {processes} | jobs/s | {rate['seed']:.1f} | {rate['gangline']:.1f} (speed-up {speed_up:.2f}) "
            f"| {rate['bare']:.1f} | {ratio('seed')} | {ratio('bare')} |"
        )
        yield (
            f"| {processes} | CPU a job | {cpu['seed']:.2f} ms | {cpu['gangline']:.2f} ms | {cpu['bare']:.2f} ms "
            f"| {cpu['gangline'] / cpu['seed']:.1%} | {cpu['gangline'] / cpu['bare']:.1%} |"
        )


def binary() -> str:
    """The program gangline."""
    found = os.environ.get("GANGLINE_BINARY") or shutil.which("gangline")
    if not found:
        raise SystemExit("no program gangline: put it on the search path, or say in GANGLINE_BINARY where it is")
    return found


def place() -> Path:
    """Where the data of the servers go."""
    folder = ROOT / "target"
    return folder if folder.is_dir() else Path.cwd()


def make_stubs(folder: Path) -> None:
    """Stubs of the seed's service, for the client and for the seed's server."""
    from grpc_tools import protoc

    proto, known = ROOT / "proto", resources.files("grpc_tools") / "_proto"
    file = "com/groundsfam/dosomething/v1/do_something.proto"
    if protoc.main(["", f"-I{proto}", f"-I{known}", f"--python_out={folder}", f"--grpc_python_out={folder}", file]):
        raise SystemExit("grpcio-tools could not compile the seed's proto file")
    sys.path.insert(0, str(folder))


def circumstances(jobs: int, rounds: int) -> str:
    """What the figures depend on."""
    load = os.getloadavg()[0]
    server = told_by_the_server()
    return (
        f"gangline {server['version']}, durability {server['durability']} on {server['data_filesystem']}; Python "
        f"{platform.python_version()} on {len(os.sched_getaffinity(0))} cores, load {load:.1f} before the start; "
        f"{jobs} jobs a process; medians of {rounds} rounds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Jobs a second in the seed's pattern, on Gangline, and in a bare pool.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many of them compute [1 2]")
    parser.add_argument("--jobs", type=int, default=200, help="jobs for each of the processes [200]")
    parser.add_argument("--rounds", type=int, default=5, help="how often each of the three runs [5]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gangline-stubs-") as folder:
        make_stubs(Path(folder))
        print(circumstances(options.jobs, options.rounds), end="\n\n", flush=True)
        for line in table(options.processes, options.jobs, options.rounds, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
