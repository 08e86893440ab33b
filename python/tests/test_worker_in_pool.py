"""The worker process as the child of a pool of the real binary."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from child import PREAMBLE

SOURCE = """
import os, signal, time
@task(queue="run")
def work(line):
    print("talking about", line)
    gangline.progress(0.5, "half")
    word = line.decode()
    if word == "hang":
        wait_for_ever()
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "never":
        raise gangline.PermanentError("not this one")
    if word == "once" and gangline.current_job().attempt == 1:
        raise OSError("not this time")
    return {"upper": word.upper()}
def wait_for_ever():
    time.sleep(600)
"""


@pytest.fixture
def binary() -> str:
    """The program under test."""
    found = os.environ.get("GANGLINE_BINARY") or shutil.which("gangline")
    assert found, "say in GANGLINE_BINARY where the program gangline is"
    return found


def run(binary: str, folder: Path, *words: str, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `gangline run` says about each word."""
    (folder / "dogs.py").write_text(PREAMBLE + SOURCE)
    command = [binary, "run", "--json", "--serve", *flags, "--", sys.executable, "-m", "gangline.worker", "dogs"]
    ran = subprocess.run(command, cwd=folder, input="\n".join(words), capture_output=True, text=True, timeout=60, check=False)
    return {job["input"]: job for job in map(json.loads, ran.stdout.splitlines())}


def test_jobs_are_done_retried_or_given_up(tmp_path: Path, binary: str) -> None:
    told = run(binary, tmp_path, "gee", "once", "never", "die", "haw", flags=("--retries", "1"))
    assert told["gee"]["result"] == '{"upper":"GEE"}'
    assert told["haw"]["result"] == '{"upper":"HAW"}'
    assert (told["once"]["attempts"], told["once"]["result"]) == (2, '{"upper":"ONCE"}')
    assert told["never"]["attempts"] == 1
    assert told["never"]["error"]["message"].startswith("PermanentError: not this one")
    assert "SIGKILL" in told["die"]["error"]["message"]


def test_a_job_over_its_time_says_where_it_was(tmp_path: Path, binary: str) -> None:
    told = run(binary, tmp_path, "hang", "gee", flags=("--timeout", "1s", "--processes", "1"))
    assert told["gee"]["result"] == '{"upper":"GEE"}'
    assert "in wait_for_ever" in told["hang"]["error"]["stderr"]
