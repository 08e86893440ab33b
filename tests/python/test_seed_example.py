"""`examples/seed/`: one client, the seed's own server and Gangline, the same results; and the command that measures them."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import BINARY
from harness import DEADLINE
from harness import ROOT
from harness import Server

SEED = ROOT / "examples" / "seed"
PACKAGE = str(ROOT / "python" / "src")
RESULTS = {"1": {"number": 1161, "steps": 181}, "4001": {"number": 5567, "steps": 235}, "9001": {"number": 10971, "steps": 267}}


def client(address: str, stubs: Path) -> dict[str, dict[str, int]]:
    """What the client prints: a line an argument, as they come."""
    ran = subprocess.run(
        [sys.executable, str(SEED / "client.py"), address, *RESULTS],
        env={**os.environ, "PYTHONPATH": str(stubs)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return {number: json.loads(result) for number, result in (line.split(" ", 1) for line in ran.stdout.splitlines())}


def test_gangline_gives_the_results(place: Server, stubs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SEED)
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    monkeypatch.setenv("GANGLINE_PYTHON", sys.executable)
    assert "gangline serve --data data --python worker\n" in (SEED / "README.md").read_text()
    server = place.start("--python", "worker")
    assert client(server.address, stubs) == RESULTS
    assert client(server.address, stubs) == RESULTS, "a second run is not confused by the updates of the first"


def test_the_seeds_own_server_gives_the_same(stubs: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, str(SEED / "before" / "main.py"), address, "3"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(stubs)}, start_new_session=True) as started:
        try:
            assert client(address, stubs) == RESULTS
        finally:
            os.killpg(started.pid, signal.SIGKILL)


def test_one_command_prints_the_table() -> None:
    command = [sys.executable, str(SEED / "measure.py"), "--processes", "1", "--jobs", "2", "--rounds", "1"]
    ran = subprocess.run(
        command,
        env={**os.environ, "GANGLINE_BINARY": str(BINARY)},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told, _, header, _, rates, cpu = ran.stdout.splitlines()
    assert "durability synced on" in told
    assert header.count("|") == rates.count("|") == cpu.count("|")
    assert min(float(cell.split()[0]) for cell in rates.split("|")[3:6]) > 0
    assert min(float(cell.split()[0]) for cell in cpu.split("|")[3:6]) > 0
