"""The worker process alone: what a task gets, what becomes of what it returns, raises and prints, and how it ends."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from child import Child
from gangline import payload

ECHO = """
@task()
def echo(value):
    return value
"""


@pytest.mark.parametrize("value", [None, True, 7, 0.5, [1, {"a": None}], {"ü": "sled 🛷"}, {"lone": "\udc80"}])
def test_json_comes_as_the_object_and_goes_as_json(tmp_path: Path, value: object) -> None:
    with Child(tmp_path, ECHO) as child:
        assert child.ask(value) == {"result": value}
        assert child.ask(value, content_type="Application/JSON; charset=utf-8") == {"result": value}


def test_text_comes_and_goes_as_text_and_anything_else_as_bytes(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        assert child.ask("gee ü\n", content_type="text/plain; charset=utf-8") == {"result": "gee ü\n"}
        for unsaid in (b"\xff\x00", b"gee", b""):
            encoded = {"result_base64": base64.b64encode(unsaid).decode()}
            assert child.ask(unsaid) == encoded
            assert child.ask(unsaid, content_type="image/png") == encoded
        # UTF-8 travels as a string whatever it is; the media type decides.
        assert child.ask("gee", content_type="image/png") == {"result_base64": "Z2Vl"}


def test_the_answer_of_a_job_does_not_wait_for_the_next(tmp_path: Path) -> None:
    """Else the pool would blame the first when the process dies under the second."""
    source = """
import os, signal
@task()
def die(value):
    if value == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return value
"""
    with Child(tmp_path, source) as child:
        for value in ("a", "b", "die", "c"):
            child.give(value, content_type="text/plain")
        assert [child.answer()["result"], child.answer()["result"]] == ["a", "b"]
        assert child.line() == b""
        assert child.process.wait(30) == -signal.SIGKILL


def test_an_exception_fails_the_job_with_the_end_of_its_traceback(tmp_path: Path) -> None:
    source = """
def pull(value):
    raise ValueError(f"the ice is thin under {value}")
@task()
def race(value):
    pull(value)
"""
    with Child(tmp_path, source) as child:
        failed = child.ask("Togo", content_type="text/plain")
    first, empty, *rest = failed["error"].splitlines()
    assert (first, empty, failed["retry"]) == ("ValueError: the ice is thin under Togo", "", True)
    assert rest[0].startswith("Traceback")
    files = [line for line in rest if line.lstrip().startswith("File ")]
    assert [line.rpartition(", ")[2] for line in files] == ["in race", "in pull"], "only what is the task's own"
    assert "the ice is thin" not in "\n".join(rest[1:-1])


def test_a_long_failure_keeps_its_start_and_its_end_within_what_the_server_keeps(tmp_path: Path) -> None:
    source = """
def deep(depth):
    if depth == 0:
        raise KeyError("ü" * 100_000)
    deep(depth - 1) if depth % 2 else deep (depth - 1)
@task()
def race(depth):
    deep(depth)
"""
    with Child(tmp_path, source) as child:
        error = child.ask(60)["error"]
    assert error.startswith("KeyError: 'ü")
    assert len(error.encode()) <= 4_096
    assert error.rstrip().endswith("^") or 'raise KeyError("ü" * 100_000)' in error[-300:]


def test_what_cannot_be_shown_still_fails_with_its_type(tmp_path: Path) -> None:
    source = """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no")
@task()
def race(value):
    raise Odd() if value else OSError("a\\udc80b")
"""
    with Child(tmp_path, source) as child:
        assert child.ask(1)["error"].startswith("dogs.Odd: <it cannot be shown>\n")
        assert child.ask(0)["error"].startswith("OSError: a\\udc80b\n")


def test_a_permanent_error_is_not_retried(tmp_path: Path) -> None:
    source = """
class NoSuchDog(gangline.PermanentError):
    pass
@task()
async def race(value):
    raise (NoSuchDog if value else gangline.PermanentError)("nobody")
