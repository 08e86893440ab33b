"""Tasks through `concurrent.futures`, on real workers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pack
from conftest import eventually
from faces import DEADLINE
from gangline import GanglineExecutor
from gangline import InvalidArgument
from gangline import JobFailed
from gangline import JobState
from gangline import RetryPolicy
from gangline.testing import Server


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pack")
    worker = [sys.executable, "-m", "gangline.worker", "pack"]
    environment = {"PYTHONPATH": str(Path(pack.__file__).parent)}
    server = Server(folder)
    for queues in (["pull", "stumble", "square"], ["wait"]):
        server.pool(worker, queues=queues, environment=environment, name=queues[0])
    with server.start():
        yield server


@pytest.fixture
def executor(working: Server) -> Iterator[GanglineExecutor]:
    with GanglineExecutor(working.address) as executor:
        yield executor


def test_a_call_gives_a_future(executor: GanglineExecutor) -> None:
    assert executor.submit(pack.pull, "ü", hard=True).result(DEADLINE) == ["ü", True]
    assert executor.submit(pack.square, 12).result(DEADLINE) == 144


def test_map_and_as_completed(executor: GanglineExecutor) -> None:
    assert list(executor.map(pack.square, range(2_000))) == [number * number for number in range(2_000)]
    futures = [executor.submit(pack.square, number) for number in range(100)]
    assert sum(future.result() for future in concurrent.futures.as_completed(futures, DEADLINE)) == 328_350


def test_a_failure_is_the_futures(executor: GanglineExecutor) -> None:
    failed = executor.submit(pack.stumble, "the ice is thin").exception(DEADLINE)
    assert isinstance(failed, JobFailed)
    assert "the ice is thin" in failed.message


def test_a_future_is_cancelled_also_when_it_runs(executor: GanglineExecutor, tmp_path: Path) -> None:
    future = executor.submit(pack.wait_for, str(tmp_path / "never"))
    handle = future.handle  # type: ignore[attr-defined]
    eventually(lambda: handle.id and handle.job().state is JobState.RUNNING, "it runs")
    assert future.cancel()
    assert future.cancelled()
    assert concurrent.futures.wait([future], DEADLINE).not_done == set()
    assert handle.job().state is JobState.CANCELLED
    done = executor.submit(pack.square, 2)
    assert done.result(DEADLINE) == 4
    assert not done.cancel()


def test_a_job_that_someone_else_cancels(executor: GanglineExecutor, working: Server, tmp_path: Path) -> None:
    future = executor.submit(pack.wait_for, str(tmp_path / "never"))
    handle = future.handle  # type: ignore[attr-defined]
    eventually(lambda: handle.id, "it is accepted")
    with working.client() as other:
        assert other.cancel([handle.id]) == [True]
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(DEADLINE)


def test_what_is_no_task_or_cannot_be_called_so_is_refused(executor: GanglineExecutor) -> None:
    with pytest.raises(TypeError, match=r"pack:stray is no task: decorate it with @gangline\.task"):
        executor.submit(pack.stray)
    with pytest.raises(TypeError, match="cannot be called like this"):
        executor.submit(pack.pull)
    with pytest.raises(TypeError, match="not JSON serializable"):
        executor.submit(pack.pull, object())


def test_a_refused_job_is_the_failure_of_its_own_future_only(working: Server) -> None:
    with GanglineExecutor(working.address) as executor:
        futures = [executor.submit(pack.pull, text) for text in ("a", "x" * (1 << 20), "b")]
        assert futures[0].result(DEADLINE) == ["a", False]
        assert isinstance(futures[1].exception(DEADLINE), InvalidArgument)
        assert futures[2].result(DEADLINE) == ["b", False]


def test_options_hold_for_every_call(working: Server) -> None:
    with GanglineExecutor(working.address, labels={"a": "b"}, retry=RetryPolicy(max_attempts=3)) as executor:
        future = executor.submit(pack.square, 3)
        assert future.result(DEADLINE) == 9
        spec = future.handle.job().message.spec  # type: ignore[attr-defined]
        assert (dict(spec.labels), spec.retry_policy.max_attempts) == ({"a": "b"}, 3)


def test_after_shutdown_nothing_is_accepted(working: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    executor = GanglineExecutor(working.address)
    future = executor.submit(pack.wait_for, str(gate))
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pack.square, 1)
    gate.touch()
    assert future.result(DEADLINE) == "waited", "what was submitted goes on"
    executor = GanglineExecutor(working.address)
    future = executor.submit(pack.wait_for, str(tmp_path / "never"))
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()


def test_an_event_loop_runs_tasks_in_it(executor: GanglineExecutor) -> None:
    async def run() -> int:
        return await asyncio.get_running_loop().run_in_executor(executor, pack.square, 5)

    assert asyncio.run(run()) == 25


def test_futures_come_over_a_restart(gangline_place: Server) -> None:
    worker = [sys.executable, "-m", "gangline.worker", "pack"]
    environment = {"PYTHONPATH": str(Path(pack.__file__).parent)}
    gangline_place.pool(worker, queues=["square"], environment=environment).start()
    with GanglineExecutor(gangline_place.address) as executor:
        futures = [executor.submit(pack.square, number) for number in range(500)]
        assert futures[100].result(DEADLINE) == 10_000
        gangline_place.restart()
        futures += [executor.submit(pack.square, number) for number in range(500, 1_000)]
        assert [future.result(DEADLINE) for future in futures] == [number * number for number in range(1_000)]
