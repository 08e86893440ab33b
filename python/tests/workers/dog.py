"""A serve-mode worker that does what its payload says: a JSON array of a word and its arguments."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        word, *arguments = json.loads(job["payload"])
        answer = {"id": job["id"], **DEEDS[word](job, *arguments)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def wait(job: dict[str, Any], path: str) -> dict[str, Any]:
    """Until the file is there."""
    del job
    while not os.path.exists(path):
        time.sleep(0.01)
    return {"result": "waited"}


def crash(job: dict[str, Any]) -> dict[str, Any]:
    """In the middle of the job."""
    print(f"job {job['id']} bites", file=sys.stderr)
    os.kill(os.getpid(), 9)
    return {}


def tell(job: dict[str, Any], done: float, message: str, path: str) -> dict[str, Any]:
    """Progress, and then waits."""
    sys.stdout.write(json.dumps({"id": job["id"], "progress": done, "message": message}) + "\n")
    sys.stdout.flush()
    return wait(job, path)


DEEDS: dict[str, Callable[..., dict[str, Any]]] = {
    "echo": lambda _, value: {"result": json.dumps(value), "content_type": "application/json"},
    "text": lambda _, text: {"result": text},
    "bytes": lambda _, text: {"result_base64": base64.b64encode(text.encode()).decode()},
    "lie": lambda _: {"result": "{", "content_type": "application/json"},
    "fail": lambda _, text: {"error": text},
    "fail for good": lambda _, text: {"error": text, "retry": False},
    "crash": crash,
    "wait": wait,
    "tell": tell,
    "job": lambda job: {"result": {key: job.get(key) for key in ("attempt", "queue", "content_type", "labels", "traceparent")}},
}

if __name__ == "__main__":
    main()
