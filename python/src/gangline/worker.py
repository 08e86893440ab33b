"""`python -m gangline.worker MODULE`: a worker process, started by a pool in serve mode, that calls a module's tasks.

It speaks the lines of `docs/workers.md` on what were its stdin and stdout. Before the module is imported both are put
aside: then stdin is empty and stdout is stderr, so that no `print` can end up between the answers. One job at a time;
each answer is written at once, because the pool blames the oldest job without an answer when the process dies. No gRPC.
"""

from __future__ import annotations

import argparse
import base64
import faulthandler
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from collections.abc import Sequence
from types import FrameType
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any
from typing import BinaryIO
from typing import NoReturn

from gangline import payload
from gangline.tasks import JobContext
from gangline.tasks import PermanentError
from gangline.tasks import Task
from gangline.tasks import in_work
from gangline.tasks import plain
from gangline.tasks import registered

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

EXIT_UNUSABLE = 2
"""The arguments or the module are no good: no restart will help."""
EXIT_POOL_GONE = 3
"""The pool closed its end of the answers."""
EXIT_SIGNAL = 128
"""Plus the number of the signal."""

FAILURE_BYTES_MAX = 4_096
"""What the server keeps of a failure's message."""
FIRST_LINE_BYTES_MAX = 2_048
"""What of it the exception itself may have; its traceback gets the rest."""

_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Stopped(SystemExit):
    """The pool has sent SIGTERM: the job's time is up, it was cancelled, or the pool stops. `finally` blocks run."""


class UnusableError(Exception):
    """The module cannot be worked with."""


class RefusedError(Exception):
    """A job that fails for what was sent here or would have to be sent back; its words need no traceback."""

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class Wire:
    """The way to the pool: lines of JSON, jobs in and answers out."""

    def __init__(self, jobs: BinaryIO, answers_fd: int) -> None:
        self.jobs = jobs
        self._answers_fd = answers_fd
        self._lock = threading.Lock()
        self._owner = os.getpid()

    @classmethod
    def from_stdio(cls) -> Wire:
        """Takes stdin and stdout for the protocol and gives the program an empty stdin and stderr as its stdout."""
        # The copies are not inheritable: what a task starts holds no end of the protocol.
        jobs_fd, answers_fd = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        return cls(open(jobs_fd, "rb", buffering=1 << 18), answers_fd)

    def send(self, line: str) -> None:
        """Writes a line at once; from any thread, but not from a fork, which works on no job."""
        rest = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if os.getpid() != self._owner:
                return
            try:
                while rest:
                    rest = rest[os.write(self._answers_fd, rest) :]
            except BrokenPipeError:
                os._exit(EXIT_POOL_GONE)


