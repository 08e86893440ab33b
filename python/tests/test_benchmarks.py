"""The programs that print figures run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from gangline.testing import Server

NOOP = Path(__file__).resolve().parents[1] / "benchmarks" / "noop.py"


def test_the_jobs_that_do_nothing_are_counted(tmp_path: Path, gangline_place: Server) -> None:
    ran = subprocess.run(
        [sys.executable, str(NOOP), "--jobs", "200", "--rounds", "1", "--data", str(tmp_path)],
        env={**os.environ, "GANGLINE_BINARY": str(gangline_place.binary)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    circumstances, rate, cpu = ran.stdout.splitlines()
    assert "durability synced on" in circumstances
    assert int(rate.split()[0].replace(",", "")) > 0
    assert all(float(microseconds) > 0 for microseconds in re.findall(r"([0-9.]+) µs", cpu)), cpu