"""
    with Child(tmp_path, source) as child:
        for value, name in ((1, "dogs.NoSuchDog"), (0, "PermanentError")):
            failed = child.ask(value)
            assert (failed["error"].splitlines()[0], failed["retry"]) == (f"{name}: nobody", False)


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise asyncio.CancelledError", "raise GeneratorExit"])
def test_a_task_that_wants_to_end_the_process_only_fails(tmp_path: Path, end: str) -> None:
    source = f"""
import asyncio, sys
@task()
def leave(value):
    if value:
        {end}
@task(queue="async")
async def leave_too(value):
    if value:
        {end}
"""
    with Child(tmp_path, source) as child:
        for queue in ("default", "async"):
            assert child.ask(1, queue)["retry"] is True
            assert child.ask(0, queue) == {"result": None}


@pytest.mark.parametrize("result", ["{1, 2}", "object()", "float('nan')", "'\\udc80'"])
def test_a_result_that_cannot_be_told_is_a_failure_that_stays_one(tmp_path: Path, result: str) -> None:
    with Child(tmp_path, f"@task()\ndef race(value):\n    return {result}\n") as child:
        failed = child.ask()
    assert failed["retry"] is False
    assert failed["error"].startswith("the result is neither bytes nor text nor JSON: ")


@pytest.mark.parametrize(
    ("given", "content_type"),
    [(b"{", payload.JSON), ("{", payload.JSON), (b"\xff", "text/plain"), ("[]", payload.CALL)],
)
def test_a_payload_that_is_not_what_it_says_is_a_failure_that_stays_one(
    tmp_path: Path, given: object, content_type: str
) -> None:
    with Child(tmp_path, ECHO) as child:
        failed = child.ask(given, content_type=content_type)
        assert child.ask(1) == {"result": 1}
    assert failed["retry"] is False
    assert "media type" in failed["error"]


def test_a_call_brings_its_own_arguments(tmp_path: Path) -> None:
    source = """
@task(queue="add")
def add(a, b, *, times=1):
    return (a + b) * times
"""
    with Child(tmp_path, source) as child:

        def call(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
            data, content_type = payload.encode_call(name, args, kwargs)
            return child.ask(data.decode(), "add", content_type=content_type)

        assert call("dogs:add", 1, 2, times=3) == {"result": 9}
        misfit = call("dogs:add", 1)
        assert (misfit["retry"], "missing a required argument: 'b'" in misfit["error"]) == (False, True)
        unknown = call("os:system", "true")
        assert (unknown["retry"], unknown["error"]) == (True, "this worker has no task 'os:system', only dogs:add")
        alone = child.ask(1, "add")
        assert (alone["retry"], "cannot be called with a payload alone" in alone["error"]) == (False, True)


def test_a_queue_without_a_task_is_said_and_may_be_tried_elsewhere(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        failed = child.ask(1, "cats")
    assert failed == {"error": "this worker has no task for queue 'cats', only for default", "retry": True}


def test_one_task_can_do_the_jobs_of_every_queue(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO + "@task(queue='a')\ndef other(value): return 'other'\n", "--task", "a", "dogs") as child:
        assert [child.ask(1, queue) for queue in ("default", "a", "b")] == [{"result": "other"}] * 3


def test_coroutines_share_one_event_loop_for_the_life_of_the_process(tmp_path: Path) -> None:
    source = """
import asyncio
loops = set()
@task()
async def race(value):
    loops.add(id(asyncio.get_running_loop()))
    await asyncio.sleep(0)
    return [value, len(loops)]
@task(queue="plain")
def plain(value):
    return race(value)
"""
    with Child(tmp_path, source) as child:
        assert [child.ask(n)["result"] for n in range(3)] == [[0, 1], [1, 1], [2, 1]]
        assert child.ask(7, "plain") == {"result": [7, 1]}, "what returns an awaitable is awaited"
        assert child.end() == 0
        assert child.stderr() == ""


def test_the_job_in_work_can_be_asked_for(tmp_path: Path) -> None:
    source = """
