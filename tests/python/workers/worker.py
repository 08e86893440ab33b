"""The worker of the tests, in serve mode. The first word of a payload says what to do; the contract is docs/workers.md."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def upper(job: dict, text: str) -> str:
    return text.upper()


def fail(job: dict, text: str) -> str:
    raise ValueError(text)


def die_once(job: dict, text: str) -> str:
    if job["attempt"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"done by attempt {job['attempt']}"


def hang_once(job: dict, path: str) -> str:
    """Says in the file who it is; the first attempt never ends by itself."""
    Path(path).write_text(str(os.getpid()))
    if job["attempt"] == 1:
        signal.pause()
    return f"done by attempt {job['attempt']}"


def meet(job: dict, text: str) -> str:
    """Ends only while as many others as asked for are at work at the same time."""
    folder, count = text.split()
    Path(folder, job["id"]).touch()
    while len(list(Path(folder).iterdir())) < int(count):
        time.sleep(0.005)
    return "met"


def describe(job: dict, text: str) -> dict:
    files = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            files[name] = os.readlink(f"/proc/self/fd/{name}")
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "threads": len(os.listdir("/proc/self/task")),
        "program": os.readlink("/proc/self/exe"),
        "files": files,
        "libraries": Path("/proc/self/maps").read_text(),
        "environment": sorted(os.environ),
    }


WORK = {"fail": fail, "die-once": die_once, "hang-once": hang_once, "meet": meet, "describe": describe}

for line in sys.stdin:
    job = json.loads(line)
    name, _, rest = job["payload"].partition(" ")
    try:
        answer = {"id": job["id"], "result": WORK[name](job, rest) if name in WORK else upper(job, job["payload"])}
    except Exception as error:
        answer = {"id": job["id"], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
