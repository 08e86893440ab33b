"""A worker process without its pool: a module of tasks, lines in, lines out. Every wait has a deadline."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

DEADLINE = 30.0
PREAMBLE = """\
import gangline
from gangline import task
"""


class Child:
    """`python -m gangline.worker dogs` in a folder that holds `dogs.py`."""

    def __init__(self, folder: Path, source: str, *arguments: str) -> None:
        (folder / "dogs.py").write_text(PREAMBLE + source)
        self._log = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gangline.worker", *(arguments or ["dogs"])],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._given = 0
        self._unread = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            assert stream is not None
            stream.close()

    def give(self, payload: object = None, queue: str = "default", **keys: Any) -> str:
        """Writes the line of a job; the payload is JSON unless it is text or bytes. Returns the job's id."""
        self._given += 1
        job: dict[str, Any] = {"id": f"job-{self._given}", "attempt": 1, "queue": queue}
        if isinstance(payload, bytes):
            job["payload_base64"] = base64.b64encode(payload).decode()
        elif isinstance(payload, str):
            job["payload"] = payload
        else:
            job.update(payload=json.dumps(payload), content_type="application/json")
        job.update(keys)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        return str(job["id"])

    def line(self) -> bytes:
        """The next line that the process writes, empty at its end."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
            assert ready, f"no line in {DEADLINE} s; stderr: {self.stderr()}"
            read = os.read(self.process.stdout.fileno(), 1 << 16)
            if not read:
                break
            self._unread += read
        line, newline, self._unread = self._unread.partition(b"\n")
        return line + newline

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        line = self.line()
        assert line, f"the process has ended; stderr: {self.stderr()}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def ask(self, payload: object = None, queue: str = "default", **keys: Any) -> dict[str, Any]:
        """Gives a job and returns its answer, without the id."""
        job_id = self.give(payload, queue, **keys)
        answer = self.answer()
        assert answer.pop("id") == job_id
        return answer

    def end(self, number: signal.Signals | None = None) -> int:
        """Closes the input, or sends a signal; returns the exit code."""
        assert self.process.stdin is not None
        if number is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def stderr(self) -> str:
        """What the process has written there so far."""
        self._log.flush()
        return Path(self._log.name).read_text()