import dataclasses
@task(queue="a/b")
def describe(value):
    return dataclasses.asdict(gangline.current_job())
"""
    with Child(tmp_path, source) as child:
        job = {"attempt": 3, "labels": {"dog": "Togo"}, "content_type": "image/png", "traceparent": "00-1-2-01"}
        assert child.ask("", "a/b", **job)["result"] == {"id": "job-1", "queue": "a/b", **job}
        unsaid = {"labels": {}, "content_type": "", "traceparent": ""}
        assert child.ask("", "a/b")["result"] == {"id": "job-2", "attempt": 1, "queue": "a/b", **unsaid}


def test_progress_is_told_at_once_and_before_the_answer_also_from_threads(tmp_path: Path) -> None:
    source = """
import threading
@task()
def race(value):
    gangline.progress(0.4, "half \\udc80")
    thread = threading.Thread(target=gangline.progress, kwargs={"message": "over the pass"})
    thread.start()
    thread.join()
    gangline.progress(1)
"""
    with Child(tmp_path, source) as child:
        job_id = child.give()
        assert child.answer() == {"id": job_id, "progress": 0.4, "message": "half \\udc80"}
        assert child.answer() == {"id": job_id, "message": "over the pass"}
        assert child.answer() == {"id": job_id, "progress": 1.0}
        assert child.answer() == {"id": job_id, "result": None}


def test_whatever_a_task_prints_or_reads_stays_away_from_the_protocol(tmp_path: Path) -> None:
    source = """
import os, subprocess, sys
print("imported")
@task()
def shout(value):
    print("printed")
    os.write(1, b"written\\n")
    sys.__stdout__.write("to the first stdout\\n")
    subprocess.run(["echo", "by a child"], check=True)
    subprocess.run(["sh", "-c", "ls /proc/self/fd >&2"], check=True)
    return sys.stdin.read()
"""
    with Child(tmp_path, source) as child:
        child.give(1)
        assert child.answer() == {"id": "job-1", "result": ""}
        assert child.end() == 0
        log = child.stderr().split()
    assert log[:8] == ["imported", "printed", "written", "to", "the", "first", "stdout", "by"]
    assert log[-4:] == ["0", "1", "2", "3"], "a program that a task starts holds no end of the protocol"


def test_what_a_task_forks_tells_nothing_and_ends_as_any_process(tmp_path: Path) -> None:
    source = """
import multiprocessing, time
def tell(number):
    gangline.progress(0.5)
    return number * 2
@task()
def spread(value):
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        doubled = pool.map(tell, range(4))
    sleeper = fork.Process(target=time.sleep, args=(60,))
    sleeper.start()
    sleeper.terminate()
    sleeper.join()
    return [doubled, sleeper.exitcode]
"""
    with Child(tmp_path, source) as child:
        assert child.ask() == {"result": [[0, 2, 4, 6], -signal.SIGTERM]}
        assert child.stderr() == ""


def test_grpc_is_not_imported(tmp_path: Path) -> None:
    source = """
import sys
@task()
async def look(value):
    return sorted(name for name in sys.modules if name.split(".")[0] in ("grpc", "google"))
"""
    with Child(tmp_path, source) as child:
        assert child.ask() == {"result": []}


STUCK = """
import asyncio, sys, time
async def wait_for_ever():
    await asyncio.sleep(60)
@task()
def stuck(value):
    try:
        gangline.progress(0.1)
        time.sleep(60)
    finally:
        print("cleaned up")
@task(queue="async")
async def stuck_too(value):
    try:
        # Told once this is suspended: before that it has no stack of its own.
        asyncio.get_running_loop().call_soon(gangline.progress, 0.1)
        await wait_for_ever()
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up")
@task(queue="deaf")
def deaf(value):
    try:
        gangline.progress(0.1)
        time.sleep(60)
    except BaseException:
        print("cleaned up")
