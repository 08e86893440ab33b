"""The blocks of the README run as they are: files are written, the others run in order, in one program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gangline
from gangline.testing import Server

README = Path(__file__).resolve().parents[1] / "README.md"
NAME = re.compile(r"# (\w+\.py)\n")


def test_every_block_runs(gangline_place: Server, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program = []
    for block in blocks:
        named = NAME.match(block)
        if named is None:
            program.append(block)
        else:
            with (folder / named[1]).open("a") as file:
                file.write(block)
    assert len(program) >= 6
    (folder / "program.py").write_text("\n".join(program))
    worker = [sys.executable, "-m", "gangline.worker", "dogs"]
    queues = ["primes", "resize", "fetch"]
    gangline_place.pool(worker, queues=queues, environment={"PYTHONPATH": str(folder)}).start()
    environment = {**os.environ, "GANGLINE_SERVER": gangline_place.address}
    text = (folder / "program.py").read_text()
    assert '"127.0.0.1:4264"' in text, "the address is where the test puts its own"
    (folder / "program.py").write_text(text.replace('"127.0.0.1:4264"', f'"{gangline_place.address}"'))
    ran = run([sys.executable, "program.py"], folder, environment)
    assert ran.returncode == 0, ran.stderr
    assert "INVALID_QUEUE_NAME" in ran.stdout
    tested = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_primes.py"], folder, environment)
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr
    with gangline.Client(gangline_place.address) as client:
        assert client.submit("fetch", "x").result(60) == "fetched x"
        assert client.submit("resize", {"name": "a", "width": 1}).result(60) == {"name": "a", "attempt": 1}
    shutil.rmtree(folder)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