class Worker:
    """Calls the tasks, one job after the other."""

    def __init__(self, wire: Wire, tasks: Mapping[str, Task], only: str | None = None) -> None:
        """`only`: the queue of the task that does the jobs of every queue."""
        self._wire = wire
        self._tasks = tasks
        self._only = only
        self._by_name = {task.name: task for task in tasks.values()}
        self._loop: AbstractEventLoop | None = None
        self._is_stopping = False

    def run(self) -> None:
        """Works until the pool closes the input or sends SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        # The pool keeps the end of stderr with a failure: it will show where a job was when its time was up.
        faulthandler.register(signal.SIGTERM, all_threads=False, chain=True)
        # What a task forks ends on SIGTERM as any process does, also on one that comes before it could say so.
        os.register_at_fork(before=_hold_sigterm, after_in_parent=_let_sigterm_in, after_in_child=_forget_sigterm)
        in_work.send = self._wire.send
        try:
            for line in self._wire.jobs:
                self._wire.send(self._answer(json.loads(line)))
                if self._is_stopping:
                    # The task took no notice of the signal.
                    raise Stopped(EXIT_SIGNAL + signal.SIGTERM)
        finally:
            self._close_loop()

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002  what Python calls it with
        self._is_stopping = True
        raise Stopped(EXIT_SIGNAL + number)

    def _answer(self, job: dict[str, Any]) -> str:
        job_id = job["id"]
        try:
            result = self._call(job)
            if result is None:
                return f'{{"id":"{job_id}","result":null}}'
            return f'{{"id":"{job_id}",{_result(result)}}}'
        except (Stopped, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its job's failure
            return json.dumps({"id": job_id, "error": failure_message(error), "retry": is_worth_a_retry(error)})

    def _call(self, job: dict[str, Any]) -> Any:
        queue, content_type = job["queue"], job.get("content_type", "")
        value = read_payload(job, content_type)
        if isinstance(value, payload.Call):
            task, args, kwargs = self._called(value), value.args, value.kwargs
        else:
            task, args, kwargs = self._task_of(queue), [value], {}
        in_work.job = JobContext(
            job["id"], job["attempt"], queue, job.get("labels") or {}, content_type, job.get("traceparent", "")
        )
        try:
            result = task.function(*args, **kwargs)
            return self._await(result) if hasattr(result, "__await__") else result
        finally:
            in_work.job = None

    def _task_of(self, queue: str) -> Task:
        task = self._tasks.get(self._only or queue)
        if task is None:
            known = ", ".join(sorted(self._tasks))
            raise RefusedError(f"this worker has no task for queue {queue!r}, only for {known}", retry=True)
        if not task.takes_payload:
            raise RefusedError(f"{task.name}{task.signature} cannot be called with a payload alone")
        return task

    def _called(self, call: payload.Call) -> Task:
        task = self._by_name.get(call.task)
        if task is None:
            known = ", ".join(sorted(self._by_name))
            raise RefusedError(f"this worker has no task {call.task!r}, only {known}", retry=True)
        misfit = task.misfit(*call.args, **call.kwargs)
        if misfit is not None:
            raise RefusedError(misfit)
        return task

    def _await(self, awaitable: Any) -> Any:
        """Runs a coroutine on the process's own event loop; if a signal ends that, lets the coroutine clean up."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        loop = self._loop

        async def run() -> Any:
            return await awaitable

        running = loop.create_task(run())
        try:
            return loop.run_until_complete(running)
        except (Stopped, KeyboardInterrupt) as stop:
            if isinstance(stop, Stopped):
                print(f"Coroutine (most recent call last):\n{_waits_at(awaitable)}", file=sys.stderr)  # noqa: T201
            running.cancel()
            loop.run_until_complete(asyncio.gather(running, return_exceptions=True))
            raise

    def _close_loop(self) -> None:
        if self._loop is None:
            return
        import asyncio

        loop = self._loop
        left = asyncio.all_tasks(loop)
        for running in left:
            running.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _hold_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_sigterm_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _forget_sigterm() -> None:
    faulthandler.unregister(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_sigterm_in()


def read_payload(job: Mapping[str, Any], content_type: str) -> Any:
    """What the payload means.

    Raises `RefusedError` if it is not what its media type says.
    """
    text = job.get("payload")
    try:
        if content_type == payload.JSON and text is not None:
            return json.loads(text)
        data = base64.b64decode(job["payload_base64"]) if text is None else text.encode()
        return payload.decode(data, content_type)
    except ValueError as error:
        raise RefusedError(f"the payload is not what its media type {content_type!r} says: {error}") from None


def _result(value: Any) -> str:
    """The key and value of an answer that completes a job."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f'"result_base64":"{base64.b64encode(value).decode()}"'
    try:
        if isinstance(value, str):
            value.encode()
        return f'"result":{_dump(value)}'
    except (TypeError, ValueError) as error:
        raise RefusedError(f"the result is neither bytes nor text nor JSON: {error}") from None


def is_worth_a_retry(error: BaseException) -> bool:
    """Whether the job may do better another time."""
    return error.retry if isinstance(error, RefusedError) else not isinstance(error, PermanentError)


def failure_message(error: BaseException) -> str:
    """The exception in its first line, then the end of its traceback, without the frames of this file."""
    if isinstance(error, RefusedError):
        return _start(plain(str(error)), FAILURE_BYTES_MAX)
    module = type(error).__module__
    prefix = "" if module in ("builtins", "gangline.tasks") else f"{module}."
    first = _start(plain(f"{prefix}{type(error).__qualname__}: {_words(error)}"), FIRST_LINE_BYTES_MAX)
    lines = _traceback(error)
    return f"{first}\n\n{_end(plain(lines), FAILURE_BYTES_MAX - len(first.encode()) - 2)}" if lines else first


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a broken __str__ must not hide what happened
        return "<it cannot be shown>"


def _traceback(error: BaseException) -> str:
    """The traceback from the task, or the module, on; empty if it was not reached."""
    frames = error.__traceback__
    step: TracebackType | None = frames
    while step is not None:
        if step.tb_frame.f_code.co_filename == __file__:
            frames = step.tb_next
        step = step.tb_next
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__")).startswith("importlib"):
        frames = frames.tb_next
    if frames is None:
        return ""
    whole = traceback.TracebackException(type(error), error, frames)
    text = "".join(whole.format())
    # Its last line is the first of the message already.
    last = "".join(whole.format_exception_only())
    return (text[: -len(last)] if text.endswith(last) else text).rstrip()


def _start(text: str, bytes_max: int) -> str:
    data = text.encode()
    return text if len(data) <= bytes_max else data[: bytes_max - 3].decode(errors="ignore") + "…"


def _end(text: str, bytes_max: int) -> str:
    data = text.encode()
    return text if len(data) <= bytes_max else "…" + data[3 - bytes_max :].decode(errors="ignore")


def _waits_at(awaitable: Any) -> str:
    """The frames of a coroutine that waits; the stack of its thread only shows the event loop."""
    frames = []
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None)
        if frame is not None:
            frames.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        awaitable = getattr(awaitable, "cr_await", None)
    return "".join(traceback.format_list(frames))


def load(name: str) -> Mapping[str, Task]:
    """Imports the module and returns its tasks by queue.

    Raises `UnusableError` with what is wrong.
    """
    if name.endswith(".py") or os.sep in name:
        raise UnusableError(f"{name}: name the module as `import` does, not its file: {module_of(name)}")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UnusableError(f"there is no module {name} in {os.getcwd()} or the rest of the path") from None
        raise UnusableError(_import_failure(name, error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  a module may raise anything
        raise UnusableError(_import_failure(name, error)) from None
    if not registered:
        raise UnusableError(f"module {name} has no task: put @gangline.task(queue=...) above a function")
    return registered


def one_of(tasks: Mapping[str, Task], queue: str | None, name: str) -> str | None:
    """The queue, if the module has a task for it.

    Raises `UnusableError` if not.
    """
    if queue is not None and queue not in tasks:
        raise UnusableError(f"module {name} has no task for queue {queue!r}, only for {', '.join(sorted(tasks))}")
    return queue


def module_of(path: str) -> str:
    """The name under which the file would be imported, if its folder is the current one."""
    return os.path.normpath(path).removesuffix(".py").replace(os.sep, ".")


def _import_failure(name: str, error: BaseException) -> str:
    lines = _traceback(error)
    said = f"module {name} cannot be imported: {type(error).__name__}: {_words(error)}"
    return f"{said}\n{lines}" if lines else said


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the process; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gangline.worker",
        description="Does jobs with the tasks of a module, as the child of a pool: lines of JSON on stdin and stdout.",
    )
    parser.add_argument("--queues", action="store_true", help="print the queues of the module's tasks, and exit")
    parser.add_argument("--task", metavar="QUEUE", help="let the task of this queue do all jobs, whatever their queue")
    parser.add_argument("module", help="the module with the tasks, as `import` names it")
    options = parser.parse_args(argv)
    wire = Wire.from_stdio()
    faulthandler.enable()
    try:
        tasks = load(options.module)
        if options.queues:
            for queue in sorted(tasks):
                wire.send(queue)
        else:
            Worker(wire, tasks, one_of(tasks, options.task, options.module)).run()
    except UnusableError as error:
        print(f"gangline.worker: {error}", file=sys.stderr)  # noqa: T201  the pool logs it
        return EXIT_UNUSABLE
    except KeyboardInterrupt:
        return EXIT_SIGNAL + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
