"""What a worker's code says: which function does the jobs of which queue, how far it is, that a retry makes no sense.

Nothing here knows gRPC or the client: the process that computes imports this file and `gangline.worker` only. The
functions stay what they were, so tests call them directly; outside a job `progress` does nothing.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., Any])

QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


class PermanentError(Exception):
    """Raised by a task: the job fails now and is not retried, because it would fail again."""


@dataclass(frozen=True)
class JobContext:
    """The job in work, without its payload."""

    id: str
    """Its UUID."""
    attempt: int
    """Which execution this is, from 1."""
    queue: str
    """Its queue."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the submitter wrote on it."""
    content_type: str = ""
    """Media type of the payload; empty if the submitter named none."""
    traceparent: str = ""
    """W3C trace context of the submitter; empty if there is none."""


@dataclass(frozen=True)
class Task:
    """A function that does the jobs of a queue."""

    name: str
    """`name_of` the function."""
    queue: str
    function: Callable[..., Any]
    signature: inspect.Signature | None
    """`None` if it does not tell, as some functions in C."""

    takes_payload: bool
    """Whether one argument is enough to call it."""

    def misfit(self, *args: Any, **kwargs: Any) -> str | None:
        """Why the function cannot be called like this, if so."""
        try:
            if self.signature is not None:
                self.signature.bind(*args, **kwargs)
        except TypeError as error:
            return f"{self.name}{self.signature} cannot be called like this: {error}"
        return None


class _InWork:
    """The one job that this process works on, and the way to its pool."""

    def __init__(self) -> None:
        self.job: JobContext | None = None
        self.send: Callable[[str], None] | None = None


registered: dict[str, Task] = {}
"""The tasks of this process by queue."""

in_work = _InWork()
"""Set by `gangline.worker` around each job."""


def task(queue: str = "default") -> Callable[[F], F]:
    """Makes the function below it the one that does the jobs of `queue`.

    The function is called with the payload: the object if its media type is JSON, `str` if it is text, else `bytes`;
    a call of `GanglineExecutor` brings its own arguments. What it returns is the result: `bytes` as they are, `str` as
    text, anything else as JSON. A coroutine function runs on one event loop that lives as long as the process. A queue
    has one task.

    Raises `ValueError` if the queue's name is none, or if it has another task already.
    """
    if not isinstance(queue, str):
        raise TypeError('gangline.task needs parentheses: @gangline.task() or @gangline.task(queue="resize")')
    if QUEUE_NAME.fullmatch(queue) is None:
        raise ValueError(f"{queue!r} is no name of a queue: a letter or digit, then up to 127 of A-Z a-z 0-9 . _ - / :")

    def register(function: F) -> F:
        signature = _signature(function)
        new = Task(name_of(function), queue, function, signature, _takes_one(signature))
        other = registered.get(queue)
        # The same place again is a module that was loaded again.
        if other is not None and other.name != new.name:
            raise ValueError(f"queue {queue!r} has two tasks: {other.name} and {new.name}")
        registered[queue] = new
        return function

    return register


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, `module:qualified.name`; a call names its task by it."""
    module = getattr(function, "__module__", None) or "?"
    return f"{module}:{getattr(function, '__qualname__', repr(function))}"


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name_of(function)} is a generator: a task returns one result")
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _takes_one(signature: inspect.Signature | None) -> bool:
    try:
        return signature is None or bool(signature.bind(None))
    except TypeError:
        return False


def progress(done: float | None = None, message: str = "") -> None:
    """Tells how far the job in work has come: `done` from 0 to 1, a few words for people, or both.

    May be called as often as one likes, from any thread; the pool passes the newest on every 500 ms. Outside a job it
    does nothing.
    """
    if done is not None and not 0 <= done <= 1:
        raise ValueError(f"progress is a share from 0 to 1, not {done!r}")
    job, send = in_work.job, in_work.send
    if job is None or send is None:
        return
    line: dict[str, Any] = {"id": job.id}
    if done is not None:
        line["progress"] = float(done)
    if message or done is None:
        line["message"] = plain(str(message))
    send(json.dumps(line))


def plain(text: str) -> str:
    """The text without lone surrogates, which the name of a file may have and UTF-8 has not."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def current_job() -> JobContext:
    """The job in work.

    Raises `RuntimeError` outside a job.
    """
    if in_work.job is None:
        raise RuntimeError("no job is in work here")
    return in_work.job