"""


@pytest.mark.parametrize("queue", ["default", "async", "deaf"])
def test_sigterm_ends_the_job_cleanly_and_says_where_it_was(tmp_path: Path, queue: str) -> None:
    with Child(tmp_path, STUCK) as child:
        child.give(1, queue)
        child.give(2, queue)
        assert child.answer()["progress"] == 0.1
        assert child.end(signal.SIGTERM) == 128 + signal.SIGTERM
        log = child.stderr()
    assert log.count("cleaned up") == 1, "the next job is not begun"
    assert "dogs.py" in log, "the stack"
    if queue == "async":
        assert ", in wait_for_ever\n" in log


def test_sigterm_ends_an_idle_process(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        child.ask(1)
        assert child.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    with Child(tmp_path, STUCK) as child:
        child.give(1)
        child.answer()
        assert child.end(signal.SIGINT) == 128 + signal.SIGINT
        assert child.stderr() == "cleaned up\n"


def test_the_end_of_the_input_is_the_end(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        child.give(1)
        assert child.end() == 0
        assert child.answer()["result"] == 1, "what had been given is answered"


def test_a_pool_that_is_gone_ends_it(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        assert child.process.stdout is not None
        child.process.stdout.close()
        child.give(1)
        assert child.process.wait(30) == 3
        assert child.stderr() == ""


def test_a_crash_in_c_leaves_its_python_stack(tmp_path: Path) -> None:
    source = """
import ctypes
@task()
def crash(value):
    ctypes.string_at(0)
"""
    with Child(tmp_path, source) as child:
        child.give()
        assert child.process.wait(30) == -signal.SIGSEGV
        assert "in crash" in child.stderr()


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("", ("dogs",), "module dogs has no task: put @gangline.task(queue=...) above a function"),
        ("", ("cats",), "there is no module cats in "),
        ("", ("dogs.huskies",), "there is no module dogs.huskies in "),
        ("", ("./shop/dogs.py",), "name the module as `import` does, not its file: shop.dogs"),
        ("import cats", ("dogs",), "module dogs cannot be imported: ModuleNotFoundError: No module named 'cats'\n"),
        ("def x(): 1 / 0\nx()", ("dogs",), "module dogs cannot be imported: ZeroDivisionError: division by zero\n"),
        ("import sys\nsys.exit()", ("dogs",), "module dogs cannot be imported: SystemExit: \n"),
        (ECHO + ECHO.replace("echo", "other"), ("dogs",), "queue 'default' has two tasks: dogs:echo and dogs:other\n"),
        ("@task('a b')\ndef x(v): ...", ("dogs",), "'a b' is no name of a queue"),
        ("@task\ndef x(v): ...", ("dogs",), "gangline.task needs parentheses"),
        ("@task()\ndef x(v): yield", ("dogs",), "dogs:x is a generator: a task returns one result"),
        ("", (), "the following arguments are required: module"),
        (ECHO, ("--task", "pull", "dogs"), "module dogs has no task for queue 'pull', only for default\n"),
    ],
)
def test_a_module_that_is_no_good_is_said(tmp_path: Path, source: str, arguments: tuple[str, ...], said: str) -> None:
    with Child(tmp_path, source, *(arguments or ("--queues",))) as child:
        assert child.line() == b""
        assert child.process.wait(30) == 2
        assert said in child.stderr()
        assert "importlib" not in child.stderr()


def test_the_queues_of_a_module_can_be_listed(tmp_path: Path) -> None:
    source = ECHO + "@task(queue='a')\nasync def other(value): ...\nprint('a module that talks')\n"
    with Child(tmp_path, source, "--queues", "dogs") as child:
        assert (child.line(), child.line(), child.line()) == (b"a\n", b"default\n", b"")
        assert child.process.wait(30) == 0


def test_a_megabyte_comes_and_goes(tmp_path: Path) -> None:
    with Child(tmp_path, ECHO) as child:
        text = json.dumps("ü" * 500_000)
        assert len(child.ask(text, content_type="text/plain")["result"]) == len(text)
