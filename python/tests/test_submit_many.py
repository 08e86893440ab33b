"""Runs of jobs on one stream, and `map`. Every test runs with `Client` and with `AsyncClient`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect
from conftest import eventually
from faces import DEADLINE
from gangline import InvalidArgument
from gangline import JobFailed
from gangline import JobSpec
from gangline import JobState
from gangline import RetryPolicy
from gangline import Unavailable
from gangline import UpdateKind
from gangline import WaitTimeout
from gangline.producing import WINDOW_JOBS
from gangline.testing import Server
from gangline.v1 import queue_service_pb2
from gangline.v1 import queue_service_pb2_grpc

MANY = 12_000


def test_handles_come_in_order_and_each_has_its_own_result(client: Any) -> None:
    handles = list(client.submit_many((["echo", number] for number in range(MANY)), queue="dogs"))
    assert len({handle.id for handle in handles}) == MANY
    assert [handle.id for handle in handles] == sorted(handle.id for handle in handles), "the order of submission"
    assert [handle.result(DEADLINE) for handle in handles] == list(range(MANY))


def test_specs_may_be_of_any_kind(client: Any, queue: str) -> None:
    specs = [
        JobSpec(queue, b"raw"),
        JobSpec(queue, {"a": 1}, priority=3, labels={"a": "b"}),
        JobSpec("dogs", ["echo", "x"]),
    ]
    raw, ranked, echo = client.submit_many(specs)
    assert client.get(raw.id, include_payload=True).payload == b"raw"
    assert (ranked.job().message.spec.priority, ranked.job().labels) == (3, {"a": "b"})
    assert echo.result(DEADLINE) == "x"


def test_options_hold_for_every_payload(client: Any, queue: str) -> None:
    one, two = client.submit_many([b"1", 2], queue=queue, priority=5, retry=RetryPolicy(max_attempts=1))
    for handle, payload, kind in ((one, b"1", "application/octet-stream"), (two, 2, "application/json")):
        job = client.get(handle.id, include_payload=True)
        spec = job.message.spec
        assert (job.payload, spec.content_type, spec.priority, spec.retry_policy.max_attempts) == (payload, kind, 5, 1)


def test_nothing_is_a_run_too(client: Any) -> None:
    assert list(client.submit_many([])) == []
    assert list(client.map("dogs", [])) == []


def test_wrong_use_is_said(client: Any, queue: str) -> None:
    with pytest.raises(TypeError, match="is no JobSpec"):
        list(client.submit_many([["echo", 1]]))
    with pytest.raises(TypeError, match="need a queue"):
        list(client.submit_many([JobSpec(queue)], priority=1))
    with pytest.raises(TypeError, match="what is iterated over"):
        list(client.submit_many([1], queue=queue, payload=1))
    with pytest.raises(TypeError, match="unexpected keyword"):
        list(client.submit_many([1], queue=queue, sleigh=1))


@pytest.mark.parametrize("bad", [JobSpec("no such name"), JobSpec("dogs", priority=1_000), JobSpec("dogs", b"x" * (1 << 21))])
def test_a_refused_job_ends_the_run_exactly_there(client: Any, queue: str, bad: JobSpec) -> None:
    """All jobs before it are submitted, and none after it."""
    specs = [*(JobSpec(queue, number) for number in range(30)), bad, *(JobSpec(queue, -number) for number in range(30))]
    run = client.submit_many(specs)
    handles = list(itertools.islice(run, 30))
    with pytest.raises(InvalidArgument):
        next(run)
    assert submitted(client, queue) == list(range(30))
    assert len({handle.id for handle in handles}) == 30


def test_a_job_that_cannot_be_written_down_ends_the_run_exactly_there(client: Any, queue: str) -> None:
    run = client.submit_many([1, 2, object(), 3], queue=queue)
    assert len(list(itertools.islice(run, 2))) == 2
    with pytest.raises(TypeError, match="not JSON serializable"):
        next(run)
    assert submitted(client, queue) == [1, 2]


def test_an_error_of_the_callers_own_ends_the_run_exactly_there(client: Any, queue: str) -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise RuntimeError("the sled broke")

    with pytest.raises(RuntimeError, match="the sled broke"):
        list(client.submit_many(numbers(), queue=queue))
    assert submitted(client, queue) == list(range(5))


def test_who_stops_asking_has_submitted_what_was_taken(client: Any, queue: str) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    run = client.submit_many(numbers(), queue=queue)
    next(run)
    run.close()
    assert submitted(client, queue) == taken
    assert len(taken) <= 2 * WINDOW_JOBS, "at most some thousands ahead"


def test_a_full_queue_holds_the_run_back(client: Any, queue: str, kennel: Server) -> None:
    """The iterable is not taken from while there is no room, and nothing is refused."""
    with kennel.client() as other:
        queues = queue_service_pb2_grpc.QueueServiceStub(other.channel)  # type: ignore[no-untyped-call]
        settings = queue_service_pb2.QueueSettings(max_pending=10)
        queues.UpdateQueue(queue_service_pb2.UpdateQueueRequest(name=queue, settings=settings))
        taken: list[int] = []

        def blobs() -> Iterator[bytes]:
            for number in range(100):
                taken.append(number)
                yield bytes(900_000)

        handles: list[Any] = []
        run = threading.Thread(target=lambda: handles.extend(client.submit_many(blobs(), queue=queue)), daemon=True)
        run.start()
        eventually(lambda: len(taken) > 10 and comes_to_rest(lambda: len(taken)), "the run is held back")
        assert len(taken) < 60, "90 MB cannot all be taken"
        settings.max_pending = 0
        queues.UpdateQueue(queue_service_pb2.UpdateQueueRequest(name=queue, settings=settings))
        run.join(DEADLINE)
        assert len(handles) == 100
        assert all(other.cancel(handles_ids(handles)))


def handles_ids(handles: list[Any]) -> list[str]:
    return [handle.id for handle in handles]


def comes_to_rest(look: Any) -> bool:
    """Whether a number stays the same over a moment."""
    before = look()
    time.sleep(0.3)
    return bool(look() == before)


def test_map_gives_results_in_order(client: Any) -> None:
    assert list(client.map("dogs", (["echo", number] for number in range(3_000)), ahead=500)) == list(range(3_000))


def test_map_takes_no_more_than_it_may_have_ahead(client: Any) -> None:
    taken = 0

    def payloads() -> Iterator[Any]:
        nonlocal taken
        for number in range(500):
            taken = number
            yield ["echo", number]

    for number, result in enumerate(client.map("dogs", payloads(), ahead=20)):
        assert result == number
        assert taken <= number + 20


def test_map_raises_at_the_first_failure_and_cancels_the_rest(client: Any, tmp_path: Path) -> None:
    never = str(tmp_path / "never")
    payloads = [["echo", 1], ["fail for good", "no"], *[["wait", never]] * 20]
    before = client.submit("dogs", ["echo", 0])
    begin = next(client.updates(job_ids=[before.id], follow=False)).cursor
    results = client.map("dogs", payloads)
    assert next(results) == 1
    with pytest.raises(JobFailed):
        next(results)
    cancelled = list(client.updates(after=begin, queue="dogs", kinds=[UpdateKind.CANCELLED], follow=False))
    assert [update.reason for update in cancelled] == ["its result is no longer asked for"] * 20


def test_map_gives_up_when_its_time_is_over(client: Any, queue: str) -> None:
    with pytest.raises(WaitTimeout):
        list(client.map(queue, [1, 2], timeout=0.1))
    updates = list(client.updates(queue=queue, follow=False))
    made = [update.job_id for update in updates if update.kind is UpdateKind.SUBMITTED]
    assert [job_state(client, job_id) for job_id in made] == [JobState.CANCELLED] * 2


def job_state(client: Any, job_id: str) -> JobState:
    state: JobState = client.get(job_id).state
    return state


def test_nobody_at_the_address_is_said_at_once(connect: Connect, gangline_place: Server) -> None:
    gangline_place.address = "127.0.0.1:1"
    client = connect(gangline_place)
    for call in (
        lambda: client.submit("dogs", 1),
        lambda: list(client.updates()),
        lambda: client.get("0198a5c2-6f00-7000-8000-000000000001"),
    ):
        with pytest.raises(Unavailable, match=r"no Gangline server answers at 127.0.0.1:1; start one .*Connection refused"):
            call()


def submitted(client: Any, queue: str) -> list[Any]:
    """The payloads of all jobs of the queue, in order."""
    updates = client.updates(queue=queue, kinds=[UpdateKind.SUBMITTED], include_payload=True, follow=False)
    return [update.payload for update in updates]
